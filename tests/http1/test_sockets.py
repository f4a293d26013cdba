"""What the kernel tells of a client: held against a socket whose reader is known."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from twisted.internet.interfaces import ISystemHandle
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from regproxy.http1.sockets import taken_bytes, unsent_bytes


@implementer(ISystemHandle)
class Transport:
    """A transport that has a socket and nothing else."""

    def __init__(self, own: socket.socket) -> None:
        self.getHandle: Callable[[], socket.socket] = lambda: own


def soon(holds: Callable[[], bool]) -> bool:
    for _ in range(200):
        if holds():
            return True
        time.sleep(0.01)
    return False


def test_taken_and_unsent_bytes_of_a_tcp_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
        with client, ours:
            transport = Transport(ours)
            start = taken_bytes(transport)
            assert start is not None
            ours.sendall(b"x" * 5000)
            assert soon(lambda: taken_bytes(transport) == start + 5000)
            assert unsent_bytes(transport) == 0
            ours.setblocking(False)
            sent = 0
            while True:
                try:
                    sent += ours.send(b"x" * 65536)
                except BlockingIOError:
                    break
            assert soon(
                lambda: (taken_bytes(transport) or 0) + unsent_bytes(transport) == start + 5000 + sent
            )
            assert unsent_bytes(transport) > 0, "the client takes nothing"
        assert taken_bytes(transport) is None, "it is closed"


def test_others_tell_nothing() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert taken_bytes(Transport(one)) is None
    assert taken_bytes(StringTransport()) is None
