"""What is under way at one upstream, so that closing it ends everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from regproxy.errors import (
    TransferStopped,
    UpstreamDown,
    UpstreamError,
    UpstreamTimeout,
    UpstreamTrouble,
)
from regproxy.upstream.deadlines import within

T = TypeVar("T")

_log = Logger()


class Running:
    """Calls with a deadline each, and open bodies; :meth:`close` ends them all.

    Trouble is logged here, once for each call however many clients wait for it; answers are not.
    """

    def __init__(
        self,
        name: str,
        clock: IReactorTime,
        heard: Callable[[UpstreamTrouble | None], None] = lambda trouble: None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """``heard`` is told of each call that is not nested what trouble there was; None: an answer came,
        whatever it said.

        ``wall`` gives seconds since the epoch.
        """
        self._name = name
        self._wall = wall
        self._silent_s: float | None = None
        self._heard = heard
        self._clock = clock
        self._calls: set[Deferred[Any]] = set()
        self._stops: set[Callable[[], None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._calls) + len(self._stops)

    def call(
        self, work: Coroutine[Deferred[Any], Any, T], what: str, seconds: float, *, nested: bool = False
    ) -> Deferred[T]:
        """Run ``work``: UpstreamTimeout after ``seconds``, TransferStopped when all is closed.

        ``nested``: part of other work, which logs its trouble, and knows what that means for the upstream.
        """
        if self._closed:
            work.close()
            return fail(TransferStopped("the daemon ends"))
        began_s = self._clock.seconds()
        running = within(self._clock, seconds, work, lambda: self._late(what, seconds))
        self._calls.add(running)

        def settle(result: T | Failure) -> T | Failure:
            self._calls.discard(running)
            if not isinstance(result, Failure):
                self._listen(None, nested)
                return result
            if isinstance(result.value, UpstreamDown):
                return result  # nobody was asked; what made it so is told already
            if isinstance(result.value, UpstreamError):
                result.value.tried_s = max(0.0, self._clock.seconds() - began_s)
                if result.value.remembered:  # nobody was asked: that says nothing of whether it is there
                    return result
                self._listen(result.value, nested)
            if self._closed and result.check(CancelledError):
                return Failure(TransferStopped("the daemon ends"))
            if isinstance(result.value, UpstreamTrouble) and not nested:
                _log.warn("{error} (asked for {what})", error=result.value.for_log, what=what)
            return result

        settled: Deferred[T] = running.addBoth(settle)
        return settled

    def _listen(self, error: UpstreamError | None, nested: bool) -> None:
        """Any answer to a call ends a silence."""
        if nested:
            return
        trouble = error if isinstance(error, UpstreamTrouble) else None
        if trouble is None:
            self._silent_s = None
        self.hear(trouble)

    def hear(self, trouble: UpstreamTrouble | None) -> None:
        """What came of a call, or of a probe that speaks for the upstream. Trouble begins a silence, and
        says since when that lasts."""
        if trouble is not None:
            self._silent_s = self._wall() if self._silent_s is None else self._silent_s
            trouble.since_s = self._silent_s if trouble.since_s is None else trouble.since_s
        self._heard(trouble)

    def _late(self, what: str, seconds: float) -> UpstreamTimeout:
        return UpstreamTimeout(self._name, f"it took longer than {seconds:g} s to give {what}")

    def register(self, stop: Callable[[], None]) -> Callable[[], None]:
        """Note how to stop something; gives what takes the note back."""
        self._stops.add(stop)
        if self._closed:
            stop()
        return lambda: self._stops.discard(stop)

    def close(self) -> None:
        """End all of it, now and from now on."""
        self._closed = True
        for call in list(self._calls):
            call.cancel()
        for stop in list(self._stops):
            stop()
