"""Tags through the whole mirror: crowds, who wants them confirmed, versions that move, clocks that lie."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from regproxy.settings import TagRule
from regproxy.testing import actions
from regproxy.testing.images import make_image
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.reply import Gate
from regproxy.testing.rules import Match
from tests.logged import logging
from tests.system.client import Answer
from tests.system.mirror import Mirror, World, upstream

pytestmark = pytest.mark.system

CLIENTS, AT_ONCE = 1000, 40
OLD, NEW = make_image(labels={"v": "1"}), make_image(labels={"v": "2"})
LATEST, VERSION = "/v2/team/app/manifests/latest", "/v2/team/app/manifests/1.29.3"


async def started(root: Path, *rules: TagRule) -> World:
    registry = ScriptableRegistry(reactor)
    await registry.start()
    for tag in ("latest", "1.29.3"):
        registry.put_image("team/app", tag, OLD)
    mirror = Mirror(root, upstream(registry), tags=rules)
    await mirror.start()
    return World(registry, mirror)


def _are_waiting(world: World, count: int) -> bool:
    return world.mirror.mirror.responses() == count


async def test_a_thousand_clients_just_past_fresh_are_one_upstream_request(tmp_path: Path) -> None:
    """Over real sockets, all of them before the upstream has answered."""
    world = await started(tmp_path / "content", TagRule(fresh_s=60, revalidate_wait_s=60))
    assert (await world.client.ask(LATEST)).body == OLD.manifest.content
    world.mirror.wall.now_s += 60.5
    world.registry.clear()
    gate = Gate()
    world.registry.script(Match(method="HEAD", kind="manifest"), actions.hold(gate))
    asking: list[Deferred[Answer]] = []
    while len(asking) < CLIENTS:  # as many as a listening socket takes at once
        asking += [Deferred.fromCoroutine(world.client.ask(LATEST)) for _ in range(AT_ONCE)]
        await _until(partial(_are_waiting, world, len(asking)))
    await gate.arrived()
    gate.open()
    assert {answer.body for answer in await gatherResults(asking)} == {OLD.manifest.content}
    assert world.asked() == ["HEAD manifest"]
    await world.stop()


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        await _turn()
    raise AssertionError("it does not come to that")


async def _turn() -> None:
    turned: Deferred[None] = Deferred()
    reactor.callLater(0.01, turned.callback, None)  # type: ignore[attr-defined]
    await turned


async def test_a_version_that_moves_is_had_by_who_wants_it_confirmed_and_is_told(tmp_path: Path) -> None:
    """The built-in rule for versions: an hour fresh, a day in grace."""
    world = await started(tmp_path / "content")
    assert (await world.client.ask(VERSION)).body == OLD.manifest.content
    world.registry.put_image("team/app", "1.29.3", NEW)
    world.mirror.wall.now_s += 3599
    assert (await world.client.ask(VERSION)).body == OLD.manifest.content
    with logging() as logged:
        confirmed = await world.client.ask(VERSION, cache_control="no-cache")
    assert (confirmed.body, "warning" in confirmed.headers) == (NEW.manifest.content, False)
    assert [
        line for line in logged.lines("warn") if line.startswith("tag moved: registry.test/team/app:1.29.3")
    ]
    registry: Any = world.mirror.mirror.registry
    assert [move.after for move in registry.moved.last] == [NEW.digest]
    found = world.mirror.mirror.figures.registry.get_sample_value(
        "regproxy_tag_moved_total", {"upstream": "registry.test"}
    )
    assert found == 1
    await world.stop()


async def test_a_version_in_its_grace_is_served_at_once_and_renewed_behind(tmp_path: Path) -> None:
    """The upstream has not even answered."""
    world = await started(tmp_path / "content")
    await world.client.ask(VERSION)
    world.registry.put_image("team/app", "1.29.3", NEW)
    world.mirror.wall.now_s += 7200
    gate = Gate()
    world.registry.script(Match(method="HEAD", kind="manifest"), actions.hold(gate))
    assert (await world.client.ask(VERSION)).body == OLD.manifest.content
    await gate.arrived()
    gate.open()
    for _ in range(500):
        if (await world.client.ask(VERSION)).body == NEW.manifest.content:
            break
        await _turn()
    else:
        raise AssertionError("it was not renewed")
    await world.stop()


async def test_who_wants_it_confirmed_again_and_again_reaches_the_upstream_once(tmp_path: Path) -> None:
    """In ten seconds; the others get what was confirmed."""
    world = await started(tmp_path / "content")
    await world.client.ask(LATEST)
    world.registry.clear()
    for _ in range(50):
        assert (await world.client.ask(LATEST, cache_control="no-cache")).status == 200
    assert world.asked() == ["HEAD manifest"]
    await world.stop()


@pytest.mark.parametrize(
    "date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "tomorrow"]
)
async def test_an_upstreams_clock_decides_nothing(tmp_path: Path, date: str) -> None:
    """Fresh for as long as our own clock says, whatever Date, Expires and Age say."""
    world = await started(tmp_path / "content", TagRule(fresh_s=60))
    lies = [("Date", date), ("Last-Modified", date), ("Expires", date), ("Age", "999999999"), ("Age", "-5")]
    world.registry.script(Match(), *(actions.header(name, value) for name, value in lies))
    await world.client.ask(LATEST)
    world.registry.clear()
    world.mirror.wall.now_s += 59
    assert (await world.client.ask(LATEST)).status == 200
    assert world.asked() == []
    world.mirror.wall.now_s += 2
    assert (await world.client.ask(LATEST)).status == 200
    assert world.asked() == ["HEAD manifest"]
    await world.stop()
