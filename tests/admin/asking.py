"""Asks an admin site by raw bytes, as a client on TCP or on its socket."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from regproxy.admin.pages import Page
from regproxy.admin.site import AdminSite
from regproxy.settings import LimitSettings

LOCAL = IPv4Address("TCP", "127.0.0.1", 40000)
STRANGER = IPv4Address("TCP", "203.0.113.7", 40000)
NETWORKS = [ip_network("127.0.0.0/8")]


class Asking:
    """One connection, whose answer may come later; ``clock`` is the site's."""

    def __init__(self, pages: Mapping[str, Page], peer: object = LOCAL, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.protocol: Any = AdminSite(pages, NETWORKS, self.clock, LimitSettings()).buildProtocol(peer)
        self.transport = StringTransport(peerAddress=peer)
        self.protocol.makeConnection(self.transport)

    def send(self, path: bytes, method: bytes = b"GET", **headers: bytes) -> None:
        lines = b"".join(b"%s: %s\r\n" % (name.encode(), value) for name, value in headers.items())
        self.protocol.dataReceived(b"%s %s HTTP/1.1\r\nHost: admin\r\n%s\r\n" % (method, path, lines))

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of what has come."""
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body

    def leave(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))


def ask(
    pages: Mapping[str, Page],
    path: bytes,
    method: bytes = b"GET",
    peer: object = LOCAL,
    clock: Clock | None = None,
    **headers: bytes,
) -> tuple[int, dict[str, str], bytes]:
    """A whole answer."""
    asking = Asking(pages, peer, clock)
    asking.send(path, method, **headers)
    for _ in range(10_000):
        if asking.transport.value():
            break
        asking.clock.advance(0)
    found = asking.answer()
    asking.leave()
    return found
