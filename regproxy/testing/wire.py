"""An HTTP/1.1 server end that sends what it is told, right or wrong.

``twisted.web`` repairs what a bad server does (lengths, framing, order), so this speaks for itself:
a :class:`Reply` says each header, the framing, where to pause, and where to cut the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from regproxy.singleflight import Waiters
from regproxy.testing.reply import Framing, Gate, HeardRequest, Reply, head_of, parse_head

MAX_HEAD_BYTES = 64 * 1024
MAX_REQUEST_BODY_BYTES = 1024 * 1024
_PIECE = 64 * 1024

Progress = Callable[[int, int, bool], None]
"""Told the status, the body bytes sent so far, and whether that was all."""

Answer = Callable[[HeardRequest], tuple[Reply, Progress]]


@implementer(IPushProducer)
class Sending:
    """One reply on its way out: head, pauses, pieces, end."""

    def __init__(
        self, reply: Reply, bodyless: bool, channel: Channel, clock: IReactorTime, progress: Progress
    ) -> None:
        self._reply = reply
        self._body = b"" if bodyless else reply.body
        self._bodyless = bodyless
        self._channel = channel
        self._clock = clock
        self._progress = progress
        self._pauses = sorted(reply.pauses, key=lambda pause: -1 if pause.at is None else pause.at)
        self._sent = 0
        self._paused = False
        self._ended = False
        self._waiting: Deferred[None] | None = None
        self._drip_call: IDelayedCall | None = None

    def start(self) -> None:
        """Begin, as far as pauses before the head allow."""
        if self._pauses and self._pauses[0].at is None:
            self._wait(self._pauses.pop(0).gate, self.start)
            return
        if self._reply.cut_after == -1:
            self._cut()
            return
        self._channel.write(head_of(self._reply, self._channel.closes_after))
        self._progress(self._reply.status, 0, False)
        self._channel.register(self)
        self._pump()

    def _wait(self, gate: Gate, then: Callable[[], None]) -> None:
        def passed(_: None) -> None:
            self._waiting = None
            then()

        self._waiting = entered = gate.enter()
        entered.addCallback(passed)
        entered.addErrback(_trap_cancel)

    def _pump(self) -> None:
        while not (self._paused or self._ended or self._waiting or self._drip_call):
            self._step()

    def _step(self) -> None:
        if self._pauses and (self._pauses[0].at or 0) <= self._sent and not self._bodyless:
            self._wait(self._pauses.pop(0).gate, self._pump)
        elif self._reply.cut_after is not None and self._sent >= self._reply.cut_after and not self._bodyless:
            self._cut()
        elif self._sent >= len(self._body):
            self._finish()
        else:
            self._send_piece(self._next_stop())

    def _next_stop(self) -> int:
        stops = [len(self._body), self._sent + _PIECE]
        stops += [pause.at for pause in self._pauses if pause.at is not None]
        if self._reply.cut_after is not None:
            stops.append(self._reply.cut_after)
        if self._reply.drip is not None:
            stops.append(self._sent + self._reply.drip[0])
        return max(min(stops), self._sent + 1)

    def _send_piece(self, stop: int) -> None:
        piece = self._body[self._sent : stop]
        self._sent = stop
        if self._reply.framing is Framing.CHUNKED:
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)
        if self._reply.drip is not None:
            self._drip_call = self._clock.callLater(self._reply.drip[1], self._drip_on)
        self._progress(self._reply.status, self._sent, False)
        self._channel.write(piece)

    def _drip_on(self) -> None:
        self._drip_call = None
        self._pump()

    def _finish(self) -> None:
        self._ended = True
        if self._reply.framing is Framing.CHUNKED and not self._bodyless:
            self._channel.write(b"0\r\n\r\n")
        self._progress(self._reply.status, self._sent, True)
        self._channel.sent(close=self._reply.close or self._reply.framing is Framing.CLOSE)

    def _cut(self) -> None:
        self._ended = True
        self._progress(0 if self._reply.cut_after == -1 else self._reply.status, self._sent, False)
        if self._reply.cut_after == -1:
            self._channel.abort()
        else:
            self._channel.sent(close=True)

    def pauseProducing(self) -> None:
        """The client reads slower than we send."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The client has read what there was."""
        self._paused = False
        self._pump()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._ended = True
        if self._waiting is not None:
            self._waiting.cancel()
        if self._drip_call is not None:
            self._drip_call.cancel()
            self._drip_call = None


def _trap_cancel(failure: Failure) -> None:
    failure.trap(CancelledError)


class Channel(Protocol):
    """One connection: requests one after the other, answered in order."""

    closes_after = False

    def __init__(self, site: ChannelFactory) -> None:
        self._site = site
        self._received = b""
        self._sending: Sending | None = None
        self._registered = False
        self._closing = False

    def connectionMade(self) -> None:
        """Be known to the server, which cuts all at its stop."""
        self._site.channels.add(self)

    def dataReceived(self, data: bytes) -> None:
        """Collect until there is a whole request."""
        if self._closing:
            return
        self._received += data
        if not self._received[:1].isalpha():
            self._refuse_foreign()
        elif len(self._received) > MAX_HEAD_BYTES + MAX_REQUEST_BODY_BYTES:
            self.abort()
        elif self._sending is None:
            self._take_request()

    def _refuse_foreign(self) -> None:
        """No HTTP, most often TLS: at once, since clients fall back to plain HTTP on such an answer."""
        self._received = b""
        if self._sending is None:
            self.write(b"HTTP/1.0 400 Bad Request\r\n\r\nthis port speaks plain HTTP\n")
            self._close()

    def _close(self) -> None:
        self._closing = True
        if self.transport is not None:
            self.transport.loseConnection()

    def _take_request(self) -> None:
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        request = parse_head(head, _peer(self.transport.getPeer() if self.transport else None))
        if request is None:
            self.abort()
            return
        declared = request.header("Content-Length") or "0"
        wanted = int(declared) if declared.isdecimal() else 0
        refused = wanted > MAX_REQUEST_BODY_BYTES or request.header("Transfer-Encoding") is not None
        if not refused and len(rest) < wanted:
            return
        self._received = b"" if refused else rest[wanted:]
        self.closes_after = refused or (request.header("Connection") or "").lower() == "close"
        self._answer(attrs.evolve(request, body=rest[:wanted]))

    def _answer(self, request: HeardRequest) -> None:
        reply, progress = self._site.answer(request)
        bodyless = request.method == "HEAD" or reply.status in (204, 304)
        self._sending = Sending(reply, bodyless, self, self._site.clock, progress)
        self._sending.start()

    def write(self, data: bytes) -> None:
        """Send ``data``."""
        if self.transport is not None:
            self.transport.write(data)

    def register(self, sending: Sending) -> None:
        """Let the transport tell ``sending`` when to pause."""
        self._registered = True
        cast(IConsumer, self.transport).registerProducer(sending, True)

    def sent(self, close: bool) -> None:
        """The answer is out (or ends here, when ``close``)."""
        self._sending = None
        self._unregister()
        if close or self.closes_after:
            self._close()
        else:
            self._take_request()

    def _unregister(self) -> None:
        if self._registered:
            self._registered = False
            cast(IConsumer, self.transport).unregisterProducer()

    def abort(self) -> None:
        """Cut the connection: a reset, nothing more is sent."""
        if self.transport is not None:
            cast(ITCPTransport, self.transport).abortConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Stop what was being sent."""
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.stopProducing()
        self._site.lost(self)


class ChannelFactory(ServerFactory):
    """Connections of one port; ``answer`` decides each reply."""

    noisy = False

    def __init__(self, answer: Answer, clock: IReactorTime) -> None:
        self.answer = answer
        self.clock = clock
        self.channels: set[Channel] = set()
        self._empty: Waiters[None] = Waiters()

    def buildProtocol(self, addr: IAddress | None) -> Channel:
        """A channel for a new connection."""
        return Channel(self)

    def abort_all(self) -> Deferred[None]:
        """Cut every connection; fires when all are gone."""
        gone = self._empty.add()
        for channel in list(self.channels):
            channel.abort()
        if not self.channels:
            self._empty.fire(None)
        return gone

    def lost(self, channel: Channel) -> None:
        """A connection is gone."""
        self.channels.discard(channel)
        if not self.channels:
            self._empty.fire(None)


def _peer(address: IAddress | None) -> str:
    return f"{getattr(address, 'host', '')}:{getattr(address, 'port', '')}"
