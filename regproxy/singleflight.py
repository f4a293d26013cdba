"""One job, many waiters.

Laws: at most one job runs for a key. Each waiter has a Deferred of its own: cancelling it takes
that waiter off the list and touches nobody else. The job runs to its end even when every waiter
has left, since what it brings is kept. A waiter that comes after the end starts a new job.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Waiters(Generic[V]):
    """Deferreds that fire together; each may be cancelled alone."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[V]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self) -> Deferred[V]:
        """A new waiter's own Deferred."""
        waiter: Deferred[V] = Deferred(self._leave)
        self._waiting.append(waiter)
        return waiter

    def _leave(self, waiter: Deferred[V]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    def fire(self, result: V) -> None:
        """Give every waiter ``result``."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:  # an earlier one's callback may have cancelled it
                waiter.callback(result)

    def fire_one(self, result: V) -> None:
        """Give the one that waits longest ``result``; there must be one."""
        self._waiting.pop(0).callback(result)

    def fail_one(self, error: BaseException) -> None:
        """Give the one that waits longest ``error``; there must be one."""
        self._waiting.pop(0).errback(Failure(error))

    def fail(self, error: BaseException) -> None:
        """Give every waiter ``error``, each in a Failure of its own."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:
                waiter.errback(Failure(error))


class SingleFlight(Generic[K, V]):
    """Runs one job a key and shares its outcome."""

    def __init__(self) -> None:
        self._flights: dict[K, Waiters[V]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, key: K) -> bool:
        return key in self._flights

    def run(self, key: K, job: Callable[[], Awaitable[V]]) -> Deferred[V]:
        """Join the job under ``key``, or start it; its result or error goes to every waiter."""
        if key in self._flights:
            return self._flights[key].add()
        waiters: Waiters[V] = Waiters()
        self._flights[key] = waiters
        mine = waiters.add()
        Deferred.fromCoroutine(self._fly(key, job, waiters))
        return mine

    async def _fly(self, key: K, job: Callable[[], Awaitable[V]], waiters: Waiters[V]) -> None:
        try:
            result = await job()
        except GeneratorExit:  # thrown away unfinished: there is nobody left to tell
            raise
        except BaseException as error:
            del self._flights[key]
            waiters.fail(error)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            return
        del self._flights[key]
        waiters.fire(result)
