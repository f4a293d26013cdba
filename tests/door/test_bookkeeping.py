"""Connections that die before there is a request: in the handshake, in the PROXY header, on their way out."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
from ipaddress import ip_network
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from regproxy.access.forwarded import TrustedProxies
from regproxy.listeners import listen_now
from regproxy.settings import LimitSettings
from regproxy.testing.certificates import self_signed
from tests.web.doubles import Front, filled

HEADER = b"PROXY TCP4 10.9.8.7 10.0.0.1 4711 5000\r\n"
ASK = b"GET /v2/ HTTP/1.1\r\nHost: mirror\r\n\r\n"
LIMITS = LimitSettings(connections=3, per_address=2, header_s=0.3, idle_s=0.3)


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def hello() -> bytes:
    """What a TLS client says first."""
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        client_context().wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()


def die_everywhere(port: int, header: bytes) -> None:
    """At each byte of what a client says first: by a close, a reset, a half close, and by silence."""
    said, kept = header + hello(), []
    for end in [*range(len(header) + 8), len(said) - 1, len(said)]:
        for how in ("close", "reset", "half", "silence"):
            one = socket.create_connection(("127.0.0.1", port), 10)
            one.sendall(said[:end])
            if how in ("close", "reset"):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", how == "reset", 0))
                one.close()
                continue
            kept.append(one)
            if how == "half":
                one.shutdown(socket.SHUT_WR)
    for one in kept:
        with one, contextlib.suppress(ConnectionError):
            while one.recv(65536):
                pass
    for end in range(3):
        with socket.create_connection(("127.0.0.1", port), 10) as one, contextlib.suppress(OSError):
            one.sendall(header)
            with client_context().wrap_socket(one) as tls:
                tls.sendall(ASK[: end * 10])


@pytest.mark.parametrize("kind", ["ssl", "haproxy:ssl"])
async def test_no_place_is_lost(kind: str, tmp_path: Path) -> None:
    pem, key = self_signed().write(tmp_path, "mirror")
    proxies = TrustedProxies([ip_network("127.0.0.1/32")])
    async with Front(filled(), proxies=proxies, limits=LIMITS) as front:
        description = f"{kind}:0:interface=127.0.0.1:privateKey={key}:certKey={pem}"
        port = listen_now(reactor, description, front.site, proxies=proxies)
        before = len(os.listdir("/proc/self/fd"))
        await deferToThread(die_everywhere, port.getHost().port, HEADER if "haproxy" in kind else b"")
        books = front.site.connections
        for _ in range(1000):
            if not (books.open or books.leaving):
                break
            await deferLater(reactor, 0.01)
        assert (books.open, books.leaving, dict(books._by_address)) == (0, 0, {})
        assert (front.site.watch._filed, front.site.live) == (0, set())
        assert len(os.listdir("/proc/self/fd")) <= before + 1
        await port.stopListening()
