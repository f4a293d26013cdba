"""The circuit of one endpoint: carries out what ``circuit`` decides, with a clock and probes.

Laws: one probe at a time, no token with it. None once it is closed, none while it rests. Calls that wait in
silence when it opens are ended. An outage is one line in the log when it begins, and one when it is over.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import islice

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from regproxy.errors import UpstreamError, UpstreamFailed
from regproxy.interfaces import Circuit
from regproxy.upstream import circuit
from regproxy.upstream.circuit import Began, CircuitState

_log = Logger()

Probe = Callable[[], Deferred[None]]
Told = Callable[[Circuit], None]

CHECK_AGAIN_S = 5.0
"""Calls that wait have its API checked no sooner again."""
ENDED_AT_ONCE = 50
"""So many calls that wait are ended before others have a turn."""


class Breaker:
    """``where`` names the endpoint in the log. ``probe`` asks its API: it fires when there is an answer
    below 500, fails with UpstreamError, and has a deadline of its own."""

    def __init__(
        self,
        where: str,
        probe: Probe,
        clock: IReactorTime,
        *,
        share: Callable[[], float] = random.random,
        told: Told = lambda state: None,
        probe_told: Callable[[bool], None] = lambda answered: None,
        opened_told: Callable[[], None] = lambda: None,
    ) -> None:
        """``told`` hears of each change, ``probe_told`` whether each probe was answered, ``opened_told`` of
        each outage; ``share`` gives random numbers from 0 to 1."""
        self._where = where
        self._probe = probe
        self._clock = clock
        self._share = share
        self._told = told
        self._probe_told = probe_told
        self._opened_told = opened_told
        self._state = CircuitState()
        self._timer: IDelayedCall | None = None
        self._asking: Deferred[None] | None = None
        self._waiting: dict[Callable[[], None], None] = {}
        self._checked_s = float("-inf")
        self._rests = False
        self._ended = False
        self._said_down = False
        """Whether the last line in the log says that it is down."""
        self._trials = 0
        """How often its API has answered since a call was answered last."""

    def __repr__(self) -> str:
        return f"<Breaker {self._where} {self._state.circuit.name} failures={self._state.failures}>"

    @property
    def state(self) -> CircuitState:
        """As it is now."""
        return self._state

    # what calls tell

    def began(self) -> Began:
        """A call begins; what comes of it is told with this."""
        self._state, call = circuit.begin(self._state)
        return call

    def answered(self, call: Began) -> None:
        """It was answered, by whatever status below 500."""
        self._go(circuit.answered(self._state, call, self._now()))

    def failed(self, call: Began, reason: str, about: str | None = None) -> None:
        """No connection, no answer in time or, ``about`` a repository, a 5xx."""
        self._go(circuit.failed(self._state, call, self._now(), reason, self._share(), about))

    def hesitate(self) -> None:
        """It led to a place that fails: others are asked before it for a while."""
        self._go(circuit.hesitate(self._state, self._now()))

    def doubt(self) -> None:
        """A call has waited for long: is anybody there? One check at a time, and not all the time."""
        now_s = self._now()
        idle = self._asking is None and not self._rests and not self._ended
        if not idle or not self._state.closed or now_s - self._checked_s < CHECK_AGAIN_S:
            return
        self._checked_s = now_s
        check = self.began()

        def over(trouble: str | None, refused: bool) -> None:
            if trouble is not None:
                self._go(circuit.unanswered(self._state, check, self._now(), trouble, self._share()))

        self._ask(over)

    def waits(self, end: Callable[[], None]) -> None:
        """A call has waited for long: ``end`` is called once, as soon as it is open."""
        self._waiting[end] = None
        self._end_waiting()

    def over(self, end: Callable[[], None]) -> None:
        """That call waits no more."""
        self._waiting.pop(end, None)

    # what operators want

    def rest(self) -> None:
        """No probes from now on."""
        self._rests = True
        self._stop()

    def wake(self) -> None:
        """As new: it is asked at once."""
        self._rests = False
        self._said_down = False
        self._trials = 0
        self._go(circuit.renewed(self._state))

    def close(self) -> None:
        """The end."""
        self._ended = True
        self._stop()

    def _stop(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()

    # what follows

    def _go(self, state: CircuitState) -> None:
        """Be in ``state`` from now on, with all that belongs to a change; at rest, and at
        the end, all stays as it is."""
        if self._rests or self._ended:
            return
        before, self._state = self._state, state
        if state.circuit is not before.circuit:
            self._told(state.circuit)
        if before.circuit is Circuit.CLOSED and state.circuit is Circuit.OPEN:
            self._opened_told()
            self._say_down(state)
        elif before.circuit is Circuit.HALF_OPEN and state.closed:
            self._trials += 1
            if self._trials == 1:
                self._say_back(before)
        elif before.waits and state.closed and not state.waits:
            self._trials = 0
            self._say_back(before)
        if state.due_s is not None and state.due_s != before.due_s:
            self._arm(state.due_s)
        self._end_waiting()

    def _end_waiting(self) -> None:
        """Nobody waits for one that is not asked; some at a time, those that wait longest first."""
        if self._state.closed or self._rests or self._ended:
            return
        for end in list(islice(self._waiting, ENDED_AT_ONCE)):
            if end in self._waiting:  # what an earlier one led to may have ended it
                del self._waiting[end]
                end()
        if self._waiting:
            self._clock.callLater(0, self._end_waiting)

    def _say_down(self, state: CircuitState) -> None:
        """Where its API answers and its content does not, once for all that follows."""
        if self._said_down:
            return
        self._said_down = True
        _log.warn(
            "{where} is not asked for now: {reason}; {how} until it answers",
            where=self._where,
            reason=state.reason,
            how="it is tried again and again" if self._trials else "its API is probed",
        )

    def _say_back(self, before: CircuitState) -> None:
        if not self._said_down:
            return
        self._said_down = False
        began_s = self._now() if before.first_s is None else before.first_s
        seconds = round(self._now() - began_s, 1)
        _log.info("{where} answers again, after {seconds} s", where=self._where, seconds=seconds)

    def _arm(self, due_s: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if not self._ended:
            self._timer = self._clock.callLater(max(0.0, due_s - self._now()), self._due)

    def _due(self) -> None:
        self._timer = None
        if self._asking is not None:  # a check that began before it opened: it ends soon
            self._arm(self._now() + circuit.LEAST_WAIT_S)
            return
        self._go(circuit.probing(self._state, self._now()))
        self._ask(self._probed)

    def _probed(self, trouble: str | None, refused: bool) -> None:
        state = circuit.probed(self._state, self._now(), trouble, self._share(), refused)
        if state.closed and trouble is not None:
            self._trials += 1  # a call is to try: whether it is back is not known yet
        self._go(state)

    def _ask(self, over: Callable[[str | None, bool], None]) -> None:
        """One probe; ``over`` gets why it failed, None: it did not; and whether by an answer."""
        self._asking = asking = self._probe()

        def ended(result: Failure | None) -> None:
            if self._asking is not asking:
                return  # it was stopped
            self._asking = None
            if isinstance(result, Failure):
                trouble = result.value
                self._probe_told(False)
                reason = trouble.reason if isinstance(trouble, UpstreamError) else "it does not answer"
                over(reason, isinstance(trouble, UpstreamFailed))
            else:
                self._probe_told(True)
                over(None, False)

        asking.addBoth(ended)
        asking.addErrback(_log_broken)

    def _now(self) -> float:
        return self._clock.seconds()


def _log_broken(failure: Failure) -> None:
    _log.failure("a probe of an upstream broke", failure)
