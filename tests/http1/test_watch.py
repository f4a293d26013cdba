"""One delayed call for all connections; nobody is missed, nobody is ended early."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from regproxy.http1.watch import LOOKS, TICK_S, TURN, Watch, Watched

STEP_S = 0.25
LATE_S = TICK_S + STEP_S + 1e-5
"""The model's clock goes in steps, so that a tick may be seen one step late."""


class Kept:
    """Connections with their times, beside a plain model of them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.watch = Watch(self.clock)
        self.ones = [Watched() for _ in range(5)]
        self.due: dict[int, float] = {}
        self.ended: list[tuple[int, float]] = []

    def expect(self, number: int, within_s: float) -> None:
        self.due[number] = self.clock.seconds() + within_s
        self.watch.expect(self.ones[number], within_s, lambda: self._end(number))

    def _end(self, number: int) -> None:
        self.ended.append((number, self.due.pop(number)))
        assert 0 <= self.clock.seconds() - self.ended[-1][1] <= LATE_S

    def leave(self, number: int) -> None:
        self.due.pop(number, None)
        self.watch.forget(self.ones[number])


STEPS = st.lists(
    st.tuples(st.just("expect"), st.integers(0, 4), st.floats(0, 20))
    | st.tuples(st.just("relax") | st.just("leave"), st.integers(0, 4), st.none())
    | st.tuples(st.just("advance"), st.none(), st.floats(0, 8)),
    max_size=40,
)


@given(STEPS)
def test_any_history(steps: list[tuple[str, int, float]]) -> None:
    """Each is called once, within a tick after its last time, and there is one delayed call at most."""
    kept = Kept()
    for what, number, seconds in steps:
        if what == "advance":
            for _ in range(int(seconds / STEP_S)):
                kept.clock.advance(STEP_S)
                now_s = kept.clock.seconds()
                assert all(due_s > now_s - LATE_S for due_s in kept.due.values())
        elif what == "expect":
            kept.expect(number, seconds)
        elif what == "leave":
            kept.leave(number)
        else:
            kept.due.pop(number, None)
            kept.watch.relax(kept.ones[number])
        assert len(kept.clock.getDelayedCalls()) <= 1
    for number in range(5):
        kept.leave(number)
    assert kept.clock.getDelayedCalls() == []


def test_what_is_put_off_costs_nothing_and_what_is_brought_forward_counts() -> None:
    kept = Kept()
    kept.expect(0, 10)
    (call,) = kept.clock.getDelayedCalls()
    for _ in range(50):
        kept.expect(0, 20)
    assert kept.clock.getDelayedCalls() == [call]
    assert call.getTime() == 10
    kept.expect(0, 3)
    kept.clock.advance(3)
    assert [number for number, _ in kept.ended] == [0]


def test_who_is_filed_anew_for_later_hides_nobody_who_is_due_before() -> None:
    kept = Kept()
    kept.expect(0, 1)
    kept.expect(0, 10)
    kept.expect(1, 5)
    for _ in range(5):
        kept.clock.advance(1)
    assert [number for number, _ in kept.ended] == [1]
    kept.clock.advance(5)
    assert [number for number, _ in kept.ended] == [1, 0]


def test_a_crowd_is_ended_in_turns() -> None:
    """Thousands that came together do not hold the reactor."""
    clock, ended = Clock(), []
    watch = Watch(clock)
    for number in range(5 * TURN):
        watch.expect(Watched(), 30, lambda number=number: ended.append(number))
    (call,) = clock.getDelayedCalls()
    clock.advance(29)
    assert ended == []
    clock.rightNow += 1
    call.func()
    call.cancel()
    assert len(ended) == TURN
    clock.pump([0] * 5)
    assert sorted(ended) == list(range(5 * TURN))
    assert clock.getDelayedCalls() == []


def test_a_crowd_that_is_put_off_is_filed_anew_in_turns() -> None:
    clock, ended = Clock(), []
    watch = Watch(clock)
    crowd = [Watched() for _ in range(3 * LOOKS)]
    for one in crowd:
        watch.expect(one, 30, lambda: ended.append(1))
    clock.advance(1)
    for one in crowd:
        watch.expect(one, 120, lambda: ended.append(2))
    (call,) = clock.getDelayedCalls()
    clock.rightNow += 30
    call.func()
    call.cancel()
    assert len({one.slot for one in crowd}) == 2, "some stay for the next turn"
    clock.pump([0] * 3)
    assert len({one.slot for one in crowd}) == 1
    clock.advance(92)
    clock.pump([0] * 30)
    assert ended == [2] * len(crowd)
    assert clock.getDelayedCalls() == []


def test_one_that_fails_takes_nobody_with_it() -> None:
    clock, ended = Clock(), []
    watch = Watch(clock)
    first, second = Watched(), Watched()
    watch.expect(first, 1, lambda: 1 // 0)
    watch.expect(second, 2, lambda: ended.append(2))
    with pytest.raises(ZeroDivisionError):
        clock.advance(1)
    clock.advance(1)
    assert ended == [2]


def test_one_may_leave_or_expect_more_when_it_is_called() -> None:
    clock, ended = Clock(), []
    watch, one = Watch(clock), Watched()
    watch.expect(one, 1, lambda: (ended.append(1), watch.expect(one, 1, lambda: watch.forget(one))))
    clock.advance(1)
    assert (ended, len(clock.getDelayedCalls())) == ([1], 1)
    clock.advance(1)
    assert clock.getDelayedCalls() == []
