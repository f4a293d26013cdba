"""Bodies go out at the client's pace, whole or not at all; the sender closes them."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from regproxy.errors import ContentMismatch, TransferStopped, UpstreamFailed
from regproxy.web.senders import SLICE_BYTES, TURN_BYTES, send_body
from tests.web.doubles import ScriptedBody


class Outlet:
    """A transport's buffer that a test drains by hand: full after ``room`` bytes."""

    def __init__(self, room: int = 1 << 40) -> None:
        self.room = room
        self.sent = b""
        self.buffered = 0
        self.producer: Any = None
        self.gone = False

    def write(self, data: bytes) -> None:
        self.sent += data
        self.buffered += len(data)
        if self.buffered > self.room and self.producer is not None:
            self.producer.pauseProducing()

    def drain(self) -> None:
        self.buffered = 0
        self.producer.resumeProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        assert not self.gone
        self.producer = None

    def is_gone(self) -> bool:
        return self.gone

    def way_out(self) -> object:
        return None

    def note_sent(self, sent_bytes: int) -> None:
        raise AssertionError("nothing goes out past write() here")


class Run:
    """One send, with its outcome."""

    def __init__(self, outlet: Outlet, body: ScriptedBody, first: bytes, length: int | None) -> None:
        self.clock = Clock()
        self.outcome: list[Any] = []
        sending = send_body(outlet, body, first, length, self.clock, "docker.io")
        self.done: Deferred[None] = Deferred.fromCoroutine(sending)
        self.done.addBoth(self.outcome.append)

    def error(self) -> BaseException:
        (failure,) = self.outcome
        assert isinstance(failure, Failure)
        return failure.value

    @property
    def ended(self) -> bool:
        return self.outcome == [None]


def test_a_body_at_hand_is_sent_and_closed() -> None:
    outlet, body = Outlet(), ScriptedBody(b"b" * 10, b"c", b"")
    run = Run(outlet, body, b"a", 12)
    assert run.ended
    assert outlet.sent == b"a" + b"b" * 10 + b"c"
    assert (body.closed, outlet.producer, run.clock.getDelayedCalls()) == (1, None, [])


def test_a_growing_body_is_followed() -> None:
    outlet, body = Outlet(), ScriptedBody()
    run = Run(outlet, body, b"a", 3)
    assert outlet.sent == b"a"
    body.feed(b"bc")
    body.feed(b"")
    assert run.ended
    assert outlet.sent == b"abc"


def test_nothing_is_read_while_the_client_takes_nothing() -> None:
    outlet, body = Outlet(room=10), ScriptedBody(b"x" * SLICE_BYTES * 3, b"")
    run = Run(outlet, body, b"a" * 11, None)
    assert body.read_bytes == 0
    outlet.drain()
    assert body.read_bytes == SLICE_BYTES
    run.clock.advance(100)
    assert body.read_bytes == SLICE_BYTES
    for _ in range(4):
        if outlet.producer is not None:
            outlet.drain()
    assert run.ended
    assert run.clock.getDelayedCalls() == []


def step(clock: Clock) -> None:
    """Run what is due now, not what that puts off."""
    for call in clock.getDelayedCalls():
        run = call.func  # type: ignore[attr-defined]
        call.cancel()
        run()


def test_the_reactor_gets_its_turn() -> None:
    outlet, body = Outlet(), ScriptedBody(b"x" * (TURN_BYTES * 3), b"")
    run = Run(outlet, body, b"a", TURN_BYTES * 3 + 1)
    assert len(outlet.sent) <= TURN_BYTES + SLICE_BYTES
    before = len(outlet.sent)
    step(run.clock)
    assert before < len(outlet.sent) <= before + TURN_BYTES + SLICE_BYTES
    run.clock.pump([0] * 5)
    assert run.ended


def test_an_error_in_the_middle_is_raised() -> None:
    outlet, body = Outlet(), ScriptedBody(b"b")
    run = Run(outlet, body, b"a", 9)
    body.feed(UpstreamFailed("docker.io", "it broke"))
    assert isinstance(run.error(), UpstreamFailed)
    assert (body.closed, outlet.producer) == (1, None)


@pytest.mark.parametrize("items", [(b"",), (b"b", b"")])
def test_a_short_body_is_an_error(items: tuple[bytes, ...]) -> None:
    outlet, body = Outlet(), ScriptedBody(*items)
    run = Run(outlet, body, b"a", 3)
    assert isinstance(run.error(), ContentMismatch)
    assert body.closed == 1


def test_a_long_body_never_passes_its_length() -> None:
    outlet, body = Outlet(), ScriptedBody(b"bcd", b"")
    run = Run(outlet, body, b"a", 3)
    assert isinstance(run.error(), ContentMismatch)
    assert outlet.sent == b"a"


def test_an_unknown_length_ends_with_the_body() -> None:
    outlet, body = Outlet(), ScriptedBody(b"bcd", b"")
    assert Run(outlet, body, b"a", None).ended


def test_an_empty_body() -> None:
    outlet, body = Outlet(), ScriptedBody(b"")
    assert Run(outlet, body, b"", 0).ended
    assert body.closed == 1


def test_a_body_that_has_nothing_for_hours_is_waited_for() -> None:
    outlet, body = Outlet(), ScriptedBody()
    run = Run(outlet, body, b"a", 2)
    run.clock.advance(10_000)
    assert run.outcome == []
    body.feed(b"b")
    body.feed(b"")
    assert run.ended


def test_a_client_that_leaves_while_paused() -> None:
    outlet, body = Outlet(room=0), ScriptedBody(b"b", b"")
    run = Run(outlet, body, b"a", 2)
    outlet.gone = True
    outlet.producer.stopProducing()
    assert body.closed >= 1
    assert body.read_bytes == 0
    assert run.ended
    assert run.clock.getDelayedCalls() == []


def test_a_client_that_leaves_while_the_body_waits() -> None:
    outlet, body = Outlet(), ScriptedBody()
    run = Run(outlet, body, b"a", 2)
    outlet.gone = True
    outlet.producer.stopProducing()
    assert body.closed >= 1
    assert isinstance(run.error(), TransferStopped)


@pytest.mark.parametrize("room", [0, 1 << 40])
def test_cancelling_closes_the_body(room: int) -> None:
    outlet, body = Outlet(room), ScriptedBody()
    run = Run(outlet, body, b"a", 2)
    outlet.gone = True
    run.done.cancel()
    assert body.closed == 1
    assert run.clock.getDelayedCalls() == []
    assert len(run.outcome) == 1
