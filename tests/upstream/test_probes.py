"""What a probe of one endpoint says of its upstream: trouble only where no other endpoint is asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from regproxy.errors import (
    TransferStopped,
    UpstreamError,
    UpstreamFailed,
    UpstreamTimeout,
    UpstreamTrouble,
    UpstreamUnreachable,
)
from regproxy.upstream.probes import Probes
from regproxy.upstream.running import Running

PROBE_S = 5.0


@attrs.define
class Scene:
    """``way``: what each question waits for; ``heard``: what the upstream's pulse would be told."""

    clock: Clock = attrs.field(factory=Clock)
    heard: list[UpstreamTrouble | None] = attrs.field(factory=list)
    way: Deferred[Any] = attrs.field(factory=Deferred)
    alone: bool = False
    running: Running = attrs.field(init=False)
    probes: Probes = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.running = Running("x", self.clock, self.heard.append, self.clock.seconds)
        client: Any = SimpleNamespace(exchange=lambda *question: self.way)
        self.probes = Probes("x", client, self.running, PROBE_S)

    def probe(self) -> list[BaseException | None]:
        """What comes of it."""
        found: list[BaseException | None] = []
        asking = self.probes.probe("https://x", lambda: self.alone)
        asking.addCallbacks(found.append, lambda failure: found.append(failure.value))
        return found

    def answer(self, status: int) -> None:
        self.way.callback(SimpleNamespace(status=status, discard=lambda: None))


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(
    ("how", "kind"), [("refused", UpstreamUnreachable), ("503", UpstreamFailed), ("silent", UpstreamTimeout)]
)
def test_trouble_is_the_upstreams_where_no_other_endpoint_is_asked(
    how: str, kind: type[UpstreamError], alone: bool
) -> None:
    """The circuit of the endpoint hears of it either way."""
    it = Scene(alone=alone)
    found = it.probe()
    if how == "refused":
        it.way.errback(UpstreamUnreachable("x", "it refuses connections"))
    elif how == "503":
        it.answer(503)
    else:
        it.clock.advance(PROBE_S)
    assert [type(each) for each in found] == [kind]
    assert it.heard == (found if alone else [])


def test_it_counts_who_is_asked_when_the_probe_ends() -> None:
    it = Scene()
    found = it.probe()
    it.alone = True
    it.answer(500)
    assert it.heard == found


@pytest.mark.parametrize("alone", [False, True])
def test_an_answer_is_heard_of_any_endpoint(alone: bool) -> None:
    it = Scene(alone=alone)
    found = it.probe()
    it.answer(401)
    assert (found, it.heard) == ([None], [None])


def test_the_end_is_nobodys_trouble() -> None:
    it = Scene(alone=True)
    found = it.probe()
    it.running.close()
    assert [type(each) for each in found] == [TransferStopped]
    assert it.heard == []


def test_since_when_there_is_trouble_is_not_since_a_probe_of_another_endpoint() -> None:
    it = Scene()
    it.probe()
    it.answer(500)
    it.clock.advance(3600)

    async def fails() -> None:
        raise UpstreamUnreachable("x", "it refuses connections")

    asking = it.running.call(fails(), "a blob", 12.0)
    asking.addErrback(lambda failure: failure.value)
    assert [trouble and trouble.since_s for trouble in it.heard] == [3600.0]
