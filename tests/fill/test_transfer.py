"""Batches of what a body brings."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from regproxy.errors import UpstreamUnreachable
from regproxy.fill.plan import LINGER_S
from regproxy.fill.transfer import next_batch
from regproxy.testing.bodies import Feed, MemoryBody
from tests.proxy.world import Seen


def batch(body: MemoryBody, clock: Clock, room: int | None = None) -> Seen:
    return Seen(Deferred.fromCoroutine(next_batch(body, clock, room)))


@pytest.mark.parametrize("late", [True, False])
def test_what_came_before_a_break_is_given_before_it_is_told(late: bool) -> None:
    """Else it would be fetched again, and a line that breaks often would bring nothing at all."""
    clock, feed = Clock(), Feed(100)
    body = MemoryBody(feed, 0, 100)
    feed.give(b"some bytes")
    if not late:
        feed.fail(UpstreamUnreachable("registry.test", "reset"))
    found = batch(body, clock)
    if late:
        feed.fail(UpstreamUnreachable("registry.test", "reset"))
    assert found.result == [b"some bytes"]
    assert batch(body, clock).failed_with(UpstreamUnreachable)


def test_it_waits_a_moment_for_more() -> None:
    clock, feed = Clock(), Feed(100)
    body = MemoryBody(feed, 0, 100)
    found = batch(body, clock)
    feed.give(b"some")
    assert found.waiting
    feed.give(b" more")
    clock.advance(LINGER_S)
    assert found.result == [b"some", b" more"]
    assert clock.getDelayedCalls() == []


def test_no_more_than_there_is_room_for() -> None:
    body = MemoryBody(Feed.whole(b"some bytes"), 0, 10)
    assert batch(body, Clock(), room=4).result == [b"some"]
    assert batch(body, Clock(), room=0).result == []
