"""Bytes that have come over a connection and that nobody has taken: then the line is not what is slow."""

from __future__ import annotations

import fcntl
import struct
import termios
from typing import Any

_INT = struct.Struct("i")


def unread_bytes(transport: Any) -> int:
    """What the kernel holds for a TCP transport, or the one below TLS; 0 when it is closed."""
    below = getattr(transport, "transport", None) or transport
    try:
        found = fcntl.ioctl(below.fileno(), termios.FIONREAD, bytes(_INT.size))
    except (OSError, ValueError, AttributeError):
        return 0
    return int(_INT.unpack(found)[0])
