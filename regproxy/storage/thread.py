"""A thread of the disk's own, and what is being made there for callers that may leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from regproxy.errors import StorageFailed
from regproxy.singleflight import Waiters
from regproxy.storage.refusals import storage_failed
from regproxy.worker import Worker

P = ParamSpec("P")
T = TypeVar("T")


def _nobody_hears(error: OSError) -> bool:
    """Nobody wants to know."""
    return False


class DiskThread(Worker):
    """The worker of one disk.

    ``refused`` is told of each OSError, in the reactor's thread, before whoever waits for the job;
    it says whether the log has it now.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        name: str,
        refused: Callable[[OSError], bool] = _nobody_hears,
    ) -> None:
        super().__init__(reactor, name)
        self._refused = refused

    def run(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """As :meth:`Worker.run`; OSError becomes StorageFailed, as does a call after :meth:`stop`."""
        if self.stopping:
            return fail(StorageFailed("the store is closed"))
        return super().run(job, *args, **kwargs).addErrback(self._failed)

    def _failed(self, failure: Failure) -> Failure:
        if not isinstance(failure.value, OSError):
            return failure
        failed = storage_failed(failure.value)
        failed.told = self._refused(failure.value)
        return Failure(failed)


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
