"""Sends a body to a client, at the client's pace, exactly.

Laws: the sender owns the body and closes it, however it ends. It reads only when the client's
side takes more, and gives the reactor back after 1 MiB. It raises what ends it early; whoever
called it aborts the connection then, since the status line is gone (R37). Whether the client takes
anything at all is for the connection to watch. A client that leaves cancels the sender's Deferred or
stops its producer: the body is closed, nothing else happens. A file goes to a transport that takes
files by :mod:`regproxy.web.sendfile`, under the same laws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from regproxy.errors import ContentMismatch
from regproxy.interfaces import IBody, IFileBody
from regproxy.web.sendfile import FileJob, SendfileServer, takes_files

SLICE_BYTES = 256 * 1024
TURN_BYTES = 1024 * 1024
"""What one wake-up may send before the reactor is given back."""


class Outlet(Protocol):
    """The part of a request that a sender uses."""

    def write(self, data: bytes) -> object:
        """Queue ``data``."""

    def registerProducer(self, producer: object, streaming: bool) -> object:
        """Tell ``producer`` when to pause."""

    def unregisterProducer(self) -> object:
        """Forget the producer."""

    def is_gone(self) -> bool:
        """Whether the connection is lost."""

    def way_out(self) -> object:
        """What the bytes go out by; None when the connection is lost."""

    def note_sent(self, sent_bytes: int) -> None:
        """Count body bytes that went out past :meth:`write`."""


@implementer(IPushProducer)
class Pace:
    """The client's pace: a gate that is shut while its side takes nothing."""

    def __init__(self, clock: IReactorTime, left: Callable[[], None]) -> None:
        self._clock = clock
        self._left = left
        self._paused = False
        self._waiting: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._budget = TURN_BYTES
        self.stopped = False

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The transport's buffer is empty again."""
        self._paused = False
        self._open()

    def stopProducing(self) -> None:
        """The connection is lost."""
        self.stopped = True
        self._left()
        self._open()

    async def turn(self, sent_bytes: int) -> None:
        """After ``sent_bytes`` more were written: wait until the next ones may be."""
        self._budget -= sent_bytes
        while self._paused and not self.stopped:
            await self._wait()
        if self._budget <= 0 and not self.stopped:
            waiting = self._wait()
            self._timer = self._clock.callLater(0, self._open)
            await waiting

    def close(self) -> None:
        """Forget the timer."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _wait(self) -> Deferred[None]:
        self._budget = TURN_BYTES
        self._waiting = Deferred()
        return self._waiting

    def _open(self) -> None:
        self.close()
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)


async def next_bytes(body: IBody, max_bytes: int = SLICE_BYTES) -> bytes:
    """The next bytes of ``body``, waiting for them; ``b""`` at its end; raises what ended it."""
    while (chunk := body.read(max_bytes)) is None:
        await body.ready()
    return chunk


async def send_body(
    outlet: Outlet,
    body: IBody,
    first: bytes,
    length: int | None,
    clock: IReactorTime,
    upstream: str,
) -> None:
    """Send ``first``, which was read from ``body`` already, and the rest; close ``body``.

    ``length`` is what the headers promised, None where they did not. Raises :exc:`ContentMismatch`
    when the body has another one, and what the body raises.
    """
    if length is not None and takes_files(outlet.way_out(), body):
        await _send_file(outlet, cast(IFileBody, body), first, length, upstream)
        return
    pace = Pace(clock, body.close)
    outlet.registerProducer(pace, True)
    try:
        await _copy(outlet, body, first, length, pace, upstream)
    finally:
        pace.close()
        if not outlet.is_gone():
            outlet.unregisterProducer()
        body.close()


async def _send_file(
    outlet: Outlet,
    body: IFileBody,
    first: bytes,
    length: int,
    upstream: str,
) -> None:
    try:
        outlet.write(first)
        if len(first) == length:
            return
        transport = cast(SendfileServer, outlet.way_out())
        job = FileJob(transport, body, length - len(first), upstream)
        outlet.registerProducer(job, True)
        try:
            transport.send_file(job)
            await job.done
        finally:
            outlet.note_sent(job.sent_bytes)
            if not outlet.is_gone():
                outlet.unregisterProducer()
    finally:
        body.close()


async def _copy(
    outlet: Outlet, body: IBody, first: bytes, length: int | None, pace: Pace, upstream: str
) -> None:
    sent, chunk = 0, first
    while chunk and not pace.stopped:
        sent += len(chunk)
        if length is not None and sent > length:
            raise ContentMismatch(upstream, "the body is longer than was promised to the client")
        outlet.write(chunk)
        await pace.turn(len(chunk))
        if not pace.stopped:
            chunk = await next_bytes(body)
    if length is not None and sent != length and not pace.stopped:
        raise ContentMismatch(upstream, "the body ended before the length promised to the client")
