"""A thread of the disk's own: one queue, one job at a time, results in the reactor.

Not the reactor's pool: its threads also resolve names, and a slow disk must not stop that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from regproxy.errors import StorageFailed
from regproxy.singleflight import Waiters
from regproxy.storage.refusals import storage_failed

P = ParamSpec("P")
T = TypeVar("T")


def _nobody_hears(error: OSError) -> bool:
    """Nobody wants to know."""
    return False


class DiskThread:
    """Runs jobs one after the other in a thread of its own, which begins with the first one.

    ``refused`` is told of each OSError, in the reactor's thread, before whoever waits for the job;
    it says whether the log has it now.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        name: str,
        refused: Callable[[OSError], bool] = _nobody_hears,
    ) -> None:
        self._reactor = reactor
        self._name = name
        self._refused = refused
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._stopping = False
        self._ended: Waiters[None] = Waiters()

    def __repr__(self) -> str:
        state = "stopping" if self._stopping else "running" if self._thread else "idle"
        return f"<DiskThread {self._name} {state} queued={self._jobs.qsize()}>"

    def run(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run ``job`` in the thread, after what is queued; OSError becomes StorageFailed.

        Cancelling the Deferred gives up the answer only: the job runs to its end.
        """
        if self._stopping:
            return fail(StorageFailed("the store is closed"))
        waiter: Deferred[T] = Deferred()
        if self._thread is None:
            self._thread = Thread(target=self._loop, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put(partial(self._work, waiter, partial(job, *args, **kwargs)))
        return waiter

    def stop(self) -> Deferred[None]:
        """End the thread after what is queued; idempotent. Later jobs fail with StorageFailed."""
        if self._thread is None:
            self._stopping = True
            return succeed(None)
        waiter = self._ended.add()
        if not self._stopping:
            self._stopping = True
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
        except OSError as error:
            self._reactor.callFromThread(self._fail, waiter, error)
            return
        except BaseException:  # noqa: BLE001  it belongs to whoever waits, not to the thread
            outcome = Failure()
        self._reactor.callFromThread(_hand_over, waiter, outcome)

    def _fail(self, waiter: Deferred[T], error: OSError) -> None:
        failed = storage_failed(error)
        failed.told = self._refused(error)
        _hand_over(waiter, Failure(failed))


def _hand_over(waiter: Deferred[T], outcome: T | Failure) -> None:
    if not waiter.called:  # it may have been cancelled
        waiter.callback(outcome)


class Makings:
    """What is being made in a thread, for callers that may leave before it is there."""

    def __init__(self) -> None:
        self._count = 0
        self._settled: Waiters[None] = Waiters()

    def add(self, made: Deferred[T], undo: Callable[[T], Deferred[None]]) -> Deferred[T]:
        """``made``'s result; where the caller has cancelled, ``undo`` gets it. StorageFailed of that
        is nobody's: what was made stays for the next start."""
        undoing: list[Deferred[None]] = []
        result = shield(made, lambda unwanted: undoing.append(undo(unwanted).addErrback(_trap)))
        self._count += 1
        made.addCallback(lambda _: undoing[0] if undoing else None).addBoth(self._ended)
        return result

    def _ended(self, _: object) -> None:
        self._count -= 1
        if not self._count:
            self._settled.fire(None)

    def settled(self) -> Deferred[None]:
        """Fires when nothing is being made or undone."""
        return self._settled.add() if self._count else succeed(None)


def _trap(failure: Failure) -> None:
    failure.trap(StorageFailed)


def shield(inner: Deferred[T], drop: Callable[[T], object] | None = None) -> Deferred[T]:
    """``inner``'s result for a caller whose cancelling must not reach it.

    A result that comes after the caller has left goes to ``drop``.
    """
    outer: Deferred[T] = Deferred()

    def landed(result: T) -> None:
        if not outer.called:
            outer.callback(result)
        elif drop is not None:
            drop(result)

    def failed(failure: Failure) -> None:
        if not outer.called:
            outer.errback(failure)

    inner.addCallbacks(landed, failed)
    return outer
