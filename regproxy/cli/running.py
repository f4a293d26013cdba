"""Work that needs a reactor, from its beginning to its end, or to Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class Interrupted(Exception):
    """A signal came, and the work has ended cleanly."""


def run_to_end(begin: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
    """What the coroutine that ``begin`` makes of the reactor gives or raises; Interrupted.

    A signal cancels it, and it is waited for.
    """
    from twisted.internet import reactor

    running = _Running(reactor, begin)
    reactor.callWhenRunning(running.start)
    reactor.run()
    if running.interrupted or not running.outcome:
        raise Interrupted
    found = running.outcome[0]
    if isinstance(found, Failure):
        found.raiseException()
    result: T = found
    return result


class _Running:
    def __init__(self, reactor: Any, begin: Callable[[Any], Coroutine[Any, Any, Any]]) -> None:
        self._reactor = reactor
        self._begin = begin
        self._work: Deferred[Any] | None = None
        self.outcome: list[Any] = []
        self.interrupted = False

    def start(self) -> None:
        self._reactor.addSystemEventTrigger("before", "shutdown", self._shut_down)
        self._work = Deferred.fromCoroutine(self._begin(self._reactor))
        self._work.addBoth(self._ended)

    def _ended(self, outcome: Any) -> None:
        self.outcome.append(outcome)
        if not self.interrupted:
            self._reactor.stop()

    def _shut_down(self) -> Deferred[None] | None:
        if self.outcome or self._work is None:
            return None
        self.interrupted = True
        over: Deferred[None] = Deferred()
        self._work.addBoth(lambda _: over.callback(None))
        self._work.cancel()
        return over
