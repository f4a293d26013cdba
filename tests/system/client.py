"""A plain HTTP client that tells a whole answer from a broken one."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, PotentialDataLoss, ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from tests.overheard import overhear


@attrs.frozen
class Answer:
    """What came: ``complete`` is whether the body ended as its headers promised."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool

    def __getitem__(self, name: str) -> str:
        return self.headers[name.lower()]


class _Collect(Protocol):
    def __init__(self) -> None:
        self.got = bytearray()
        self.over: Deferred[bool] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.got += data

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.over.callback(reason.check(ResponseDone, PotentialDataLoss) is not None)


@implementer(IAgentEndpointFactory)
class _Socket:
    """Whatever is asked for is at one Unix socket."""

    def __init__(self, reactor: Any, path: Path) -> None:
        self._reactor, self._path = reactor, path

    def endpointForURI(self, uri: object) -> UNIXClientEndpoint:
        return UNIXClientEndpoint(self._reactor, str(self._path), 5)


class Client:
    """Asks ``base_url``, or the Unix ``socket``; keeps connections alive until :meth:`close`."""

    def __init__(self, reactor: Any, base_url: str, socket: Path | None = None) -> None:
        self._pool = HTTPConnectionPool(reactor)
        if socket is None:
            self._agent = Agent(reactor, connectTimeout=5, pool=self._pool)
        else:
            self._agent = Agent.usingEndpointFactory(reactor, _Socket(reactor, socket), self._pool)
        self._base_url = base_url

    async def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        """One request; ``if_none_match="x"`` is If-None-Match: x."""
        named = Headers({name.replace("_", "-"): [value] for name, value in headers.items()})
        sent = None if body is None else FileBodyProducer(BytesIO(body))
        response = await self._agent.request(method.encode(), (self._base_url + path).encode(), named, sent)
        collect = _Collect()
        response.deliverBody(collect)
        complete = await collect.over
        got = {
            k.decode().lower(): ",".join(v.decode() for v in vs)
            for k, vs in response.headers.getAllRawHeaders()
        }
        length = response.length if isinstance(response.length, int) else None
        if length is not None:
            got.setdefault("content-length", str(length))
        if response.code >= 400:
            overhear(f"an answer {response.code}", bytes(collect.got))
        return Answer(response.code, got, bytes(collect.got), complete)

    async def head(self, path: str, **headers: str) -> Answer:
        """A HEAD request."""
        return await self.ask(path, "HEAD", **headers)

    async def close(self) -> None:
        """Close the idle connections."""
        await self._pool.closeCachedConnections()
