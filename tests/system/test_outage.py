"""An upstream that accepts and never answers: who waits for what, and for how long, on real sockets."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from regproxy.interfaces import Circuit
from regproxy.testing.actions import hold
from regproxy.testing.images import make_image
from regproxy.testing.layers import sized_layer
from regproxy.testing.reply import Gate
from regproxy.testing.rules import Match
from tests.system.client import Answer
from tests.system.mirror import NAME, World

pytestmark = pytest.mark.system

IMAGE = make_image(sized_layer(200_000), sized_layer(300_000, 2))
BY_TAG = "/v2/team/app/manifests/latest"
BY_DIGEST = f"/v2/team/app/manifests/{IMAGE.digest}"
BLOB = f"/v2/team/app/blobs/{next(iter(IMAGE.blobs))}"
SLACK_S = 1.5
"""This machine does other things as well."""
TIMES = 25


class Drill:
    """A mirror that has an image whole, and a registry that can fall silent."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._gate: Gate | None = None

    async def pull(self) -> None:
        for path in (BY_TAG, *(f"/v2/team/app/blobs/{digest}" for digest in IMAGE.blobs)):
            answer = await self.world.client.ask(path)
            assert (answer.status, answer.complete) == (200, True)
        await self.world.mirror.settled()

    def silence(self) -> None:
        """It accepts, and never answers; the tag is not fresh any more."""
        self._gate = Gate()
        self.world.registry.script(Match(), hold(self._gate))
        self.world.mirror.wall.now_s += 3600

    def speak(self) -> None:
        self.world.registry.unscript()
        if self._gate is not None:
            self._gate.open()

    @property
    def circuit(self) -> Circuit:
        return self.world.mirror.mirror.remotes[NAME].standing().circuit

    async def until(self, closed: bool, seconds: float) -> float:
        began = time.perf_counter()
        while (self.circuit is Circuit.CLOSED) is not closed:
            assert time.perf_counter() - began < seconds
            await deferLater(reactor, 0.02)
        return time.perf_counter() - began

    async def timed(self, path: str, times: int = TIMES) -> tuple[float, Answer]:
        """The median of the seconds that an answer takes; the last one."""
        took = []
        for _ in range(times):
            began = time.perf_counter()
            answer = await self.world.client.ask(path)
            took.append(time.perf_counter() - began)
        return median(took), answer


@pytest_twisted.async_yield_fixture
async def drill(tmp_path: Path) -> AsyncIterator[Drill]:
    made = Drill(await World.started(tmp_path, IMAGE))
    await made.pull()
    yield made
    made.speak()
    await made.world.stop()


async def test_an_upstream_that_accepts_and_never_answers(drill: Drill) -> None:
    drill.silence()
    took, answer = await drill.timed(BY_TAG, 1)
    assert answer.status == 200
    assert answer["Warning"].startswith('299 - "')
    assert took < 2.0 + SLACK_S, "the first one waits revalidate_wait"
    for path in (BY_DIGEST, BLOB):
        took, answer = await drill.timed(path)
        assert (answer.status, took < 0.020) == (200, True), "what is cached by digest waits for nobody"
    await drill.until(closed=False, seconds=2.0 + 5.0 + 2 * SLACK_S)
    for path in (BY_TAG, BY_DIGEST, BLOB):
        took, answer = await drill.timed(path)
        assert (answer.status, took < 0.020) == (200, True), (path, took)
    assert "Warning" not in answer.headers
    took, answer = await drill.timed("/v2/team/app/manifests/other")
    assert answer.status == 503
    assert 1 <= int(answer["Retry-After"]) <= 15
    assert took < 0.020
    drill.speak()
    assert await drill.until(closed=True, seconds=15 + SLACK_S) <= 15 + SLACK_S
    took, answer = await drill.timed(BY_TAG, 1)
    assert answer.status == 200
    assert "Warning" not in {name.title() for name in answer.headers}, "fresh, without a restart"


async def test_who_waits_already_for_what_is_not_here_is_told_when_that_is_known(drill: Drill) -> None:
    """Not at the end of the 12 s that a call may take."""
    drill.silence()
    took, answer = await drill.timed("/v2/team/app/manifests/other", 1)
    assert answer.status == 503
    assert took < 2.0 + 5.0 + 2 * SLACK_S
    assert 1 <= int(answer["Retry-After"]) <= 15
    detail = json.loads(answer.body)["errors"][0]["detail"]
    assert 7.0 <= detail["tried_s"] <= took
    assert detail["since"].endswith("Z")


async def test_a_start_while_it_is_silent_serves_what_is_there(drill: Drill) -> None:
    await drill.world.mirror.stop()
    drill.silence()
    began = time.perf_counter()
    await drill.world.mirror.start()
    for path in (BY_DIGEST, BLOB):
        assert (await drill.world.client.ask(path)).status == 200
    assert time.perf_counter() - began < 2.0 + SLACK_S
    assert (await drill.world.client.ask(BY_TAG)).status == 200


async def test_offline_by_hand_over_a_restart(drill: Drill) -> None:
    mirror = drill.world.mirror
    assert mirror.mirror.offline is not None
    await mirror.mirror.offline.switch(NAME, True)
    mirror.wall.now_s += 3600
    drill.world.registry.clear()
    took, answer = await drill.timed(BY_TAG)
    assert (answer.status, took < 0.020) == (200, True)
    assert "offline" in answer["Warning"]
    await mirror.stop()
    await mirror.start()
    assert drill.circuit is Circuit.OFFLINE
    answer = await drill.world.client.ask("/v2/team/app/manifests/other")
    assert answer.status == 503
    assert mirror.mirror.expiry is not None
    assert mirror.mirror.expiry.pulse.alive(NAME) is False
    assert drill.world.asked() == []
    assert mirror.mirror.offline is not None
    await mirror.mirror.offline.switch(NAME, False)
    answer = await drill.world.client.ask(BY_TAG)
    assert "warning" not in answer.headers
    assert drill.world.asked() == ["HEAD manifest"]
