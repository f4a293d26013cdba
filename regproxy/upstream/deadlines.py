"""One deadline for a whole call: token, redirects, retries and the first byte together."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

T = TypeVar("T")


def within(
    clock: IReactorTime,
    seconds: float,
    work: Coroutine[Deferred[Any], Any, T],
    late: Callable[[], Exception],
) -> Deferred[T]:
    """Run ``work``; when it takes longer it is cancelled and ``late()`` is its error.

    Cancelling the Deferred cancels the work.
    """
    running = Deferred.fromCoroutine(work)
    expired: list[bool] = []

    def expire() -> None:
        expired.append(True)
        running.cancel()

    timer = clock.callLater(seconds, expire)

    def settle(result: T | Failure) -> T | Failure:
        if timer.active():
            timer.cancel()
        return Failure(late()) if expired and isinstance(result, Failure) else result

    settled: Deferred[T] = running.addBoth(settle)
    return settled
