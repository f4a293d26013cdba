"""Listeners that read the PROXY protocol: from trusted peers only, whatever version, TLS behind it."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.interfaces import IListeningPort
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater

from regproxy.access.forwarded import TrustedProxies
from regproxy.listeners import listen_now
from regproxy.settings import LimitSettings
from regproxy.testing.certificates import self_signed
from tests.logged import logging
from tests.web.doubles import Front, RawClient, filled, parse

ASK = b"GET /v2/ HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n\r\n"
KEPT = b"GET /v2/ HTTP/1.1\r\nHost: mirror\r\n\r\n"
BALANCER = TrustedProxies([ip_network("127.0.0.0/8")])
V1 = b"PROXY TCP4 10.9.8.7 10.0.0.1 4711 5000\r\n"
V1_SIX = b"PROXY TCP6 fd00::7 fd00::1 4711 5000\r\n"
V2 = (
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11"
    + struct.pack("!H", 12)
    + socket.inet_aton("10.9.8.7")
    + socket.inet_aton("10.0.0.1")
    + struct.pack("!HH", 4711, 5000)
)
V2_UNIX = b"\r\n\r\n\x00\r\nQUIT\n\x21\x31" + struct.pack("!H108s108s", 216, b"/run/a", b"/run/b")
V2_LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
Ports = list[IListeningPort]


@pytest_twisted.async_yield_fixture(name="ports")
async def _ports() -> AsyncIterator[Ports]:
    ports: Ports = []
    yield ports
    for port in ports:
        await port.stopListening()


async def connect(port: IListeningPort) -> RawClient:
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
    client: RawClient = await connectProtocol(endpoint, RawClient())
    return client


def listen(ports: Ports, front: Front, description: str, proxies: TrustedProxies | None) -> IListeningPort:
    port = listen_now(reactor, description, front.site, proxies=proxies)
    ports.append(port)
    return port


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (V1, "10.9.8.7"),
        (V1_SIX, "fd00::7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"PROXY UNKNOWN 10.9.8.7 10.0.0.1 1 2\r\n", "127.0.0.1"),
        (V2, "10.9.8.7"),
        (V2_LOCAL, "127.0.0.1"),
        (V2_UNIX, "127.0.0.1"),
    ],
)
async def test_the_header_of_a_trusted_peer_counts(ports: Ports, header: bytes, client: str) -> None:
    """LOCAL and UNKNOWN are the balancer's own checks; a socket of the balancer's machine is none of
    ours, whose mode would let its clients in."""
    async with Front(filled()) as front:
        port = listen(ports, front, "haproxy:tcp:0:interface=127.0.0.1", BALANCER)
        connected = await connect(port)
        connected.transport.write(header + ASK)
        assert parse(await connected.ended())[0].status == 200
        assert [record.client for record in front.records] == [client]


async def test_its_address_is_what_access_decides_by(ports: Ports) -> None:
    async with Front(filled()) as front:
        port = listen(ports, front, "haproxy:tcp:0:interface=127.0.0.1", BALANCER)
        connected = await connect(port)
        connected.transport.write(V1.replace(b"10.9.8.7", b"203.0.113.9") + ASK)
        assert parse(await connected.ended())[0].status == 403
        assert front.records[0].client == "203.0.113.9"


async def test_its_address_is_what_limits_count(ports: Ports) -> None:
    """A balancer itself may have any number; none of its clients takes the places of all others."""
    async with Front(filled(), proxies=BALANCER, limits=LimitSettings(per_address=2)) as front:
        port = listen(ports, front, "haproxy:tcp:0:interface=127.0.0.1", BALANCER)
        books = front.site.connections
        seen = []
        for header in (V1, V1, V1, V1_SIX, V2_LOCAL, V2_LOCAL, V2_LOCAL):
            client = await connect(port)
            front.clients.append(client)
            client.transport.write(header + KEPT)
            seen.append((await client.until(lambda got: b"\r\n\r\n" in got)).split(b" ")[1])
        assert seen == [b"200", b"200", b"503", b"200", b"200", b"200", b"200"]
        for client in front.clients:
            client.transport.abortConnection()
            await client.ended()
        while books.open or books.leaving:
            await deferLater(reactor, 0.01)
        assert dict(books._by_address) == {}


@pytest.mark.parametrize("proxies", [None, TrustedProxies([ip_network("10.0.0.0/8")])])
async def test_a_stranger_is_cut_off_before_a_byte_is_read(
    ports: Ports, proxies: TrustedProxies | None
) -> None:
    """Whoever reaches the port could claim any address."""
    async with Front(filled()) as front:
        port = listen(ports, front, "haproxy:tcp:0:interface=127.0.0.1", proxies)
        with logging() as logged:
            connected = await connect(port)
            connected.transport.write(V1 + ASK)
            assert await connected.ended() == b""
        assert front.records == []
        assert logged.lines("warn") == [
            "127.0.0.1 is not in access.trusted_proxies: its connection to a haproxy: listener is closed"
        ]


@pytest.mark.parametrize(
    "data",
    [
        ASK,
        b"PROXY\r\n\r\n",
        b"PROXY TCP4 " + b"x" * 200,
        b"PROXY TCP4 10.9.8.7 10.0.0.1 a b\r\n" + ASK,
        b"PROXY TCP4 \xff\xfe 10.0.0.1 1 2\r\n" + ASK,
        b"PROXY UNKNOWNX\r\n" + ASK,
        b"\x16\x03\x01" + b"x" * 20,
    ],
)
async def test_without_a_header_nothing_is_served(ports: Ports, data: bytes) -> None:
    """And nothing is an error of ours."""
    async with Front(filled()) as front:
        port = listen(ports, front, "haproxy:tcp:0:interface=127.0.0.1", BALANCER)
        with logging() as logged:
            connected = await connect(port)
            connected.transport.write(data)
            assert await connected.ended() == b""
        assert front.records == []
        assert logged.lines("error", "critical") == []


async def test_a_plain_listener_takes_no_header(ports: Ports) -> None:
    async with Front(filled()) as front:
        port = listen(ports, front, "tcp:0:interface=127.0.0.1", BALANCER)
        connected = await connect(port)
        connected.transport.write(V1 + ASK)
        assert parse(await connected.ended())[0].status == 400
        assert front.records[0].client == "127.0.0.1"


async def test_tls_comes_behind_the_header(ports: Ports, tmp_path: Path) -> None:
    """As balancers write it that pass TLS through."""
    pem, key = self_signed().write(tmp_path, "mirror")
    async with Front(filled()) as front:
        description = f"haproxy:ssl:0:interface=127.0.0.1:privateKey={key}:certKey={pem}"
        port = listen(ports, front, description, BALANCER)
        connected = await connect(port)
        connected.transport.write(V2)
        connected.transport.startTLS(CertificateOptions())
        connected.transport.write(ASK)
        assert parse(await connected.ended())[0].status == 200
        assert [record.client for record in front.records] == ["10.9.8.7"]


async def test_a_unix_socket_is_trusted_by_its_mode(ports: Ports, tmp_path: Path) -> None:
    async with Front(filled()) as front:
        listen(ports, front, f"haproxy:unix:{tmp_path}/s:mode=600", None)
        client: RawClient = await connectProtocol(UNIXClientEndpoint(reactor, f"{tmp_path}/s"), RawClient())
        client.transport.write(V1 + ASK)
        assert parse(await client.ended())[0].status == 200
        assert [record.client for record in front.records] == ["10.9.8.7"]
