"""What has come and was not taken is told, on plain connections and under TLS."""

from __future__ import annotations

import socket
from types import SimpleNamespace

from regproxy.upstream.backlog import unread_bytes


def test_what_the_kernel_holds() -> None:
    here, there = socket.socketpair()
    with here, there:
        transport = SimpleNamespace(fileno=here.fileno)
        assert unread_bytes(transport) == 0
        there.sendall(b"x" * 1234)
        assert unread_bytes(transport) == 1234
        assert unread_bytes(SimpleNamespace(transport=transport)) == 1234, "what TLS sits on"
        here.recv(34)
        assert unread_bytes(transport) == 1200


def test_a_closed_one_holds_nothing() -> None:
    def gone() -> int:
        return -1

    assert unread_bytes(SimpleNamespace(fileno=gone)) == 0
    assert unread_bytes(SimpleNamespace(transport=None)) == 0
