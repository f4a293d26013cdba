"""One deadline for a whole call: token, redirects, retries and the first byte together."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
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

    Cancelling the Deferred cancels the work, and is a CancelledError whatever the work makes of it:
    a name that was being looked up says then that it cannot be resolved.
    """
    running = Deferred.fromCoroutine(work)
    expired: list[bool] = []
    left: list[bool] = []

    def expire() -> None:
        expired.append(True)
        running.cancel()

    def leave(_: Deferred[T]) -> None:
        left.append(True)
        running.cancel()

    timer = clock.callLater(seconds, expire)
    outer: Deferred[T] = Deferred(leave)

    def settle(result: T | Failure) -> None:
        if timer.active():
            timer.cancel()
        if isinstance(result, Failure) and (left or expired):
            result = Failure(CancelledError() if left else late())
        if not outer.called:
            outer.callback(result)  # a Failure is an errback

    running.addBoth(settle)
    return outer
