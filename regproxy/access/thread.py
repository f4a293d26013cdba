"""A thread for what takes long by intent: a password hash holds a core for some 100 ms."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

T = TypeVar("T")


class CheckThread:
    """Runs jobs one after the other in a thread that begins with the first one.

    It is a daemon thread: a job that runs at the end of the process holds nothing up.
    """

    def __init__(self, reactor: IReactorFromThreads, name: str = "regproxy-passwords") -> None:
        self._reactor = reactor
        self._name = name
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: Thread | None = None

    def run(self, job: Callable[[], T]) -> Deferred[T]:
        """What ``job`` gives, in the reactor's thread."""
        waiter: Deferred[T] = Deferred()
        if self._thread is None:
            self._thread = Thread(target=self._loop, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put(lambda: self._work(waiter, job))
        return waiter

    def stop(self) -> None:
        """End the thread after what is queued; idempotent."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread = None

    def _loop(self) -> None:
        while (work := self._jobs.get()) is not None:
            work()
            del work

    def _work(self, waiter: Deferred[T], job: Callable[[], T]) -> None:
        outcome: T | Failure
        try:
            outcome = job()
        except BaseException:  # noqa: BLE001  it belongs to whoever waits, not to the thread
            outcome = Failure()
        self._reactor.callFromThread(waiter.callback, outcome)
