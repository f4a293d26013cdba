"""A client that hides nothing: sends a request, keeps every byte until the connection ends."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol


@attrs.frozen
class Raw:
    """An answer as it came."""

    head: bytes
    body: bytes
    clean: bool
    """Whether the connection ended by FIN, not by a reset."""

    @property
    def status(self) -> int:
        return int(self.head.split(b" ")[1]) if self.head else 0

    def header(self, name: str) -> str | None:
        for line in self.head.decode().split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return None


class Collector(Protocol):
    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.ended: Deferred[Raw] = Deferred()
        self._wanted: list[tuple[int, Deferred[None]]] = []

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(data)
        if not self._wanted:
            return
        for wanted, told in list(self._wanted):
            if len(self.body()) >= wanted:
                self._wanted.remove((wanted, told))
                told.callback(None)

    @property
    def received(self) -> bytes:
        self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    def body(self) -> bytes:
        return self.received.partition(b"\r\n\r\n")[2]

    def has(self, count: int) -> Deferred[None]:
        """Fires when ``count`` body bytes are here."""
        told: Deferred[None] = Deferred()
        self._wanted.append((count, told))
        self.dataReceived(b"")
        return told.addTimeout(10, reactor)

    def connectionLost(self, reason: Any = None) -> None:
        head, _, body = self.received.partition(b"\r\n\r\n")
        self.ended.callback(Raw(head, body, reason.check(ConnectionDone) is not None))


async def connect(url: str) -> Collector:
    host, _, port = url.partition("://")[2].partition(":")
    return await connectProtocol(TCP4ClientEndpoint(reactor, host, int(port)), Collector())


async def begin(url: str, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> Collector:
    """Send a request and return while the answer comes; ``if_range=`` gives If-Range."""
    collector = await connect(url)
    collector.ended.addTimeout(20, reactor)
    named = {"Host": "test", "Connection": "close", **headers}
    if body:
        named["Content-Length"] = str(len(body))
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in named.items()]
    request = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode() + body
    collector.transport.write(request)  # type: ignore[union-attr]
    return collector


async def fetch(url: str, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> Raw:
    """Send a request and wait for the end of its connection."""
    return await (await begin(url, path, method, body, **headers)).ended
