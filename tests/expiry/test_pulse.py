"""What is known of an upstream, for those who look."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from regproxy.errors import UpstreamTimeout, UpstreamUnreachable
from regproxy.expiry.pulse import Beat, Pulse
from regproxy.interfaces import Circuit

HUB = "docker.io"


class Hub:
    """A pulse that watches one upstream, and its clock."""

    def __init__(self, answers: bool = True) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.pulse = Pulse(self.clock.seconds)
        self.pulse.watch(HUB, lambda: succeed(answers))

    @property
    def beat(self) -> Beat:
        return self.pulse.beat(HUB)


def test_nothing_is_known_at_first_nor_of_strangers() -> None:
    hub = Hub()
    assert hub.beat == Beat()
    hub.pulse.heard("quay.io", None)
    assert hub.pulse.beat("quay.io") == Beat()


def test_an_answer_and_how_long_they_come() -> None:
    hub = Hub()
    hub.pulse.heard(HUB, None)
    hub.clock.advance(10)
    hub.pulse.heard(HUB, None)
    hub.clock.advance(5)
    assert hub.beat == Beat(True, 15.0)


def test_trouble_its_reason_and_since_when() -> None:
    hub = Hub()
    hub.pulse.heard(HUB, None)
    hub.clock.advance(10)
    hub.pulse.heard(HUB, UpstreamUnreachable(HUB, "connection refused"))
    hub.clock.advance(4)
    hub.pulse.heard(HUB, UpstreamTimeout(HUB, "it took longer than 12 s"))
    hub.clock.advance(1)
    assert hub.beat == Beat(False, 5.0, "it took longer than 12 s", 1.0)


def test_the_last_trouble_is_remembered_when_it_is_over() -> None:
    hub = Hub()
    hub.pulse.heard(HUB, UpstreamUnreachable(HUB, "connection refused"))
    hub.clock.advance(60)
    hub.pulse.heard(HUB, None)
    hub.clock.advance(2)
    assert hub.beat == Beat(True, 2.0, "connection refused", 62.0)


async def probed(hub: Hub) -> Any:
    probing: Deferred[None] = Deferred.fromCoroutine(hub.pulse.probe(HUB))
    await probing
    return hub.beat


async def test_a_probe_counts_as_well() -> None:
    assert await probed(Hub()) == Beat(True, 0.0)
    hub = Hub(answers=False)
    hub.pulse.heard(HUB, UpstreamUnreachable(HUB, "connection refused"))
    hub.clock.advance(7)
    assert await probed(hub) == Beat(False, 7.0, "connection refused", 7.0)


@pytest.mark.parametrize(
    ("circuit", "answers"), [(Circuit.OPEN, False), (Circuit.HALF_OPEN, False), (Circuit.OFFLINE, None)]
)
def test_who_is_not_asked_is_not_there_and_nothing_of_it_expires(
    circuit: Circuit, answers: bool | None
) -> None:
    """No probe is needed, none is wanted. That an operator says so is no trouble; and for how long it had
    answered is not how long it does not."""
    hub, now = Hub(), [Circuit.CLOSED]
    hub.pulse.watch(HUB, lambda: succeed(True), lambda: now[0])
    hub.pulse.heard(HUB, None)
    hub.clock.advance(100)
    assert (hub.beat, hub.pulse.alive(HUB)) == (Beat(True, 100.0), True)
    now[0] = circuit
    assert (hub.beat, hub.pulse.alive(HUB)) == (Beat(answers, None), False)
    now[0] = Circuit.CLOSED
    assert (hub.beat, hub.pulse.alive(HUB)) == (Beat(True, 100.0), True)


@pytest.mark.parametrize(
    ("circuit", "begun"), [(Circuit.OPEN, Beat(False, 5.0)), (Circuit.OFFLINE, Beat(None, None))]
)
def test_whose_calls_had_failed_is_in_trouble_since_then(circuit: Circuit, begun: Beat) -> None:
    hub = Hub()
    hub.pulse.watch(HUB, lambda: succeed(False), lambda: circuit)
    hub.pulse.heard(HUB, UpstreamUnreachable(HUB, "connection refused"))
    hub.clock.advance(5)
    assert hub.beat == Beat(begun.answers, begun.since_s, "connection refused", 5.0)
    assert hub.pulse.alive(HUB) is False
