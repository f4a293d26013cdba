"""Whether an endpoint is asked: what its answers and failures mean for that. Pure.

Laws: it opens after FAILURES in a row, or when a check of its API fails while calls wait in silence. What
fails side by side counts once, and so do answers of 5xx about one repository. Every opening and closing
begins a new turn: what was asked in an earlier one neither opens nor closes it, an answer to it
only has it probed at once. Only a probe, alone, closes it: one that is answered below 500, or the last of
REFUSALS in a row that are answered at all, since an upstream may have content and no API. Until a call has
been answered the next failure opens it again, for longer. Probes begin LONGEST_WAIT_S apart at most.

Times are seconds of one clock; ``share`` is random, from 0 to 1.
"""

from __future__ import annotations

import attrs

from regproxy.interfaces import Circuit

FAILURES = 3
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 14.0
"""With the time of an answer that makes 15 s from an upstream's return to the first call."""
LEAST_WAIT_S = 0.5
REFUSALS = 10
"""After a minute or two of 5xx to its probes calls may try."""
STEP_BACK_S = 15.0
"""For so long after a failure others are asked before it, as long as it is asked at all."""


@attrs.frozen(slots=True)
class Began:
    """A call that was begun: in which turn, as which one, and how many answers there were then."""

    turn: int
    number: int
    answers: int


@attrs.frozen(slots=True)
class CircuitState:
    """``turn`` counts openings and closings, ``failures`` those in a row, ``waits`` the openings and failed
    probes since the last answer to a call; ``due_s`` is when it is probed."""

    circuit: Circuit = Circuit.CLOSED
    turn: int = 0
    begun: int = 0
    answers: int = 0
    failures: int = 0
    counted: int = 0
    """As many calls had begun at the last failure that counted."""
    about: frozenset[str] = frozenset()
    """The repositories that the failures in a row were about, where they were answers."""
    first_s: float | None = None
    """When the first one failed of those since the last answer."""
    failed_s: float | None = None
    reason: str | None = None
    waits: int = 0
    due_s: float | None = None
    probed_s: float | None = None
    refusals: int = 0
    """How many probes in a row were answered by 5xx."""

    @property
    def closed(self) -> bool:
        """Whether calls go there."""
        return self.circuit is Circuit.CLOSED

    def stepped_back(self, now_s: float) -> bool:
        """Whether others are to be asked before it."""
        return self.failed_s is not None and now_s - self.failed_s < STEP_BACK_S


def begin(state: CircuitState) -> tuple[CircuitState, Began]:
    """A call, or a check, begins."""
    number = state.begun + 1
    return attrs.evolve(state, begun=number), Began(state.turn, number, state.answers)


def answered(state: CircuitState, call: Began, now_s: float) -> CircuitState:
    """A call was answered, by whatever status below 500."""
    if state.circuit is Circuit.OPEN:
        return attrs.evolve(state, due_s=now_s)
    if not state.closed or call.turn != state.turn:
        return state
    return CircuitState(turn=state.turn, begun=state.begun, answers=state.answers + 1, counted=state.counted)


def failed(
    state: CircuitState, call: Began, now_s: float, reason: str, share: float, about: str | None = None
) -> CircuitState:
    """A call failed; ``about``: by an answer about that repository."""
    if not state.closed or call.turn != state.turn or call.number <= state.counted:
        return state
    found = attrs.evolve(
        state,
        counted=state.begun,
        failures=state.failures + (about not in state.about),
        about=state.about if about is None else state.about | {about},
        first_s=now_s if state.first_s is None else state.first_s,
        failed_s=now_s,
        reason=reason,
    )
    if found.waits or found.failures >= FAILURES:
        return _opened(found, now_s, share)
    return found


def unanswered(state: CircuitState, check: Began, now_s: float, reason: str, share: float) -> CircuitState:
    """A check of its API failed, which was made since calls waited; no call was answered meanwhile."""
    if not state.closed or check.turn != state.turn or check.answers != state.answers:
        return state
    first_s = now_s if state.first_s is None else state.first_s
    return _opened(attrs.evolve(state, first_s=first_s, failed_s=now_s, reason=reason), now_s, share)


def hesitate(state: CircuitState, now_s: float) -> CircuitState:
    """Others are to be asked before it, although the failure was not its own."""
    return attrs.evolve(state, failed_s=now_s) if state.closed else state


def probing(state: CircuitState, now_s: float) -> CircuitState:
    """The one probe begins, where it is open."""
    if state.circuit is not Circuit.OPEN:
        return state
    return attrs.evolve(state, circuit=Circuit.HALF_OPEN, due_s=None, probed_s=now_s)


def probed(
    state: CircuitState, now_s: float, trouble: str | None, share: float, refused: bool = False
) -> CircuitState:
    """The probe has ended; ``trouble`` None: by an answer below 500; ``refused``: by one of 5xx."""
    if state.circuit is not Circuit.HALF_OPEN:
        return state
    refusals = state.refusals + 1 if refused else 0
    if trouble is None or refusals >= REFUSALS:
        return attrs.evolve(
            state,
            circuit=Circuit.CLOSED,
            turn=state.turn + 1,
            failures=0,
            about=frozenset(),
            failed_s=None,
            refusals=0,
        )
    began_s = now_s if state.probed_s is None else state.probed_s
    due_s = max(now_s + LEAST_WAIT_S, began_s + wait_s(state.waits, share))
    return attrs.evolve(
        state,
        circuit=Circuit.OPEN,
        waits=state.waits + 1,
        due_s=due_s,
        reason=trouble,
        refusals=refusals,
    )


def renewed(state: CircuitState) -> CircuitState:
    """As if nothing had been asked yet; what is under way says nothing any more."""
    return CircuitState(turn=state.turn + 1, begun=state.begun, counted=state.begun)


def wait_s(waits: int, share: float) -> float:
    """From one probe to the next: twice as long each time, less a random part of up to a half."""
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(waits, 10)) * (1.0 - share / 2.0)


def _opened(state: CircuitState, now_s: float, share: float) -> CircuitState:
    return attrs.evolve(
        state,
        circuit=Circuit.OPEN,
        turn=state.turn + 1,
        waits=state.waits + 1,
        due_s=now_s + wait_s(state.waits, share),
    )
