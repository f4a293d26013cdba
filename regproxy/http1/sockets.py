"""What a connection's socket tells of its client."""

from __future__ import annotations

import fcntl
import struct
import termios
from typing import Any

from twisted.internet.interfaces import ISystemHandle
from twisted.protocols.policies import ProtocolWrapper


def unsent_bytes(transport: object) -> int:
    """Bytes in a transport's socket that the other machine has not confirmed; 0 where unknown."""
    while isinstance(transport, ProtocolWrapper):  # TLS, the PROXY protocol
        transport = transport.transport
    if not ISystemHandle.providedBy(transport):
        return 0
    handle: Any = transport.getHandle()
    try:
        answer = fcntl.ioctl(handle.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    except OSError:
        return 0
    return int(struct.unpack("i", answer)[0])
