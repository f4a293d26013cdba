"""A registry whose one body a test feeds, and a client that counts."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.web.doubles import (
    BLOB_DIGEST,
    REPOSITORY,
    RawClient,
    ScriptedBlob,
    ScriptedBody,
    filled,
)


def turn() -> Deferred[None]:
    """One turn of the reactor."""
    done: Deferred[None] = Deferred()
    reactor.callLater(0, done.callback, None)
    return done


class Counter:
    """Counts what a client receives, keeping only the head."""

    def __init__(self, client: RawClient) -> None:
        self.count = 0
        self.done: Deferred[None] = Deferred()
        self.wanted = -1
        self.head = b""
        client.dataReceived = self.take  # type: ignore[method-assign]

    def take(self, data: bytes) -> None:
        if b"\r\n\r\n" not in self.head:
            self.head += data
            data = self.head.partition(b"\r\n\r\n")[2]
        self.count += len(data)
        if self.count == self.wanted:
            self.done.callback(None)

    def reached(self, count: int) -> Deferred[None]:
        self.wanted = count
        return self.done


class Scripted:
    """One blob whose body the test feeds by hand, on a front with one client."""

    def __init__(self, size: int | None, *items: bytes | Exception) -> None:
        self.body = ScriptedBody(*items)
        self.registry = filled()
        self.registry.blob_map[REPOSITORY, BLOB_DIGEST] = ScriptedBlob(size, lambda start, stop: self.body)

    @property
    def request(self) -> bytes:
        return f"GET /v2/nginx/blobs/{BLOB_DIGEST} HTTP/1.1\r\nHost: m\r\n\r\n".encode()
