"""What a connection's socket tells of its client."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import struct
import termios
from typing import Any

import attrs
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import ISystemHandle
from twisted.protocols.policies import ProtocolWrapper

_BYTES_ACKED = 120
"""Where ``tcpi_bytes_acked`` stands in Linux' ``struct tcp_info``, since 4.1."""


def unsent_bytes(transport: object) -> int:
    """Bytes in a transport's socket that the other machine has not confirmed; 0 where unknown."""
    handle: Any = _handle(transport)
    if handle is None:
        return 0
    try:
        answer = fcntl.ioctl(handle.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    except OSError:
        return 0
    return int(struct.unpack("i", answer)[0])


def taken_bytes(transport: object) -> int | None:
    """Bytes that the other machine has confirmed on this TCP connection so far; None where unknown."""
    handle: Any = _handle(transport)
    if not isinstance(handle, socket.socket):
        return None
    try:
        told = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED + 8)
    except OSError:
        return None  # a unix socket, or a connection that is lost
    if len(told) < _BYTES_ACKED + 8:
        return None
    return int(struct.unpack_from("Q", told, _BYTES_ACKED)[0])


def queued_bytes(transport: object) -> int:
    """Bytes that were written to a transport and that the system has not taken; 0 where unknown.

    Under TLS as they are encrypted, some 0.2 % more.
    """
    lowest: Any = _lowest(transport)
    if not isinstance(lowest, FileDescriptor):
        return 0
    return len(lowest.dataBuffer) - lowest.offset + lowest._tempDataLen


@attrs.frozen(slots=True)
class SocketPeer:
    """The process that connected to a unix socket. ``open_to_all``: every user of the machine may."""

    uid: int
    pid: int
    open_to_all: bool


def socket_peer(transport: object) -> SocketPeer | None:
    """Who is at the other end of a unix socket, as the kernel knows it; None for any other transport.

    None too under TLS or the PROXY protocol: the process at the other end speaks for others then.
    """
    if isinstance(transport, ProtocolWrapper) or not ISystemHandle.providedBy(transport):
        return None
    handle: Any = transport.getHandle()
    if getattr(handle, "family", None) != socket.AF_UNIX:
        return None
    pid, uid, _ = struct.unpack("3i", handle.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return SocketPeer(uid, pid, _is_open_to_all(handle.getsockname()))


def _is_open_to_all(name: str | bytes) -> bool:
    """By the mode of the socket's file; a socket that has none is open to all."""
    try:
        return bool(os.stat(name).st_mode & stat.S_IWOTH)
    except (OSError, ValueError):
        return True


def _handle(transport: object) -> object:
    transport = _lowest(transport)
    return transport.getHandle() if ISystemHandle.providedBy(transport) else None


def _lowest(transport: object) -> object:
    while isinstance(transport, ProtocolWrapper):  # TLS, the PROXY protocol
        transport = transport.transport
    return transport
