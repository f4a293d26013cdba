"""One connection of a client: what HTTP asks for before there is a request.

A deadline for the whole request (Twisted's idle timer is reset by every byte), refusals before a
body is read, our own answer to what is no HTTP, a close that lets the other side read it, and one
answer at a time: the request behind one is not looked at before the client's side takes more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, ISSLTransport
from twisted.python.failure import Failure
from twisted.web.http import REQUEST_TIMEOUT, HTTPChannel, Request

from regproxy.errors import InvalidRequest, RegproxyError, WriteRefused
from regproxy.http1.heads import head_block, whole_answer
from regproxy.http1.sockets import unsent_bytes

READS = (b"GET", b"HEAD")
MAX_DRAINED_BYTES = 64 * 1024
"""The largest body of a read that is taken and ignored; a larger one ends the connection."""
LINGER_S = 2.0
"""How long the rest of a refused body is read and dropped, so that its sender sees the answer."""

_TLS_HANDSHAKE = b"\x16\x03"
_PLAIN_HTTP = "this port speaks plain HTTP, not TLS"
"""Told at once in plain HTTP: clients that try https first wait for this answer, then use http."""

_DONE = Failure(ConnectionDone())


@attrs.frozen(slots=True)
class Refusal:
    """The whole answer to a request that is not carried out. ``headers`` without the framing."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class StrictChannel(HTTPChannel):
    """One connection. Its site has ``header_s``, ``idle_s`` and ``reactor``."""

    read_only = "only GET and HEAD are served here"
    """What a write is told."""

    site: Any
    transport: Any
    requests: Any
    _buffer: bytes
    callLater: Any
    persistent: Any
    _networkProducer: Any
    _waitingForTransport: Any
    _deadline: IDelayedCall | None = None
    _answering = False
    _refused = False
    _abort_call: IDelayedCall | None = None
    _held: Callable[[], object] | None = None
    _watch: IDelayedCall | None = None
    has_left = False
    """The client is gone; Twisted tells producers before it tells requests."""

    # for those who make a listener of it

    def check_client(self) -> None:
        """Raise what keeps this client out, before anything of its request is looked at."""

    def refusal(self, error: RegproxyError) -> Refusal:
        """The answer to a request that ``error`` ends here."""
        raise NotImplementedError

    def note_refusal(
        self, method: bytes, path: bytes, status: int, sent_bytes: int, note: str | None = None
    ) -> None:
        """A request was refused here, and its answer has gone; ``note`` says what never was a request."""

    # what Twisted calls

    def dataReceived(self, data: bytes) -> None:
        """Bytes of a request: it must be whole, with a body, ``header_s`` after its first byte."""
        if self._refused:
            return
        if self._deadline is None and not self._answering:
            if data.startswith(_TLS_HANDSHAKE):
                self._write_refusal(InvalidRequest(_PLAIN_HTTP), note="tls")
                return
            self._deadline = self.callLater(self.site.header_s, self._header_late)
        HTTPChannel.dataReceived(self, data)
        self._expect_the_rest()

    def _expect_the_rest(self) -> None:
        """A request that came in part behind an answered one has no longer than any other."""
        begun = bool(self._buffer or self.requests)
        if begun and self._deadline is None and not (self._answering or self._refused or self.has_left):
            self._deadline = self.callLater(self.site.header_s, self._header_late)

    def lineReceived(self, line: bytes) -> None:
        """A line of a header; those behind a refused one are dropped."""
        if not self._refused:
            HTTPChannel.lineReceived(self, line)

    def rawDataReceived(self, data: bytes) -> None:
        """Bytes of a body, or of the next request; those of a refused one are dropped."""
        if not self._refused:
            HTTPChannel.rawDataReceived(self, data)

    def allHeadersReceived(self) -> None:
        """A client that is kept out, and a body that nobody wants, are refused before it is read."""
        try:
            self.check_client()
            self.check_request()
        except RegproxyError as error:
            self._write_refusal(error, self._command, self._path.partition(b"?")[0])
        else:
            HTTPChannel.allHeadersReceived(self)

    def check_request(self) -> None:
        """Raise what ends a request before its body is read; its headers are in ``requests[-1]``."""
        body = self.length is None or self.length > 0
        if body and self._command not in READS:
            raise WriteRefused(self.read_only)
        if body and (self.length is None or self.length > MAX_DRAINED_BYTES):
            raise InvalidRequest("a read has no body here")

    def allContentReceived(self) -> None:
        """The request is whole."""
        if self._refused:
            return
        self._answering = True
        self._end_deadline()
        HTTPChannel.allContentReceived(self)

    def requestDone(self, request: Request) -> None:
        """Its answer is written."""
        self._answering = False
        HTTPChannel.requestDone(self, request)
        self._expect_the_rest()

    def resumeProducing(self) -> None:
        """The client's side has taken what was written: now its answer may end."""
        HTTPChannel.resumeProducing(self)
        held = self._forget_held()
        if held is not None:
            held()

    def stopProducing(self) -> None:
        """The connection is lost; the requests learn it right after their producers."""
        self.has_left = True
        HTTPChannel.stopProducing(self)

    def lineLengthExceeded(self, line: bytes) -> None:
        """A request line or header of more than 16 KiB."""
        self._respondToBadRequestAndDisconnect()

    def loseConnection(self) -> None:
        """Close once all is sent, and abort a client that does not take it in time."""
        if self._abort_call is None:
            self._abort_call = self.callLater(self.site.idle_s, self.transport.abortConnection)
        HTTPChannel.loseConnection(self)

    def connectionLost(self, reason: Failure = _DONE) -> None:
        """Forget all timers; unfinished requests learn of it."""
        self.has_left = True
        self._forget_held()
        self._end_deadline()
        if self._abort_call is not None and self._abort_call.active():
            self._abort_call.cancel()
        HTTPChannel.connectionLost(self, reason)

    # one answer at a time

    def once_taken(self, then: Callable[[], object]) -> None:
        """Call ``then`` once the client's side takes more: now, or when what was written is gone.

        Never, when the client leaves first; one that takes nothing for ``idle_s`` is aborted.
        """
        if not self._waitingForTransport:
            then()
            return
        self._held = then
        self._look_after(unsent_bytes(self.transport))

    def _look_after(self, seen: int) -> None:
        self._watch = self.callLater(self.site.idle_s, self._look, seen)

    def _look(self, seen: int) -> None:
        unsent = unsent_bytes(self.transport)
        if unsent == seen:
            self.transport.abortConnection()
        else:
            self._look_after(unsent)

    def _forget_held(self) -> Callable[[], object] | None:
        if self._watch is not None and self._watch.active():
            self._watch.cancel()
        held, self._held, self._watch = self._held, None, None
        return held

    # refusals

    def _end_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def _header_late(self) -> None:
        self._deadline = None
        self._refused = True
        self.transport.abortConnection()
        self.note_refusal(b"-", b"-", REQUEST_TIMEOUT, 0, "late")

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Twisted's answer to what it cannot parse, with a body that says so."""
        if not self._refused:
            error = InvalidRequest("this is not an HTTP/1.1 request of bounded size")
            self._write_refusal(error, note="malformed")

    def _write_refusal(
        self, error: RegproxyError, method: bytes = b"-", path: bytes = b"-", note: str | None = None
    ) -> None:
        self._refused = True
        self._end_deadline()
        refusal = self.refusal(error)
        body = b"" if method == b"HEAD" else refusal.body
        block = head_block(refusal.status, (*refusal.headers, ("Content-Length", str(len(refusal.body)))))
        self.transport.write(whole_answer(block, body, close=True))
        self._linger()
        self.note_refusal(method, path, refusal.status, len(body), note)

    def _linger(self) -> None:
        """Close our side; drop what still comes for a while, since a reset would eat the answer."""
        half_close = getattr(self.transport, "loseWriteConnection", None)
        if half_close is None or ISSLTransport.providedBy(self.transport):
            self.loseConnection()
            return
        HTTPChannel.setTimeout(self, None)
        self._networkProducer.unregisterProducer()
        self._abort_call = self.callLater(LINGER_S, self.transport.abortConnection)
        half_close()
