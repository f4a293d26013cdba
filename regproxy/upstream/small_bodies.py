"""Small bodies, read whole: capped while they come, and given up by abort, never left unread."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

MAX_DISCARDED_BYTES = 64 * 1024
"""Up to here the rest of an unwanted body is read, to keep its connection; beyond it is aborted."""


class BodyTooLarge(Exception):
    """More came than the reader takes."""


class BodyCut(Exception):
    """The connection ended before the body did."""


class SmallBody(Protocol):
    """Collects at most ``limit`` bytes, then aborts."""

    def __init__(
        self,
        limit: int,
        abort: Callable[[], None],
        received: Callable[[int], None] = lambda size_bytes: None,
    ) -> None:
        self._limit = limit
        self._abort = abort
        self._received = received
        self._chunks: list[bytes] = []
        self._size = 0
        self.done: Deferred[bytes] = Deferred(lambda _: self._give_up())

    def dataReceived(self, data: bytes) -> None:
        """Keep it, unless it is too much."""
        self._received(len(data))
        self._size += len(data)
        if self._size <= self._limit:
            self._chunks.append(data)
        elif not self.done.called:
            self._give_up()
            self.done.errback(Failure(BodyTooLarge()))

    def _give_up(self) -> None:
        self._chunks.clear()
        self._limit = -1
        self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end, whole or not."""
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(b"".join(self._chunks))
        else:
            self.done.errback(Failure(BodyCut()))
