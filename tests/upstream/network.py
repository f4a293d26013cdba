"""A network in memory: names that resolve as a test says, addresses that are dialled, lines that answer.

No packet leaves the process, so public, private and link-local addresses can all be reached.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IReactorPluggableNameResolver
from twisted.internet.testing import MemoryReactorClock, StringTransportWithDisconnection
from twisted.python.failure import Failure
from zope.interface import implementer

from regproxy.settings import UpstreamSettings
from regproxy.upstream.registry import RemoteRegistry

Address = IPv4Address | IPv6Address


def address_of(host: str, port: int = 0) -> Address:
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)


def literal(host: str) -> str | None:
    """What getaddrinfo makes of an address in any spelling."""
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return None


@implementer(IHostResolution)
@attrs.frozen
class Resolution:
    name: str

    def cancel(self) -> None:
        """It is over at once."""


@implementer(IHostnameResolver)
class Names:
    """``answers[name]`` are its addresses, for each time it is asked; the last ones stay."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []

    def resolveHostName(self, receiver: Any, hostName: str, portNumber: int = 0, *_: Any) -> Resolution:
        self.asked.append(hostName)
        resolution = Resolution(hostName)
        receiver.resolutionBegan(resolution)
        for host in self._addresses(hostName):
            receiver.addressResolved(address_of(host, portNumber))
        receiver.resolutionComplete()
        return resolution

    def _addresses(self, name: str) -> list[str]:
        found = literal(name)
        if found is not None:
            return [found]
        left = self.answers.get(name, [[]])
        return left.pop(0) if len(left) > 1 else left[0]


@attrs.frozen
class Request:
    """One request as it came, at the address where it came to."""

    address: str
    port: int
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def host(self) -> str:
        """The name, or address, that the URL had."""
        return (self.header("Host") or "").removesuffix(f":{self.port}")


def reply(status: int, body: bytes = b"", **headers: str) -> bytes:
    """An answer; ``www_authenticate="x"`` is WWW-Authenticate: x."""
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\n{named}Content-Length: {len(body)}\r\n\r\n".encode() + body


def redirect(location: str) -> bytes:
    return reply(307, Location=location)


Handler = Callable[[Request], bytes]


@attrs.define(eq=False)
class Line:
    """A connection that was accepted."""

    peer: Address
    protocol: Any
    transport: StringTransportWithDisconnection

    def take(self) -> Request | None:
        head, end, _ = self.transport.value().partition(b"\r\n\r\n")
        if not end:
            return None
        self.transport.clear()
        first, *lines = head.decode().split("\r\n")
        method, target, _ = first.split(" ")
        headers = tuple((name, value) for name, _, value in (line.partition(": ") for line in lines))
        return Request(self.peer.host, self.peer.port, method, target, headers)

    def close(self) -> None:
        """The peer closes."""
        if self.transport.connected:
            self.transport.connected = False
            self.protocol.connectionLost(Failure(ConnectionDone()))


@implementer(IReactorPluggableNameResolver)
class Network(MemoryReactorClock):  # type: ignore[misc]
    """A reactor whose connections go to ``handler``, but for those to port 443, which nobody takes.

    ``peers`` says where a line really ends, if elsewhere than at the address that was dialled.
    """

    def __init__(self, handler: Handler) -> None:
        super().__init__()
        self.nameResolver = Names()
        self.handler = handler
        self.dialled: list[str] = []
        self.requests: list[Request] = []
        self.lines: list[Line] = []
        self.peers: dict[str, str] = {}
        self._accepted = 0

    def installNameResolver(self, resolver: Any) -> Any:
        old, self.nameResolver = self.nameResolver, resolver
        return old

    def resolve(self, name: str, *answers: str) -> None:
        """``name`` has these addresses, each text for one time, with blanks between several."""
        self.nameResolver.answers[name] = [answer.split() for answer in answers]

    def connectTCP(self, host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        self.dialled.append(host)
        return super().connectTCP(host, port, *args, **kwargs)

    def hang_up(self) -> None:
        """All peers close their connections."""
        for line in self.lines:
            line.close()

    def settle(self) -> None:
        """Accept what was dialled and answer what was asked, until nothing moves."""
        moved = True
        while moved:
            moved = False
            while self._accepted < len(self.tcpClients):
                self._accept(*self.tcpClients[self._accepted][:3])
                self._accepted += 1
                moved = True
            for line in self.lines:
                request = line.take()
                if request is not None:
                    moved = True
                    self.requests.append(request)
                    line.protocol.dataReceived(self.handler(request))

    def _accept(self, host: str, port: int, factory: Any) -> None:
        if port == 443:
            return
        peer = address_of(self.peers.get(host, host), port)
        transport = StringTransportWithDisconnection(peerAddress=peer)
        transport.protocol = protocol = factory.buildProtocol(peer)
        self.lines.append(Line(peer, protocol, transport))
        protocol.makeConnection(transport)


class Outcome:
    """What a call has come to."""

    def __init__(self, network: Network, deferred: Deferred[Any]) -> None:
        self._outcome: list[Any] = []
        deferred.addBoth(self._outcome.append)
        network.settle()

    @property
    def waiting(self) -> bool:
        return not self._outcome

    @property
    def error(self) -> BaseException | None:
        (outcome,) = self._outcome
        return outcome.value if isinstance(outcome, Failure) else None


def upstream_on(network: Network, url: str, **settings: Any) -> RemoteRegistry:
    """An upstream whose connections go through ``network``."""
    options = {"name": "upstream.test", "endpoints": (url,), "insecure": True, **settings}
    return RemoteRegistry(
        UpstreamSettings(**options), network, network.seconds, in_thread=lambda work: succeed(work())
    )
