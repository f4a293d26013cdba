"""What a 429 stops (R91, P13)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from regproxy.headers.retry_after import MAX_RETRY_AFTER_S
from regproxy.upstream.throttle import (
    FIRST_S,
    LONGEST_S,
    PROBE_WAIT_S,
    Lane,
    Stopped,
    Throttle,
    hold_s,
    lane_of,
)


class Gate:
    """A throttle with a clock of its own and no jitter."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.throttle = Throttle(self.clock, lambda: 0.0)

    def enter(self, lane: Lane) -> Any:
        """What came of it; the Deferred itself while that is open."""
        found: list[Any] = []
        entering = Deferred.fromCoroutine(self.throttle.enter(lane))
        entering.addBoth(found.append)
        return found[0] if found else entering


@pytest.fixture
def gate() -> Gate:
    return Gate()


def test_lanes() -> None:
    """What registries count, what is free, what is limited apart; tokens and /v2/ are in nobody's way."""
    assert lane_of("GET", "manifest") is Lane.MANIFEST
    assert lane_of("HEAD", "manifest") is Lane.LOOK
    assert lane_of("GET", "blob") is lane_of("HEAD", "blob") is Lane.BLOB
    assert lane_of("GET", "tags") is Lane.TAGS
    assert lane_of("GET", "base") is lane_of("GET", "token") is None


@pytest.mark.parametrize(
    ("refused", "stopped"),
    [
        (Lane.MANIFEST, {Lane.MANIFEST}),
        (Lane.LOOK, {Lane.MANIFEST, Lane.LOOK}),
        (Lane.TAGS, {Lane.TAGS}),
        (Lane.BLOB, {Lane.BLOB}),
    ],
)
def test_what_stops_what(gate: Gate, refused: Lane, stopped: set[Lane]) -> None:
    """A HEAD goes on where only GETs are counted; a blob is never in a manifest's way, nor the other way."""
    gate.throttle.refused(refused, 10)
    assert {lane for lane in Lane if gate.enter(lane) is not None} == stopped


def test_the_time_that_is_left_is_told(gate: Gate) -> None:
    gate.throttle.refused(Lane.MANIFEST, 10)
    assert gate.enter(Lane.MANIFEST) == Stopped(10)
    gate.clock.advance(3.5)
    assert gate.enter(Lane.MANIFEST) == Stopped(7)
    gate.clock.advance(6.4)
    assert gate.enter(Lane.MANIFEST) == Stopped(1)


def test_one_question_finds_out_whether_it_is_over(gate: Gate) -> None:
    """The others wait for it, and go when it was answered."""
    gate.throttle.refused(Lane.MANIFEST, 10)
    gate.clock.advance(10)
    assert gate.enter(Lane.MANIFEST) is None
    found: list[Any] = []
    for _ in range(3):
        Deferred.fromCoroutine(gate.throttle.enter(Lane.MANIFEST)).addCallback(found.append)
    assert found == []
    gate.throttle.answered(Lane.MANIFEST)
    assert found == [None, None, None]
    assert gate.enter(Lane.MANIFEST) is None


def test_who_waits_is_told_what_the_question_brought(gate: Gate) -> None:
    gate.throttle.refused(Lane.MANIFEST, 10)
    gate.clock.advance(10)
    assert gate.enter(Lane.MANIFEST) is None
    found: list[Any] = []
    Deferred.fromCoroutine(gate.throttle.enter(Lane.MANIFEST)).addCallback(found.append)
    gate.throttle.refused(Lane.MANIFEST, 20)
    assert found == [Stopped(20)]


def test_nobody_waits_for_a_second(gate: Gate) -> None:
    gate.throttle.refused(Lane.MANIFEST, 10)
    gate.clock.advance(10)
    assert gate.enter(Lane.MANIFEST) is None
    found: list[Any] = []
    Deferred.fromCoroutine(gate.throttle.enter(Lane.MANIFEST)).addCallback(found.append)
    gate.clock.advance(PROBE_WAIT_S)
    assert found == [Stopped(1)]
    assert PROBE_WAIT_S < 1.0


def test_a_question_that_gets_no_answer_makes_way_for_the_next(gate: Gate) -> None:
    """One of those that wait, and no more than one."""
    gate.throttle.refused(Lane.MANIFEST, 10)
    gate.clock.advance(10)
    assert gate.enter(Lane.MANIFEST) is None
    found: list[Any] = []
    for _ in range(3):
        Deferred.fromCoroutine(gate.throttle.enter(Lane.MANIFEST)).addCallback(found.append)
    gate.throttle.left_alone(Lane.MANIFEST)
    assert found == [None]
    gate.throttle.answered(Lane.MANIFEST)
    assert found == [None, None, None]


def test_a_waiter_that_leaves_takes_nothing_along(gate: Gate) -> None:
    gate.throttle.refused(Lane.MANIFEST, 10)
    gate.clock.advance(10)
    assert gate.enter(Lane.MANIFEST) is None
    leaving = gate.enter(Lane.MANIFEST)
    found: list[Any] = []
    Deferred.fromCoroutine(gate.throttle.enter(Lane.MANIFEST)).addCallback(found.append)
    leaving.addErrback(lambda failure: failure.trap(CancelledError) and None)
    leaving.cancel()
    gate.throttle.answered(Lane.MANIFEST)
    assert found == [None]


def test_an_answer_from_before_ends_nothing(gate: Gate) -> None:
    gate.throttle.refused(Lane.MANIFEST, 10)
    gate.throttle.answered(Lane.MANIFEST)
    assert gate.enter(Lane.MANIFEST) == Stopped(10)


def test_several_that_were_under_way_are_refused_together(gate: Gate) -> None:
    """The longest wish counts, and it is one refusal."""
    for wish_s in (20, 5, None, None, None):
        gate.throttle.refused(Lane.MANIFEST, wish_s)
    assert gate.enter(Lane.MANIFEST) == Stopped(FIRST_S)


def test_refusals_in_a_row_take_longer(gate: Gate) -> None:
    """Where the upstream does not say for how long."""
    waits = []
    for _ in range(8):
        gate.throttle.refused(Lane.MANIFEST, None)
        stopped = gate.enter(Lane.MANIFEST)
        waits.append(stopped.retry_s)
        gate.clock.advance(stopped.retry_s)
        assert gate.enter(Lane.MANIFEST) is None
    assert waits == [30, 60, 120, 240, 480, 960, 960, 960]
    gate.throttle.answered(Lane.MANIFEST)
    gate.throttle.refused(Lane.MANIFEST, None)
    assert gate.enter(Lane.MANIFEST) == Stopped(FIRST_S)


def test_blobs_wait_for_moments(gate: Gate) -> None:
    """A host that has too much to do now is soon asked again: a transfer waits for it."""
    waits = []
    for _ in range(5):
        gate.throttle.refused(Lane.BLOB, None)
        stopped = gate.enter(Lane.BLOB)
        waits.append(stopped.retry_s)
        gate.clock.advance(stopped.retry_s)
        assert gate.enter(Lane.BLOB) is None
    assert waits == [1, 2, 4, 8, 16]


def test_what_is_stopped_for_nothing_left_goes_when_there_is_more(gate: Gate) -> None:
    """A 429 is not undone by that."""
    gate.throttle.stop(Lane.MANIFEST, 60)
    assert gate.enter(Lane.MANIFEST) == Stopped(60, refused=False)
    gate.throttle.resume(Lane.MANIFEST)
    assert gate.enter(Lane.MANIFEST) is None
    gate.throttle.refused(Lane.MANIFEST, 10)
    gate.throttle.stop(Lane.MANIFEST, 60)
    gate.throttle.resume(Lane.MANIFEST)
    assert gate.enter(Lane.MANIFEST) == Stopped(10)


def test_a_clock_that_is_set_back_stops_nobody_for_days(gate: Gate) -> None:
    gate.throttle.refused(Lane.MANIFEST, 10)
    gate.clock.rightNow = 0.0
    assert gate.enter(Lane.MANIFEST) is None


@given(
    wish_s=st.none() | st.integers(0, MAX_RETRY_AFTER_S) | st.floats(0, 1e12),
    refusals=st.integers(1, 10**6),
    chance=st.floats(0, 1),
)
def test_every_hold_is_bounded(wish_s: float | None, refusals: int, chance: float) -> None:
    """At least what the upstream wishes, up to an hour; a tenth more by chance."""
    found = hold_s(wish_s, refusals, chance)
    assert 1.0 <= found <= MAX_RETRY_AFTER_S * 1.1
    if wish_s is None:
        assert found <= LONGEST_S * 1.1
    else:
        assert found >= min(wish_s, MAX_RETRY_AFTER_S)


def test_nobody_waits_longer_since_one_question_after_the_other_comes_to_nothing(gate: Gate) -> None:
    """Each fails just before those who wait would be told: they were told within a second all the same."""
    gate.throttle.refused(Lane.MANIFEST, 5)
    gate.clock.advance(5)
    assert gate.enter(Lane.MANIFEST) is None
    told: list[float] = []
    began_s = gate.clock.seconds()
    for _ in range(5):
        gate.enter(Lane.MANIFEST).addCallback(lambda _: told.append(gate.clock.seconds() - began_s))
    for _ in range(5):
        gate.clock.pump([0.09 * PROBE_WAIT_S] * 10)
        gate.throttle.left_alone(Lane.MANIFEST)
    assert len(told) == 5
    assert max(told) < 1.0
