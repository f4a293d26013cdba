"""Threads that are none: jobs are done where they are asked for, so that a simulated clock rules all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from zope.interface import implementer

from regproxy.errors import StorageFailed
from regproxy.storage.refusals import storage_failed

P = ParamSpec("P")
T = TypeVar("T")


class AtOnce:
    """In the place of a ``DiskThread``: every job is over when :meth:`run` returns."""

    def __init__(
        self, reactor: object = None, name: str = "", refused: Callable[[OSError], bool] = lambda error: False
    ) -> None:
        self._refused = refused
        self._stopped = False

    def run(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """The job's result, or its failure; OSError becomes StorageFailed."""
        if self._stopped:
            return fail(StorageFailed("the store is closed"))
        try:
            return succeed(job(*args, **kwargs))
        except OSError as error:
            failed = storage_failed(error)
            failed.told = self._refused(error)
            return fail(failed)
        except BaseException:  # noqa: BLE001  it belongs to whoever waits
            return fail()

    def stop(self) -> Deferred[None]:
        """Later jobs fail with StorageFailed; idempotent."""
        self._stopped = True
        return succeed(None)


@implementer(IReactorFromThreads)
class OneThread(Clock):
    """A clock that is also the reactor of threads that are none."""

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """Call it."""
        callable(*args, **kwargs)

    def run_for(self, seconds: float) -> None:
        """Time goes by: every call comes at its own moment."""
        until = self.seconds() + seconds
        while self.calls and self.calls[0].getTime() <= until:
            self.advance(max(0.0, self.calls[0].getTime() - self.seconds()))
        self.advance(max(0.0, until - self.seconds()))
