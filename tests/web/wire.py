"""A site over a memory transport and a clock, for what needs neither socket nor time."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import IResource

from regproxy.settings import LOCAL_NETWORKS, LimitSettings, Network
from regproxy.web.access_log import AccessRecord
from regproxy.web.api import RegistryApi
from regproxy.web.resource import ApiResource
from regproxy.web.routing import Routes
from regproxy.web.site import LIMITS, RegistrySite
from tests.web.doubles import (
    UPSTREAMS,
    MemoryRegistry,
    Reply,
    parse,
)

VERSION = "registry/2.0"


class Wire:
    """A site over a memory transport and a clock, for what needs neither socket nor time."""

    def __init__(
        self,
        registry: MemoryRegistry | None = None,
        resource: IResource | None = None,
        transport: Transport | None = None,
        networks: Iterable[Network] = LOCAL_NETWORKS,
        limits: LimitSettings = LIMITS,
    ) -> None:
        self.clock = Clock()
        self.registry = registry or MemoryRegistry()
        self.records: list[AccessRecord] = []
        api = RegistryApi(self.registry, self.clock)
        root = resource or ApiResource(api, Routes(UPSTREAMS), networks)
        site = RegistrySite(root, self.clock, self.records.append, limits)
        self._site = site
        self.channel = site.buildProtocol(None)
        assert self.channel is not None
        self.transport = transport or Transport()
        self.transport.protocol = self.channel
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> bytes:
        before = len(self.transport.value())
        self.channel.dataReceived(data)
        return self.transport.value()[before:]

    def another(self) -> Transport:
        """One more connection, from the same client."""
        transport = Transport()
        transport.protocol = self._site.buildProtocol(None)
        transport.protocol.makeConnection(transport)
        return transport

    def close(self) -> None:
        self.channel.connectionLost(Failure(ConnectionDone()))
        assert self.clock.getDelayedCalls() == []


class Transport(StringTransport):
    """A local peer; remembers a half-closed and an aborted connection."""

    half_closed = False
    aborted = False
    protocol = None

    def getPeer(self):  # type: ignore[no-untyped-def]
        return IPv4Address("TCP", "127.0.0.1", 4321)

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        self.aborted = True


def ask(data: bytes, registry: MemoryRegistry | None = None) -> tuple[Reply, Wire]:
    wire = Wire(registry)
    reply, rest = parse(wire.send(data), data.startswith(b"HEAD"))
    assert rest == b""
    wire.close()
    return reply, wire


def get(target: bytes, *lines: bytes, method: bytes = b"GET") -> bytes:
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", b"Host: mirror", *lines, b"", b""])
