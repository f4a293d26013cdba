"""A blob as it comes from an upstream: back-pressure, an idle watchdog, an abort that aborts.

Laws: at most HIGH_BYTES (and one read of the socket) are in memory. Whoever ends the stream early
closes its connection. What was received is handed out before the error that ended it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from zope.interface import implementer

from regproxy.errors import (
    ContentMismatch,
    RegproxyError,
    TransferStopped,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from regproxy.headers.ranges import Span
from regproxy.interfaces import How, IBody, IRangedBlob, IRemoteBody
from regproxy.upstream.client import Answer

HIGH_BYTES = 4 * 1024 * 1024
LOW_BYTES = 1024 * 1024
IDLE_S = 30.0


class BodyStream(Protocol):
    """The bytes of one answer, buffered between two marks; pull them with :meth:`take`."""

    def __init__(
        self,
        answer: Answer,
        clock: IReactorTime,
        idle_s: float,
        gone: Callable[[], None],
        skip: int = 0,
        spent: Callable[[int], float] = lambda size_bytes: 0.0,
    ) -> None:
        """``gone`` is called once, when the connection needs no more care; ``skip`` bytes are dropped;
        ``spent`` is told of bytes that came, and says for how many seconds to take no more."""
        self._spent = spent
        self._answer = answer
        self._clock = clock
        self._idle_s = idle_s
        self._gone = gone
        self._over = self._skip = skip
        """How many bytes are read over in all."""
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._full = False
        self._held: IDelayedCall | None = None
        self._flows = True
        self._ended = False
        self._error: RegproxyError | None = None
        self._waiting: Deferred[None] | None = None
        self.came = 0
        """How many bytes have come over the connection."""
        self._was_held = False
        self._last_byte = clock.seconds()
        self._watch: IDelayedCall | None = None
        self._arm(idle_s)

    def take(self, max_bytes: int) -> bytes | None:
        """As IBody.read."""
        if self._chunks:
            return self._pop(max_bytes)
        if self._error is not None:
            raise self._error
        return b"" if self._ended else None

    def _pop(self, max_bytes: int) -> bytes:
        chunk = self._chunks.popleft()
        if len(chunk) > max_bytes:
            self._chunks.appendleft(chunk[max_bytes:])
            chunk = chunk[:max_bytes]
        self._buffered -= len(chunk)
        if self._full and self._buffered < LOW_BYTES:
            self._full = False
            self._flow()
        return chunk

    def wait(self) -> Deferred[None]:
        """As IBody.ready."""
        if self._chunks or self._ended or self._error is not None:
            return succeed(None)
        self._waiting = Deferred(lambda _: None)
        return self._waiting

    @property
    def backlog(self) -> int:
        """Bytes that have come and that nobody took."""
        return self._buffered + (0 if self._ended else self._answer.unread_bytes())

    def held(self) -> bool:
        """As :meth:`IRemoteBody.held`."""
        was, self._was_held = self._was_held, False
        return was or not self._flows

    def elsewhere(self) -> bool:
        """As :meth:`IRemoteBody.elsewhere`."""
        return self._answer.elsewhere()

    def give_up(self, error: RegproxyError, slow: bool) -> None:
        """As :meth:`IRemoteBody.give_up`."""
        if self._ended:
            return
        if slow:
            self._answer.slow()
        self._finish(error)
        self._answer.abort()

    def stop(self, error: RegproxyError) -> None:
        """End it now, with ``error`` for whoever reads on; a connection in use is aborted."""
        self._chunks.clear()
        self._buffered = 0
        if self._ended:
            self._error = self._error or error
            return
        self._finish(error)
        self._answer.abort()

    def dataReceived(self, data: bytes) -> None:
        """Keep it; pause the connection when it is much, or faster than it may come."""
        if self._ended:
            return
        self._answer.received(len(data))
        self.came += len(data)
        self._last_byte = self._clock.seconds()
        hold_s = self._spent(len(data))
        if hold_s and self._held is None:
            self._held = self._clock.callLater(hold_s, self._go_on)
            self._flow()
        if self._skip:
            dropped = min(self._skip, len(data))
            self._skip -= dropped
            data = data[dropped:]
            if not data:
                return
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered > HIGH_BYTES:
            self._full = True
            self._flow()
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end of the body, or of the connection. A body without length ends with it (R42)."""
        if self._ended:
            return
        host = self._answer.origin.host
        if self._over and self.came == self._over:  # to read it over once more would bring as much
            found = f"{host} has no more than the first {self._over} bytes of a blob that it said is longer"
            self._finish(ContentMismatch(self._answer.upstream, found))
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self._finish(None)
            return
        self._answer.broke()
        self._finish(UpstreamUnreachable(self._answer.upstream, f"{host} cut the connection inside a blob"))

    def _finish(self, error: RegproxyError | None) -> None:
        self._ended = True
        self._error = error
        self._disarm()
        if self._held is not None:
            self._held.cancel()
            self._held = None
        self._gone()
        self._wake(error if isinstance(error, TransferStopped) else None)

    def _wake(self, error: RegproxyError | None = None) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None or waiting.called:
            return
        if error is None:
            waiting.callback(None)
        else:
            waiting.errback(Failure(error))

    def _go_on(self) -> None:
        self._held = None
        self._flow()

    def _flow(self) -> None:
        """Pause or resume the connection, as it should be now."""
        flows = not self._full and self._held is None
        if flows == self._flows or self._ended:
            return
        self._flows = flows
        self._was_held = True
        transport = cast(IPushProducer, self.transport)
        if flows:
            self._last_byte = self._clock.seconds()
            self._arm(self._idle_s)
            transport.resumeProducing()
        else:
            self._disarm()
            transport.pauseProducing()

    def _arm(self, seconds: float) -> None:
        self._watch = self._clock.callLater(seconds, self._look)

    def _disarm(self) -> None:
        if self._watch is not None and self._watch.active():
            self._watch.cancel()
        self._watch = None

    def _look(self) -> None:
        """The one delayed call: idle long enough, or look again when that would be."""
        left = self._last_byte + self._idle_s - self._clock.seconds()
        if left > 0:
            self._arm(left)
            return
        host = self._answer.origin.host
        self._answer.broke()
        reason = f"{host} sent nothing for {self._idle_s:g} s inside a blob"
        self._finish(UpstreamTimeout(self._answer.upstream, reason))
        self._answer.abort()


@implementer(IRemoteBody)
class RemoteBody:
    """The next ``length`` bytes of a stream, None: all of it."""

    def __init__(self, stream: BodyStream, length: int | None) -> None:
        self._stream = stream
        self._left = length

    def read(self, max_bytes: int) -> bytes | None:
        """Bytes of the span that are at hand."""
        if self._left is None:
            return self._stream.take(max_bytes)
        if self._left == 0:
            self._stream.stop(TransferStopped("the body was read up to where it was asked for"))
            return b""
        data = self._stream.take(min(max_bytes, self._left))
        self._left -= len(data or b"")
        return data

    @property
    def came(self) -> int:
        """As :attr:`IRemoteBody.came`."""
        return self._stream.came

    def held(self) -> bool:
        """As :meth:`IRemoteBody.held`."""
        return self._stream.held()

    def elsewhere(self) -> bool:
        """As :meth:`IRemoteBody.elsewhere`."""
        return self._stream.elsewhere()

    def give_up(self, error: UpstreamError, slow: bool) -> None:
        """As :meth:`IRemoteBody.give_up`."""
        self._stream.give_up(error, slow)

    def ready(self) -> Deferred[None]:
        """Fires when read() has something to say."""
        return succeed(None) if self._left == 0 else self._stream.wait()

    def close(self) -> None:
        """Close the connection unless all of it was received."""
        self._left = None
        self._stream.stop(TransferStopped("the body was closed by its reader"))


@implementer(IRangedBlob)
class RemoteBlob:
    """A blob whose GET has been answered with 200; the connection is paused until body()."""

    how = How.MISS

    def __init__(
        self,
        answer: Answer,
        clock: IReactorTime,
        idle_s: float,
        register: Callable[[Callable[[], None]], Callable[[], None]],
        piece: Callable[[int, int], Deferred[IBody]] | None = None,
        spent: Callable[[int], float] = lambda size_bytes: 0.0,
        span: Span | None = None,
        validator: str | None = None,
    ) -> None:
        """``register`` notes how to stop this blob, and returns how to take that note back; ``spent``
        is for :class:`BodyStream`; ``span``: what of the blob comes, to its end, where it is not all."""
        self._spent = spent
        self.piece = piece
        self.validator = validator
        self.start = 0 if span is None else span.start
        self.size = answer.length if span is None else span.stop
        self.endpoint = answer.endpoint
        self._answer = answer
        self._clock = clock
        self._idle_s = idle_s
        self._stream: BodyStream | None = None
        self._owned = False
        self._forget = register(self._abandon)

    def body(self, start: int = 0, stop: int | None = None) -> RemoteBody:
        """Let the bytes flow."""
        if self._owned:
            raise RuntimeError("body() is called at most once, on an open blob")
        self._owned = True
        self._stream = BodyStream(
            self._answer, self._clock, self._idle_s, self._forget, skip=start, spent=self._spent
        )
        self._answer.deliver(self._stream)
        return RemoteBody(self._stream, None if stop is None else stop - start)

    def backlog(self) -> int:
        """As :meth:`IRangedBlob.backlog`."""
        return 0 if self._stream is None else self._stream.backlog

    def close(self) -> None:
        """Close the connection, unless a body owns it."""
        if not self._owned:
            self._owned = True
            self._forget()
            self._answer.abort()

    def _abandon(self) -> None:
        if self._stream is None:
            self.close()
        else:
            self._stream.stop(TransferStopped("the daemon ends"))
