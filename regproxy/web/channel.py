"""One connection of a client: what HTTP asks for before there is a request.

Header deadline (Twisted's idle timer is reset by every byte), refusals before a body is read,
OCI JSON for what is no HTTP, and a close that lets the other side read our answer.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, ISSLTransport
from twisted.python.failure import Failure
from twisted.web import http

from regproxy.access.networks import peer_host
from regproxy.errors import InvalidRequest, RegproxyError, WriteRefused
from regproxy.web.access_log import AccessRecord, quote_path
from regproxy.web.errors import Problem, problem_for
from regproxy.web.request import READ_ONLY, READS

MAX_DRAINED_BYTES = 64 * 1024
"""The largest body of a read that is taken and ignored; a larger one ends the connection."""
LINGER_S = 2.0
"""How long the rest of a refused body is read and dropped, so that its sender sees the answer."""

_TLS_HANDSHAKE = b"\x16\x03"
_PLAIN_HTTP = "this port speaks plain HTTP, not TLS"
"""Told at once in plain HTTP: clients that try https first wait for this answer, then use http."""

_DONE = Failure(ConnectionDone())


class RegistryChannel(http.HTTPChannel):
    """One connection: header deadline, refusals before a body is read, JSON for broken requests."""

    site: Any
    transport: Any
    callLater: Any
    _networkProducer: Any
    _deadline: IDelayedCall | None = None
    _answering = False
    _refused = False
    _abort_call: IDelayedCall | None = None

    def dataReceived(self, data: bytes) -> None:
        """Bytes of a request: its header must be whole ``header_s`` after its first byte."""
        if self._refused:
            return
        if self._deadline is None and not self._answering:
            if data.startswith(_TLS_HANDSHAKE):
                self._write_problem(problem_for(InvalidRequest(_PLAIN_HTTP)), b"-", b"-")
                return
            self._deadline = self.callLater(self.site.header_s, self._header_late)
        http.HTTPChannel.dataReceived(self, data)

    def lineReceived(self, line: bytes) -> None:
        """A line of a header; those behind a refused one are dropped."""
        if not self._refused:
            http.HTTPChannel.lineReceived(self, line)

    def rawDataReceived(self, data: bytes) -> None:
        """Bytes of a body, or of the next request; those of a refused one are dropped."""
        if not self._refused:
            http.HTTPChannel.rawDataReceived(self, data)

    def allHeadersReceived(self) -> None:
        """A body that nobody wants is refused here, before it is read."""
        self._end_deadline()
        body = self.length is None or self.length > 0
        reads = self._command in READS
        if body and not reads:
            self._refuse(WriteRefused(READ_ONLY))
        elif body and (self.length is None or self.length > MAX_DRAINED_BYTES):
            self._refuse(InvalidRequest("a read has no body here"))
        else:
            http.HTTPChannel.allHeadersReceived(self)

    def allContentReceived(self) -> None:
        """The request is whole."""
        self._answering = True
        self._end_deadline()
        http.HTTPChannel.allContentReceived(self)

    def requestDone(self, request: http.Request) -> None:
        """Its answer is written."""
        self._answering = False
        http.HTTPChannel.requestDone(self, request)

    def lineLengthExceeded(self, line: bytes) -> None:
        """A request line or header of more than 16 KiB."""
        self._respondToBadRequestAndDisconnect()

    def loseConnection(self) -> None:
        """Close once all is sent, and abort a client that does not take it in time."""
        if self._abort_call is None:
            self._abort_call = self.callLater(self.site.idle_s, self.transport.abortConnection)
        http.HTTPChannel.loseConnection(self)

    def connectionLost(self, reason: Failure = _DONE) -> None:
        """Forget all timers; unfinished requests learn of it."""
        self._end_deadline()
        if self._abort_call is not None and self._abort_call.active():
            self._abort_call.cancel()
        http.HTTPChannel.connectionLost(self, reason)

    def _end_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def _header_late(self) -> None:
        self._deadline = None
        self.transport.abortConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Twisted's answer to what it cannot parse, with a body that says so."""
        if not self._refused:
            self._end_deadline()
            error = InvalidRequest("this is not an HTTP/1.1 request of bounded size")
            self._write_problem(problem_for(error), b"-", b"-")

    def _refuse(self, error: RegproxyError) -> None:
        self._write_problem(problem_for(error), self._command, self._path.partition(b"?")[0])

    def _write_problem(self, problem: Problem, method: bytes, path: bytes) -> None:
        self._refused = True
        body = b"" if method == b"HEAD" else problem.body
        lines = [
            f"HTTP/1.1 {problem.status} {http.RESPONSES[problem.status].decode('ascii')}",
            "Server: regproxy",
            f"Date: {http.datetimeToString().decode('ascii')}",
            "Docker-Distribution-Api-Version: registry/2.0",
            "Content-Type: application/json",
            f"Content-Length: {len(problem.body)}",
            *(f"{name}: {value}" for name, value in problem.headers),
            "Connection: close",
        ]
        self.transport.write("\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body)
        client = peer_host(self.transport.getPeer()) or "unix"
        record = AccessRecord(
            client, method.decode("ascii"), quote_path(path), problem.status, len(body), ms=0.0
        )
        self.site.record(record)
        self._linger()

    def _linger(self) -> None:
        """Close our side; drop what still comes for a while, since a reset would eat the answer."""
        half_close = getattr(self.transport, "loseWriteConnection", None)
        if half_close is None or ISSLTransport.providedBy(self.transport):
            self.loseConnection()
            return
        http.HTTPChannel.setTimeout(self, None)
        self._networkProducer.unregisterProducer()
        self._abort_call = self.callLater(LINGER_S, self.transport.abortConnection)
        half_close()
