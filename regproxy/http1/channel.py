"""One connection of a client: what HTTP asks for before there is a request.

A time for all of a request, refusals before a body is read, our own answer to what is no HTTP, a close
that lets the other side read it, and one answer at a time: the request behind one is not looked at
before the client's side takes more.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.interfaces import ISSLTransport
from twisted.python.failure import Failure
from twisted.web.http import BAD_REQUEST, REQUEST_TIMEOUT, HTTPChannel, Request

from regproxy.errors import (
    HeadersTooLarge,
    InvalidRequest,
    RegproxyError,
    RequestLineTooLong,
    WriteRefused,
)
from regproxy.http1 import malformed
from regproxy.http1.connections import Verdict
from regproxy.http1.handshake import handshake_fault
from regproxy.http1.heads import head_block, whole_answer
from regproxy.http1.timed import DONE, LINGER_S, Ending, TimedChannel

READS = (b"GET", b"HEAD")
MAX_DRAINED_BYTES = 64 * 1024
"""The largest body of a read that is taken and ignored; a larger one ends the connection."""

_TLS_HANDSHAKE = b"\x16\x03"
_PLAIN_HTTP = "this port speaks plain HTTP, not TLS"
"""Told at once in plain HTTP: clients that try https first wait for this answer, then use http."""


@attrs.frozen(slots=True)
class Refusal:
    """The whole answer to a request that is not carried out. ``headers`` without the framing."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class StrictChannel(TimedChannel):
    """One connection. Its site is a :class:`~regproxy.http1.site.StrictSite`."""

    read_only = "only GET and HEAD are served here"
    """What a write is told."""

    requests: Any
    _buffer: bytes
    persistent: Any
    _networkProducer: Any
    _lines = 0
    _line = b""
    _known = False
    _begun = False
    _answering = False
    _refused = False
    _heard = False

    # for those who make a listener of it

    def check_client(self) -> None:
        """Raise what keeps this client out, before anything of its request is looked at."""

    def refusal(self, error: RegproxyError) -> Refusal:
        """The answer to a request that ``error`` ends here."""
        raise NotImplementedError

    def note_refusal(self, method: bytes, path: bytes, status: int, sent_bytes: int, why: Ending) -> None:
        """A request was refused here, and its answer has gone; ``why.note`` is for what never was one."""

    # what Twisted calls

    def connectionMade(self) -> None:
        """Ask it for its request; one without a place is told so by :meth:`dataReceived`."""
        limits = self.site.limits
        self.MAX_LENGTH = self.totalHeadersSize = limits.header_bytes
        TimedChannel.connectionMade(self)
        if self._verdict is Verdict.ADMITTED:
            self._expect(limits.header_s, self._silent)
        elif self.site.connections.may_tell:
            self._expect(LINGER_S, self.transport.abortConnection)
        else:
            self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Bytes of a request: it must be whole, with a body, ``header_s`` after its first byte."""
        self._heard = True
        if self._refused:
            return
        if not self._known:
            self._known = True
            if self._is_moved_out() and not self.site.connections.may_tell:
                self._refused = True
                self.transport.abortConnection()
                return
        if self._verdict is not Verdict.ADMITTED:
            # not sooner: an answer to what was not sent yet is an error to some clients
            method = b"HEAD" if data.startswith(b"HEAD ") else b"-"
            note = "stranger" if self._verdict is Verdict.STRANGER else "crowded"
            self._write_refusal(self.site.connections.no_room(self._verdict), method, note=note)
            return
        if not (self._begun or self._answering) and data.startswith(_TLS_HANDSHAKE):
            self._write_refusal(InvalidRequest(_PLAIN_HTTP), note="tls")
            return
        HTTPChannel.dataReceived(self, data)
        self._expect_the_rest()

    def _expect_the_rest(self) -> None:
        """A request that has come in part, behind an answered one too, must become whole."""
        begun = bool(self._buffer or self.requests)
        if begun and not (self._begun or self._answering or self._refused or self.has_left):
            self._begun = True
            self._expect(self.site.limits.header_s, self._header_late)

    def lineReceived(self, line: bytes) -> None:
        """A line of a header; those behind a refused one are dropped."""
        if self._refused:
            return
        if self._lines:
            self._lines += 1
            if malformed.is_folded(line):
                self._refuse_malformed(InvalidRequest("a header stands on one line"))
                return
        elif len(line) > self.site.limits.request_line_bytes:
            self._refuse_malformed(self._too_long())
            return
        elif line:
            self._lines = 1
        self._line = line
        HTTPChannel.lineReceived(self, line)

    def headerReceived(self, line: bytes) -> bool:
        """One header; False when it was refused."""
        self._line = line
        try:
            return bool(HTTPChannel.headerReceived(self, line))
        except ValueError:  # a length of thousands of digits
            self._respondToBadRequestAndDisconnect()
            return False

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
        unbounded = self.length is None or self.requests[-1].requestHeaders.hasHeader(b"Transfer-Encoding")
        if (unbounded or self.length) and self._command not in READS:
            raise WriteRefused(self.read_only)
        if unbounded:
            raise InvalidRequest("a read has no body here, and none without a Content-Length")
        if self.length and self.length > MAX_DRAINED_BYTES:
            raise InvalidRequest("a read has no body here")

    def allContentReceived(self) -> None:
        """The request is whole."""
        if self._refused:
            return
        self._answering, self._begun, self._lines = True, False, 0
        TimedChannel.allContentReceived(self)

    def requestDone(self, request: Request) -> None:
        """Its answer is written."""
        self._answering = False
        TimedChannel.requestDone(self, request)
        self._expect_the_rest()

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line longer than a whole head may be."""
        self._refuse_malformed(self._too_long())

    def connectionLost(self, reason: Failure = DONE) -> None:
        """The connection is closed; a handshake that failed is noted, since nothing else tells of it."""
        fault = None if self._heard or self._refused else handshake_fault(reason.value)
        if fault is not None:
            self.note_refusal(b"-", b"-", BAD_REQUEST, 0, Ending("tls", fault))
        TimedChannel.connectionLost(self, reason)

    # refusals

    def _silent(self) -> None:
        self._give_up(Ending("silent", "the client sent nothing"))

    def _header_late(self) -> None:
        self._give_up(Ending("late", "the request did not become whole"))

    def _give_up(self, why: Ending) -> None:
        self._refused = True
        self.transport.abortConnection()
        cause = f"{why.cause} in {self.site.limits.header_s:g} seconds"
        self.note_refusal(b"-", b"-", REQUEST_TIMEOUT, 0, attrs.evolve(why, cause=cause))

    def _too_long(self) -> InvalidRequest:
        limits = self.site.limits
        if self._lines:
            return HeadersTooLarge(f"the head of a request has at most {limits.header_bytes} bytes")
        return RequestLineTooLong(f"the request line has at most {limits.request_line_bytes} bytes")

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Twisted's answer to what it cannot parse, with a body that says so."""
        if self._receivedHeaderSize > self.totalHeadersSize:
            self._refuse_malformed(self._too_long())
        elif self._receivedHeaderCount > self.maxHeaders:
            self._refuse_malformed(HeadersTooLarge(f"a request has at most {self.maxHeaders} headers"))
        elif self._lines <= 1:
            self._refuse_malformed(InvalidRequest(malformed.fault_in_request_line(self._line)))
        else:
            self._refuse_malformed(InvalidRequest(malformed.fault_in_header(self._line)))

    def _refuse_malformed(self, error: InvalidRequest) -> None:
        if not self._refused:
            self._write_refusal(error, note="malformed")

    def _write_refusal(
        self, error: RegproxyError, method: bytes = b"-", path: bytes = b"-", note: str | None = None
    ) -> None:
        self._refused = True
        refusal = self.refusal(error)
        body = b"" if method == b"HEAD" else refusal.body
        block = head_block(refusal.status, (*refusal.headers, ("Content-Length", str(len(refusal.body)))))
        self.transport.write(whole_answer(block, body, close=True))
        self._linger()
        self.note_refusal(method, path, refusal.status, len(body), Ending(note, error.message))

    def _linger(self) -> None:
        """Close our side; drop what still comes for a while, since a reset would eat the answer."""
        half_close = getattr(self.transport, "loseWriteConnection", None)
        if half_close is None or ISSLTransport.providedBy(self.transport):
            self.loseConnection()
        else:
            self._networkProducer.unregisterProducer()
            half_close()
        self._expect(LINGER_S, self.transport.abortConnection)
