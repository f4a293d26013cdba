"""A thread of its own for one kind of work: one queue, one job at a time, results in the reactor.

Not the reactor's pool: its threads also resolve names, and what takes long must not stop that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from regproxy.singleflight import Waiters

P = ParamSpec("P")
T = TypeVar("T")


class Worker:
    """Runs jobs one after the other in a thread that begins with the first one. It is a daemon thread:
    a job that runs at the end of the process holds nothing up."""

    def __init__(self, reactor: IReactorFromThreads, name: str) -> None:
        self._reactor = reactor
        self._name = name
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self.stopping = False
        """Whether :meth:`stop` was called; nothing may be run any more."""
        self._ended: Waiters[None] = Waiters()

    def __repr__(self) -> str:
        state = "stopping" if self.stopping else "running" if self._thread else "idle"
        return f"<{type(self).__name__} {self._name} {state} queued={self._jobs.qsize()}>"

    def run(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """What ``job`` gives or raises, after what is queued.

        Cancelling the Deferred gives up the answer only: the job runs to its end.
        """
        waiter: Deferred[T] = Deferred()
        if self._thread is None:
            self._thread = Thread(target=self._loop, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put(partial(self._work, waiter, partial(job, *args, **kwargs)))
        return waiter

    def stop(self) -> Deferred[None]:
        """End the thread after what is queued; idempotent. Fires when it has ended."""
        if self._thread is None:
            self.stopping = True
            return succeed(None)
        waiter = self._ended.add()
        if not self.stopping:
            self.stopping = True
            self._jobs.put(None)
        return waiter

    def _loop(self) -> None:
        while (work := self._jobs.get()) is not None:
            work()
            del work
        self._reactor.callFromThread(self._end)

    def _end(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._ended.fire(None)

    def _work(self, waiter: Deferred[T], job: Callable[[], T]) -> None:
        outcome: T | Failure
        try:
            outcome = job()
        except BaseException:  # noqa: BLE001  it belongs to whoever waits, not to the thread
            outcome = Failure()
        self._reactor.callFromThread(_hand_over, waiter, outcome)


def _hand_over(waiter: Deferred[T], outcome: T | Failure) -> None:
    if not waiter.called:  # it may have been cancelled
        waiter.callback(outcome)
