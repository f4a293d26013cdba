"""What treq sits on: identity on the wire, connections that can be aborted, a pool that is ours.

Laws: an encoded answer is never decoded here, and never by treq either. An abort reaches only the
connection that still carries the answer it was asked for. Once closed, no connection is left. A
connection carries a request only where its way leads, be it new or kept.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, cast
from weakref import WeakKeyDictionary

from twisted.internet import tcp
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.failure import Failure
from twisted.web.client import (
    URI,
    Agent,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from regproxy.upstream.backlog import unread_bytes
from regproxy.upstream.reach import ForbiddenAddress
from regproxy.upstream.ways import Way

BUFFER_BYTES = 256 * 1024
"""What one ``recv`` of a body connection takes: twice as fast as the default 64 KiB."""

MAX_HEAD_BYTES = 1024 * 1024
"""Status line and headers of one answer, and the piece of body that comes in the same read."""

CODED = b"X-Coded"
"""Where :class:`IdentityAgent` puts a Content-Encoding, out of sight of treq's decoder."""


class DeadConnection(Exception):
    """A connection from the pool was closed by its peer before it answered: try a fresh one."""


@implementer(IAgent)
class IdentityAgent:
    """Asks for ``identity`` exactly once and hides Content-Encoding from treq's decoder (R89).

    ``target``, from its first ``/`` on, is what is asked for at the origin that treq was given, or at
    ``origin``: treq takes no IPv6 address.
    """

    def __init__(self, inner: IAgent, target: bytes, origin: bytes | None = None) -> None:
        self._inner = inner
        self._target = target
        self._origin = origin

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """As IAgent says, with the headers set right."""
        sent = headers.copy() if headers is not None else Headers()
        sent.setRawHeaders(b"Accept-Encoding", [b"identity"])
        exact = (self._origin or uri.removesuffix(b"/")) + self._target
        return self._inner.request(method, exact, sent, bodyProducer).addCallback(_hide_coding)


def _hide_coding(response: IResponse) -> IResponse:
    coded = response.headers.getRawHeaders(b"Content-Encoding")
    if coded is not None:
        response.headers.removeHeader(b"Content-Encoding")
        response.headers.setRawHeaders(CODED, coded)
    return response


class ExactAgent(Agent):
    """Sends the path and query of a URL as they are; Agent drops an empty query and doubles slashes."""

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """As IAgent says; ValueError for blanks, controls and non-ASCII in ``uri``."""
        scheme, mark, rest = uri.partition(b"://")
        host, slash, target = rest.partition(b"/")
        origin = URI.fromBytes(scheme + mark + host + b"/")
        key = (origin.scheme, origin.host, origin.port)
        endpoint = self._getEndpoint(origin)
        return self._requestWithEndpoint(key, endpoint, method, origin, headers, bodyProducer, slash + target)


class Pool(HTTPConnectionPool):
    """Connections that are kept for a minute, can be aborted, and tell whether they were reused."""

    retryAutomatically = False
    cachedConnectionTimeout = 60
    maxPersistentPerHost = 16

    def __init__(self, reactor: Any, buffer_bytes: int | None = None) -> None:
        """``buffer_bytes`` is what one ``recv`` takes; None: Twisted's default."""
        super().__init__(reactor)  # type: ignore[no-untyped-call]
        self._buffer_bytes = buffer_bytes
        self._users: WeakKeyDictionary[Any, _Use] = WeakKeyDictionary()

    def getConnection(self, key: Hashable, endpoint: IStreamClientEndpoint) -> Deferred[Any]:
        """A connection for one request, judged and tagged; ``endpoint`` is a :class:`Way`."""
        way = cast(Way, endpoint)
        return super().getConnection(key, way).addCallback(lambda protocol: self._tag(protocol, way))

    def _tag(self, protocol: Any, way: Way) -> _Tagged:
        reused = protocol in self._users
        peer = getattr(protocol.transport.getPeer(), "host", "")
        try:
            way.judge(peer)
        except ForbiddenAddress:
            protocol.transport.abortConnection()
            raise
        if self._buffer_bytes is not None and isinstance(protocol.transport, tcp.Connection):
            protocol.transport.bufferSize = self._buffer_bytes
        if not reused:
            self._bound_headers(protocol)
        use = self._users[protocol] = _Use()
        return _Tagged(protocol, use, reused, peer, self._abort)

    def _bound_headers(self, protocol: Any) -> None:
        """Twisted takes any number of headers; more than MAX_HEAD_BYTES end the connection."""
        users, receive = self._users, protocol.dataReceived

        def counted(data: bytes) -> None:
            use = users.get(protocol)
            if use is None or use.may_receive(len(data)):
                receive(data)
            else:
                protocol.transport.abortConnection()

        protocol.dataReceived = counted

    def _abort(self, protocol: Any, use: _Use) -> None:
        """Close the connection if it still is ``use``'s.

        A body that ends in this same turn does not bring it back to the pool.
        """
        if self._users.get(protocol) is not use:
            return
        del self._users[protocol]
        if use.request is not None:
            use.request.persistent = False
        if protocol.state != "CONNECTION_LOST":  # a lost TLS transport raises when it is aborted
            protocol.transport.abortConnection()

    def abort_all(self) -> None:
        """Close every connection, idle or busy, at once."""
        for protocol, use in list(self._users.items()):
            self._abort(protocol, use)
        self.closeCachedConnections()


class _Use:
    """The request that a connection carries now; it does not keep the connection alive."""

    def __init__(self) -> None:
        self.request: Any = None
        self.answered = False
        self._received = 0

    def may_receive(self, length: int) -> bool:
        """Whether so many bytes more, before the end of the headers, are still reasonable."""
        if not self.answered:
            self._received += length
        return self._received <= MAX_HEAD_BYTES


class _Tagged:
    """One request on one connection; its response gets ``abort``, and ``peer``: who sent it."""

    def __init__(
        self, protocol: Any, use: _Use, reused: bool, peer: str, abort: Callable[[Any, _Use], None]
    ) -> None:
        self._protocol = protocol
        self._use = use
        self._reused = reused
        self._peer = peer
        self._abort = abort

    def request(self, request: Any) -> Deferred[IResponse]:
        """As HTTP11ClientProtocol does; a reused connection that died fails with DeadConnection."""
        self._use.request = request
        answer = cast("Deferred[IResponse]", self._protocol.request(request))
        return answer.addCallbacks(self._mark, self._explain)

    def _mark(self, response: Any) -> IResponse:
        self._use.answered = True
        response.abort = lambda: self._abort(self._protocol, self._use)
        response.peer = self._peer
        response.unread_bytes = lambda: unread_bytes(self._protocol.transport)
        return cast(IResponse, response)

    def _explain(self, failure: Failure) -> Failure:
        dead = failure.check(ResponseNeverReceived, RequestTransmissionFailed)
        if self._reused and dead and not was_cancelled(failure.value):
            return Failure(DeadConnection())
        return failure


def was_cancelled(error: BaseException | None) -> bool:
    """Whether a request failed because its Deferred was cancelled, which Twisted wraps."""
    if isinstance(error, CancelledError | ConnectingCancelledError):
        return True
    return any(was_cancelled(reason.value) for reason in getattr(error, "reasons", ()))
