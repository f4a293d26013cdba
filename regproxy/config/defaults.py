"""Defaults that depend on the machine. Looks, and makes nothing: that is the service's part."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from regproxy.config.endpoints import escape

SYSTEM_ROOT = Path("/var/lib/regproxy")
PORT = 5000
ADMIN_PORT = 5001


def root(environ: Mapping[str, str], system: Path = SYSTEM_ROOT) -> Path:
    """The first folder that exists and may be entered, else the first that can be made.

    Where none can, the first: its own error then says why at the start.
    """
    candidates = list(_candidates(environ, system))
    for candidate in candidates:
        if os.path.isdir(candidate) and os.access(candidate, os.R_OK | os.X_OK):
            return candidate
    return next(filter(_can_be_made, candidates), candidates[0])


def _candidates(environ: Mapping[str, str], system: Path) -> Iterator[Path]:
    given = folder(environ, "STATE_DIRECTORY")
    if given:
        yield given
    yield system
    state, home = folder(environ, "XDG_STATE_HOME"), folder(environ, "HOME")
    if state or home:
        yield (state or Path(str(home), ".local", "state")) / "regproxy"


def folder(environ: Mapping[str, str], name: str) -> Path | None:
    """The first absolute path in the variable: systemd puts colons between several."""
    first = environ.get(name, "").partition(":")[0]
    return Path(first) if first.startswith("/") and "\0" not in first else None


def _can_be_made(path: Path) -> bool:
    parent = next((above for above in path.parents if os.path.lexists(above)), None)
    return (
        not os.path.lexists(path)
        and parent is not None
        and os.path.isdir(parent)
        and os.access(parent, os.W_OK | os.X_OK)
    )


def admin(environ: Mapping[str, str], storage_root: Path) -> tuple[str, ...]:
    """The admin socket, in the runtime folder or else in the root, and a port of loopback."""
    place = folder(environ, "RUNTIME_DIRECTORY") or storage_root
    return f"unix:{escape(str(place / 'admin.sock'))}:mode=660", f"tcp:{ADMIN_PORT}:interface=127.0.0.1"


def listen(ipv6: bool | None = None) -> tuple[str, ...]:
    """Port 5000, of both families where the kernel has them. ``ipv6`` None: look."""
    return (f"tcp6:{PORT}" if (kernel_has_ipv6() if ipv6 is None else ipv6) else f"tcp:{PORT}",)


def kernel_has_ipv6() -> bool:
    """Whether a socket of that family can be had."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
    except OSError as error:
        return error.errno not in (errno.EAFNOSUPPORT, errno.EPFNOSUPPORT, errno.EPROTONOSUPPORT)
    return socket.has_ipv6
