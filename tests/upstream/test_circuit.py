"""Whether an endpoint is asked: each transition by itself, and any history against its laws."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regproxy.interfaces import Circuit
from regproxy.upstream import circuit
from regproxy.upstream.circuit import (
    FAILURES,
    FIRST_WAIT_S,
    LEAST_WAIT_S,
    LONGEST_WAIT_S,
    REFUSALS,
    STEP_BACK_S,
    Began,
    CircuitState,
)


def fail(
    state: CircuitState, now_s: float = 0.0, about: str | None = None, share: float = 0.0
) -> CircuitState:
    """A call that begins and fails."""
    state, call = circuit.begin(state)
    return circuit.failed(state, call, now_s, "refuses connections", share, about)


def opened(now_s: float = 0.0) -> CircuitState:
    state = CircuitState()
    for _ in range(FAILURES):
        state = fail(state, now_s)
    assert state.circuit is Circuit.OPEN
    return state


def test_it_opens_after_so_many_in_a_row_and_not_before() -> None:
    state = CircuitState()
    for number in range(1, FAILURES):
        state = fail(state, float(number))
        assert (state.closed, state.failures, state.first_s) == (True, number, 1.0)
    state = fail(state, 7.0)
    assert (state.circuit, state.reason, state.first_s) == (Circuit.OPEN, "refuses connections", 1.0)
    assert state.due_s == 7.0 + FIRST_WAIT_S


def test_an_answer_between_them_begins_the_row_anew() -> None:
    state = CircuitState()
    for _ in range(3 * FAILURES):
        state = fail(state)
        state, call = circuit.begin(state)
        state = circuit.answered(state, call, 0.0)
    assert state.closed
    assert (state.failures, state.first_s, state.failed_s, state.reason) == (0, None, None, None)


def test_what_fails_side_by_side_counts_once() -> None:
    state, calls = CircuitState(), []
    for _ in range(100):
        state, call = circuit.begin(state)
        calls.append(call)
    for call in calls:
        state = circuit.failed(state, call, 1.0, "no answer", 0.0)
    assert (state.closed, state.failures) == (True, 1)


def test_one_repository_that_gets_errors_opens_nothing_several_do() -> None:
    state = CircuitState()
    for _ in range(10 * FAILURES):
        state = fail(state, about="library/broken")
    assert (state.closed, state.failures) == (True, 1)
    for number in range(FAILURES - 1):
        state = fail(state, about=f"library/{number}")
    assert state.circuit is Circuit.OPEN


def test_a_check_that_fails_opens_it_at_once_unless_a_call_was_answered_meanwhile() -> None:
    state, check = circuit.begin(CircuitState())
    down = circuit.unanswered(state, check, 5.0, "no answer", 0.0)
    assert (down.circuit, down.first_s, down.due_s) == (Circuit.OPEN, 5.0, 5.0 + FIRST_WAIT_S)
    state, call = circuit.begin(state)
    state = circuit.answered(state, call, 4.0)
    assert circuit.unanswered(state, check, 5.0, "no answer", 0.0) == state


def test_what_was_asked_before_a_check_opened_it_does_not_count_afterwards() -> None:
    state, late = circuit.begin(CircuitState())
    state, check = circuit.begin(state)
    state = circuit.unanswered(state, check, 7.0, "no answer", 0.0)
    state = circuit.probed(circuit.probing(state, 8.0), 8.5, None, 0.0)
    assert circuit.failed(state, late, 12.0, "no answer", 0.0) == state


def test_what_was_asked_before_it_opened_changes_nothing_but_the_next_probe() -> None:
    state, late = circuit.begin(CircuitState())
    for number in range(FAILURES):
        state = fail(state, float(number))
    assert circuit.failed(state, late, 12.0, "no answer", 0.0) == state
    hint = circuit.answered(state, late, 2.5)
    assert hint == attrs.evolve(state, due_s=2.5), "it is probed at once"
    half = circuit.probing(state, 3.0)
    for told in (circuit.answered(half, late, 3.0), circuit.failed(half, late, 3.0, "no", 0.0)):
        assert told == half
    closed = circuit.probed(half, 3.5, None, 0.0)
    assert closed.closed
    assert circuit.failed(closed, late, 12.0, "no answer", 0.0) == closed, "that was asked of another turn"
    assert circuit.answered(closed, late, 12.0) == closed


def test_a_probe_closes_it_and_only_an_answer_to_a_call_makes_all_good() -> None:
    state = circuit.probed(circuit.probing(opened(), 1.0), 1.5, None, 0.0)
    assert state.closed
    again = fail(state, 2.0, about="library/nginx")
    assert again.circuit is Circuit.OPEN, "the next failure is enough, whatever it is"
    assert again.due_s == 2.0 + 2 * FIRST_WAIT_S, "and it is left alone for longer"
    assert again.first_s == 0.0, "down since the first failure of all"
    state, call = circuit.begin(state)
    good = circuit.answered(state, call, 2.0)
    assert (good.waits, good.first_s) == (0, None)
    assert fail(good, 3.0).closed


def test_one_that_answers_only_by_5xx_has_a_call_try_now_and_then() -> None:
    """It may have content and no API. What was no answer begins the row anew."""
    state = opened()

    def probe(refused: bool) -> CircuitState:
        half = circuit.probing(state, state.due_s or 0.0)
        return circuit.probed(half, state.due_s or 0.0, "it answers 503", 0.0, refused)

    for row in (REFUSALS - 1, REFUSALS - 1):
        for _ in range(row):
            state = probe(True)
            assert state.circuit is Circuit.OPEN
        state = probe(False)
    for _ in range(REFUSALS - 1):
        state = probe(True)
    began_s = state.due_s or 0.0
    state = probe(True)
    assert state.closed
    assert state.first_s == 0.0, "nobody says that it is back"
    state = fail(state, began_s + 1)
    assert state.circuit is Circuit.OPEN, "the next failure is enough"
    for _ in range(REFUSALS - 1):
        state = probe(True)
        assert state.circuit is Circuit.OPEN
    assert probe(True).closed


def test_probes_back_off_and_are_never_far_apart() -> None:
    """From the beginning of one to that of the next, however long each takes."""
    state, now_s, gaps = opened(), 0.0, []
    for _ in range(12):
        assert state.due_s is not None
        gaps.append(state.due_s - now_s)
        now_s = state.due_s
        state = circuit.probed(circuit.probing(state, now_s), now_s + 5.0, "no answer", 0.0)
    assert gaps[0] == FIRST_WAIT_S
    assert gaps[1:] == sorted(gaps[1:])
    assert gaps[-1] == LONGEST_WAIT_S
    assert max(gaps) + 1.0 <= 15.0


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_the_wait_has_jitter_and_an_end(waits: int, share: float) -> None:
    most = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(waits, 20))
    assert most / 2 <= circuit.wait_s(waits, share) <= most


@pytest.mark.parametrize("state", [CircuitState(), opened()])
def test_the_end_of_a_probe_that_was_not_begun_says_nothing(state: CircuitState) -> None:
    assert circuit.probed(state, 1.0, None, 0.0) == state
    assert circuit.probed(state, 1.0, "no answer", 0.0) == state


def test_a_probe_begins_only_where_it_is_open() -> None:
    assert circuit.probing(CircuitState(), 1.0) == CircuitState()
    half = circuit.probing(opened(), 1.0)
    assert half.circuit is Circuit.HALF_OPEN
    assert circuit.probing(half, 2.0) == half


def test_who_has_failed_steps_back_for_a_while() -> None:
    state = fail(CircuitState(), 10.0)
    assert state.stepped_back(10.0 + STEP_BACK_S - 0.1)
    assert not state.stepped_back(10.0 + STEP_BACK_S)
    assert not CircuitState().stepped_back(10.0)
    wary = circuit.hesitate(CircuitState(), 10.0)
    assert (wary.stepped_back(11.0), wary.failures) == (True, 0)


def test_made_new_it_is_asked_and_knows_nothing_of_before() -> None:
    state, late = circuit.begin(opened())
    new = circuit.renewed(state)
    assert (new.closed, new.failures, new.waits, new.due_s, new.first_s) == (True, 0, 0, None, None)
    assert circuit.failed(new, late, 1.0, "no", 0.0) == new


@attrs.define
class Model:
    """The same rules, told by a history: which turn each call is of, and what has come since."""

    state: CircuitState = attrs.field(factory=CircuitState)
    now_s: float = 0.0
    calls: list[Began] = attrs.field(factory=list)
    closed: bool = True
    half: bool = False
    row: int = 0
    trial: bool = False
    turn: int = 0
    counted: int = 0
    refusals: int = 0

    def begin(self, which: int, share: float) -> None:
        self.state, began = circuit.begin(self.state)
        self.calls.append(began)

    def fail(self, which: int, share: float) -> None:
        if not self.calls:
            return
        at = which % len(self.calls)
        self.state = circuit.failed(self.state, self.calls[at], self.now_s, "no", share)
        if self.closed and self.calls[at].turn == self.turn and at >= self.counted:
            self.counted, self.row = len(self.calls), self.row + 1
            if self.trial or self.row == FAILURES:
                self.closed, self.turn = False, self.turn + 1

    def answer(self, which: int, share: float) -> None:
        if not self.calls:
            return
        call = self.calls[which % len(self.calls)]
        self.state = circuit.answered(self.state, call, self.now_s)
        if self.closed and call.turn == self.turn:
            self.row, self.trial, self.refusals = 0, False, 0

    def probe(self, which: int, share: float) -> None:
        self.state = circuit.probing(self.state, self.now_s)
        self.half = not self.closed

    def probe_answered(self, which: int, share: float) -> None:
        self.state = circuit.probed(self.state, self.now_s, None, share)
        if self.half:
            self.closed, self.trial, self.row, self.turn = True, True, 0, self.turn + 1
            self.refusals = 0
        self.half = False

    def probe_failed(self, which: int, share: float) -> None:
        self.state = circuit.probed(self.state, self.now_s, "no", share)
        if self.half:
            self.refusals = 0
        self.half = False

    def probe_refused(self, which: int, share: float) -> None:
        self.state = circuit.probed(self.state, self.now_s, "503", share, refused=True)
        self.refusals += self.half
        if self.half and self.refusals == circuit.REFUSALS:
            self.closed, self.trial, self.row, self.turn = True, True, 0, self.turn + 1
            self.refusals = 0
        self.half = False

    def renew(self, which: int, share: float) -> None:
        self.state = circuit.renewed(self.state)
        self.closed, self.half, self.row, self.trial, self.refusals = True, False, 0, False, 0
        self.turn, self.counted = self.turn + 1, len(self.calls)

    def check(self) -> None:
        state = self.state
        expected = Circuit.CLOSED if self.closed else Circuit.HALF_OPEN if self.half else Circuit.OPEN
        assert state.circuit is expected
        assert state.turn == self.turn
        if self.closed:
            assert state.failures == self.row
        if expected is not Circuit.OPEN:
            assert state.due_s is None
            return
        assert state.due_s is not None
        assert state.due_s <= self.now_s + max(LONGEST_WAIT_S, LEAST_WAIT_S)
        assert state.first_s is not None
        assert state.reason is not None


MOVES = (
    Model.begin,
    Model.fail,
    Model.answer,
    Model.probe,
    Model.probe_answered,
    Model.probe_failed,
    Model.probe_refused,
    Model.renew,
)


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(st.sampled_from(MOVES), st.integers(0, 1 << 16), st.floats(0, 20), st.floats(0, 1)),
        max_size=80,
    )
)
def test_any_history(moves: list[tuple[Callable[..., None], int, float, float]]) -> None:
    model = Model()
    with patch.object(circuit, "REFUSALS", 2):
        for move, which, passes_s, share in moves:
            model.now_s += passes_s
            move(model, which, share)
            model.check()
