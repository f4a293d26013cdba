"""What is long for the reactor is judged in a thread (invariant 8)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from twisted.internet.threads import deferToThreadPool

T = TypeVar("T")

LARGE_BYTES = 128 * 1024
"""Up to here bytes are judged at once: the worst of them take 7 ms."""


class InThread(Protocol):
    """Runs ``work``, which touches nothing that others change, outside of the reactor's thread."""

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]:
        """The result, or what ``work`` raised."""


def threads_of(reactor: Any) -> InThread:
    """The reactor's own thread pool."""

    def run(work: Callable[[], T]) -> Awaitable[T]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work)

    return run


async def by_size(in_thread: InThread, size_bytes: int, work: Callable[[], T]) -> T:
    """The result of ``work`` over so many bytes: at once when they are few."""
    return await in_thread(work) if size_bytes > LARGE_BYTES else work()
