"""The circuit of one endpoint with its clock and probes, each of which a test answers by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher

from regproxy.errors import UpstreamFailed, UpstreamTimeout, UpstreamUnreachable
from regproxy.interfaces import Circuit
from regproxy.upstream.breaker import CHECK_AGAIN_S, ENDED_AT_ONCE, Breaker
from regproxy.upstream.circuit import FAILURES, FIRST_WAIT_S, LONGEST_WAIT_S, REFUSALS


class Door:
    """Where the probes come to."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.asked: list[Deferred[None]] = []
        self.asked_s: list[float] = []
        self.cancelled = 0

    @property
    def waiting(self) -> list[Deferred[None]]:
        return [each for each in self.asked if not each.called]

    def knock(self) -> Deferred[None]:
        def cancel(waiting: Deferred[None]) -> None:
            self.cancelled += 1
            waiting.errback(CancelledError())

        self.asked.append(Deferred(cancel))
        self.asked_s.append(self._clock.seconds())
        return self.asked[-1]

    def answer(self) -> None:
        self.waiting[0].callback(None)

    def fail(self) -> None:
        """By an answer."""
        self.waiting[0].errback(UpstreamFailed("x", "asked for its API, it answers 503"))

    def refuse(self) -> None:
        self.waiting[0].errback(UpstreamUnreachable("x", "refuses connections"))


@attrs.define(slots=False)
class Scene:
    clock: Clock
    door: Door
    breaker: Breaker
    states: list[Circuit]
    outages: list[None]

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            self.breaker.failed(self.breaker.began(), "it gives no answer")

    def answer(self) -> None:
        self.breaker.answered(self.breaker.began())


def scene() -> Scene:
    clock = Clock()
    door, states, outages = Door(clock), [], []
    breaker = Breaker(
        "registry.test",
        door.knock,
        clock,
        share=lambda: 0.0,
        told=states.append,
        opened_told=lambda: outages.append(None),
    )
    return Scene(clock, door, breaker, states, outages)


@pytest.fixture(name="it")
def _it() -> Scene:
    return scene()


@pytest.fixture(name="lines")
def _lines() -> Iterator[list[str]]:
    found: list[str] = []

    def observe(event: LogEvent) -> None:
        if event["log_level"] >= LogLevel.info and event["log_namespace"] == "regproxy.upstream.breaker":
            found.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


def test_an_outage_from_its_first_failure_to_its_end(it: Scene, lines: list[str]) -> None:
    it.fail(FAILURES - 1)
    assert it.breaker.state.closed
    it.clock.advance(10)
    it.fail()
    assert it.states == [Circuit.OPEN]
    assert it.door.asked == []
    it.clock.advance(FIRST_WAIT_S)
    assert it.states[-1] is Circuit.HALF_OPEN
    it.door.refuse()
    assert it.states[-1] is Circuit.OPEN
    it.clock.advance(2 * FIRST_WAIT_S)
    it.door.answer()
    assert it.states == [Circuit.OPEN, Circuit.HALF_OPEN, Circuit.OPEN, Circuit.HALF_OPEN, Circuit.CLOSED]
    it.answer()
    assert lines == [
        "registry.test is not asked for now: it gives no answer; its API is probed until it answers",
        "registry.test answers again, after 13.0 s",
    ]
    assert len(it.outages) == 1
    assert it.clock.getDelayedCalls() == []


class TestWhoWaits:
    """A call is a function that ends it."""

    def test_ends_when_it_opens(self, it: Scene) -> None:
        ended: list[str] = []
        first, gone, last = (lambda word=word: ended.append(word) for word in ("first", "gone", "last"))
        for each in (first, gone, last):
            it.breaker.waits(each)
        it.breaker.over(gone)
        it.fail(FAILURES - 1)
        assert ended == []
        it.fail()
        assert ended == ["first", "last"]
        it.fail()
        assert ended == ["first", "last"]

    def test_ends_at_once_where_it_is_open(self, it: Scene) -> None:
        ended: list[None] = []
        it.fail(FAILURES)
        it.breaker.waits(lambda: ended.append(None))
        assert len(ended) == 1

    def test_goes_on_where_an_operator_has_it_offline(self, it: Scene) -> None:
        ended: list[None] = []
        it.breaker.rest()
        it.breaker.waits(lambda: ended.append(None))
        it.fail(FAILURES)
        assert ended == []

    def test_is_ended_some_at_a_time(self, it: Scene) -> None:
        """A crowd is no reason that others are not served meanwhile."""
        ended: list[None] = []
        for _ in range(3 * ENDED_AT_ONCE):
            it.breaker.waits(partial(ended.append, None))
        it.fail(FAILURES)
        assert len(ended) == ENDED_AT_ONCE
        it.clock.advance(0)
        assert len(ended) == 3 * ENDED_AT_ONCE

    def test_may_end_others_with_it(self, it: Scene) -> None:
        ended: list[str] = []

        def second() -> None:
            ended.append("second")

        def first() -> None:
            ended.append("first")
            it.breaker.over(second)

        it.breaker.waits(first)
        it.breaker.waits(second)
        it.fail(FAILURES)
        assert ended == ["first"]


def test_it_is_back_within_fifteen_seconds_without_any_call(it: Scene) -> None:
    """Whenever it comes back, after however long an outage, each probe of which hangs for 5 s."""
    it.fail(FAILURES)
    for _ in range(400):  # 100 s, each probe given up after 5 s
        it.clock.advance(0.25)
        if it.door.waiting and it.clock.seconds() - it.door.asked_s[-1] >= 5:
            it.door.refuse()
    back_s = it.clock.seconds()
    if it.door.waiting:
        it.door.refuse()
    while not it.breaker.state.closed:
        it.clock.advance(0.25)
        if it.door.waiting:
            it.door.answer()
    assert it.clock.seconds() - back_s <= 15.0
    gaps = [later - sooner for sooner, later in pairwise(it.door.asked_s)]
    assert max(gaps) <= LONGEST_WAIT_S + 0.25


def test_one_whose_api_answers_and_nothing_else_fills_no_log(it: Scene, lines: list[str]) -> None:
    it.fail(FAILURES)
    for _ in range(20):
        it.clock.advance(LONGEST_WAIT_S)
        it.door.answer()
        assert it.breaker.state.closed
        it.fail()
        assert not it.breaker.state.closed
    assert len(lines) == 3, "down, back, and down for all the rest"
    assert lines[-1].endswith("it is tried again and again until it answers")
    it.clock.advance(LONGEST_WAIT_S)
    it.door.answer()
    assert len(lines) == 3
    it.answer()
    assert len(lines) == 4
    assert "answers again, after" in lines[-1]


def test_one_without_an_api_is_not_left_alone_for_ever(it: Scene, lines: list[str]) -> None:
    """Its content may be there; that it is back is told when a call was answered."""
    it.fail(FAILURES)
    for _ in range(REFUSALS):
        assert not it.breaker.state.closed
        it.clock.advance(LONGEST_WAIT_S)
        it.door.fail()
    assert it.breaker.state.closed
    assert len(lines) == 1
    it.fail()
    assert not it.breaker.state.closed
    assert len(lines) == 1, "all of it is one outage"
    for _ in range(REFUSALS):
        it.clock.advance(LONGEST_WAIT_S)
        it.door.fail()
    it.answer()
    assert len(lines) == 2
    assert "answers again, after" in lines[-1]


def test_silence_has_it_checked_and_a_check_that_fails_opens_it(it: Scene) -> None:
    it.breaker.began()
    it.breaker.doubt()
    it.breaker.doubt()
    assert len(it.door.asked) == 1, "one look for all who wait"
    it.door.waiting[0].errback(UpstreamTimeout("x", "no answer in time"))
    assert it.breaker.state.circuit is Circuit.OPEN
    assert it.breaker.state.reason == "no answer in time"


def test_a_check_that_is_answered_changes_nothing_and_is_not_repeated_at_once(it: Scene) -> None:
    it.breaker.doubt()
    it.door.answer()
    it.breaker.doubt()
    assert (len(it.door.asked), it.states) == (1, [])
    it.clock.advance(CHECK_AGAIN_S)
    it.breaker.doubt()
    assert len(it.door.asked) == 2


def test_an_answer_that_comes_during_a_check_counts_more(it: Scene) -> None:
    call = it.breaker.began()
    it.breaker.doubt()
    it.breaker.answered(call)
    it.door.refuse()
    assert it.breaker.state.closed


def test_a_check_that_outlasts_the_opening_is_not_doubled(it: Scene) -> None:
    it.breaker.doubt()
    it.fail(FAILURES)
    it.clock.advance(FIRST_WAIT_S)
    assert len(it.door.asked) == 1
    it.door.answer()
    assert it.breaker.state.circuit is Circuit.OPEN, "that was asked before"
    it.clock.advance(FIRST_WAIT_S)
    it.door.answer()
    assert it.breaker.state.closed


def test_a_late_answer_has_it_probed_at_once(it: Scene) -> None:
    late = it.breaker.began()
    it.fail(FAILURES)
    it.breaker.answered(late)
    assert not it.breaker.state.closed
    it.clock.advance(0)
    it.door.answer()
    assert it.breaker.state.closed


def test_at_rest_nothing_is_probed_and_awake_it_is_as_new(it: Scene) -> None:
    it.fail(FAILURES)
    it.clock.advance(FIRST_WAIT_S)
    it.breaker.rest()
    assert it.door.cancelled == 1
    it.breaker.doubt()
    before = list(it.states)
    it.fail(FAILURES)
    it.answer()
    it.clock.advance(1000)
    assert (len(it.door.asked), it.states) == (1, before)
    assert it.clock.getDelayedCalls() == []
    it.breaker.wake()
    assert it.breaker.state.closed
    it.fail()
    assert it.breaker.state.closed, "what was before does not count"


def test_what_ends_badly_while_it_rests_is_not_counted(it: Scene) -> None:
    """Calls that were begun before an operator took it offline."""
    it.breaker.rest()
    it.fail(FAILURES)
    assert (it.states, it.outages) == ([], [])
    assert it.breaker.state.closed
    assert it.clock.getDelayedCalls() == []


@pytest.mark.parametrize("under_way", [False, True])
def test_the_end_is_one(it: Scene, under_way: bool) -> None:
    it.fail(FAILURES)
    if under_way:
        it.clock.advance(FIRST_WAIT_S)
    it.breaker.close()
    it.fail(FAILURES)
    it.breaker.doubt()
    it.clock.advance(1000)
    assert it.door.waiting == []
    assert len(it.door.asked) == int(under_way)
    assert it.clock.getDelayedCalls() == []


def test_what_the_end_cuts_off_is_no_outage(it: Scene, lines: list[str]) -> None:
    it.fail(FAILURES - 1)
    it.breaker.close()
    it.fail()
    assert (it.states, lines) == ([], [])


class Life(Scene):
    """A scene whose moves have names."""

    resting = False

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def fails(self, _: float) -> None:
        self.fail()

    def answers(self, _: float) -> None:
        self.answer()

    def doubts(self, _: float) -> None:
        self.breaker.doubt()

    def rest(self, _: float) -> None:
        self.resting = True
        self.breaker.rest()

    def wake(self, _: float) -> None:
        if self.resting:
            self.resting = False
            self.breaker.wake()

    def opens(self, _: float) -> None:
        if self.door.waiting:
            self.door.answer()

    def fails_to_open(self, _: float) -> None:
        if self.door.waiting:
            self.door.fail()

    def stays_shut(self, _: float) -> None:
        if self.door.waiting:
            self.door.refuse()

    def check(self) -> None:
        timers = self.clock.getDelayedCalls()
        assert len(self.door.waiting) <= 1
        assert len(timers) <= 1
        if self.resting:
            assert not timers
            assert not self.door.waiting
        elif self.breaker.state.circuit is Circuit.OPEN:
            assert timers, "it will be looked at again"
        elif self.breaker.state.circuit is Circuit.HALF_OPEN:
            assert self.door.waiting


MOVES = (
    Life.wait,
    Life.fails,
    Life.answers,
    Life.doubts,
    Life.rest,
    Life.wake,
    Life.opens,
    Life.fails_to_open,
    Life.stays_shut,
)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(MOVES), st.floats(0.1, 20)), max_size=60))
def test_any_history_has_one_probe_at_most_and_never_loses_its_way_back(
    moves: list[tuple[Callable[[Life, float], None], float]],
) -> None:
    life = Life(**attrs.asdict(scene(), recurse=False))
    for move, seconds in moves:
        move(life, seconds)
        life.check()
