"""Sockets that are had at once or not at all.

Twisted's own endpoint service logs a port in use and lives on deaf. Here each description is
listened on and its result looked at before anything else happens.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any, cast

import attrs
from OpenSSL import SSL, crypto
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError, VerifyError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.python.failure import Failure

from regproxy.config.endpoints import Endpoint
from regproxy.config.errors import Unfit
from regproxy.errors import RegproxyError

OPENSSL_ERRORS = (SSL.Error, crypto.Error, VerifyError)
BACKLOG = 1024
"""So many clients may have connected before they are accepted; the kernel caps it (net.core.somaxconn)."""
_NOT_PASSED = "systemd has passed this process no such socket: it must be started by its .socket unit"


class CannotListen(RegproxyError):
    """A socket that cannot be had; the message names it and says why, in one line."""

    def __init__(self, description: str, why: str) -> None:
        super().__init__(f"cannot listen on {description}: {why}")


def listen_now(
    reactor: Any, description: str, factory: IProtocolFactory, default_mode: str | None = None
) -> IListeningPort:
    """Listen on an endpoint description, now; :exc:`CannotListen` when that is not to be had.

    A unix socket that nobody answers on is unlinked first: the caller holds the lock of the
    storage folder. ``default_mode`` is for a unix socket whose description names none.
    """
    try:
        endpoint = serverFromString(reactor, _prepared(description, default_mode))
    except LookupError as error:
        raise CannotListen(description, _NOT_PASSED) from error
    except (ValueError, TypeError, OSError, *OPENSSL_ERRORS) as error:
        raise CannotListen(description, _reason(error)) from error
    outcome: list[Any] = []
    endpoint.listen(factory).addBoth(outcome.append)
    if not outcome:
        raise CannotListen(description, "it does not come at once")
    if isinstance(outcome[0], Failure):
        if not outcome[0].check(CannotListenError, OSError, ValueError):
            outcome[0].raiseException()
        raise CannotListen(description, _reason(outcome[0].value))
    return cast(IListeningPort, outcome[0])


def _prepared(description: str, default_mode: str | None) -> str:
    """With room for a crowd that comes at once; Twisted's own default is 50, and the others wait a second.

    A unix socket loses Twisted's lock file, which believes a dead pid that lives again.
    """
    try:
        found = Endpoint.parse(description)
    except Unfit:
        return description  # Twisted says why
    arguments = dict(found.arguments)
    if found.kind != "systemd":
        arguments.setdefault("backlog", str(BACKLOG))
    if found.kind == "unix":
        clear_stale(description, Path(found.get("address") or ""))
        arguments["lockfile"] = "0"
        if default_mode is not None:
            arguments.setdefault("mode", default_mode)
    return str(attrs.evolve(found, arguments=tuple(arguments.items())))


def clear_stale(description: str, path: Path) -> None:
    """Unlink the socket at ``path`` when nobody answers there; :exc:`CannotListen` when one does."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise CannotListen(description, "there is something that is not a socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            refused = probe.connect_ex(str(path))
        if refused == 0:
            raise CannotListen(description, "another process answers there")
        if refused != errno.ECONNREFUSED:
            raise CannotListen(description, _named(refused))
        path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise CannotListen(description, _reason(error)) from error


def _named(number: int) -> str:
    return os.strerror(number)


def _reason(error: BaseException | None) -> str:
    if isinstance(error, CannotListenError) and isinstance(error.socketError, OSError):
        error = error.socketError
    if isinstance(error, OSError) and error.errno is not None:
        name = f" ({error.filename})" if error.filename else ""
        return f"{_named(error.errno)}{name}"
    if isinstance(error, OPENSSL_ERRORS):
        return "the key or the certificate cannot be used"
    return " ".join(str(error).split()) or type(error).__name__


def described(port: IListeningPort) -> str:
    """Where a port really listens, for the log: ``[::]:5000``, ``/run/regproxy/admin.sock``."""
    address: Any = port.getHost()
    name = getattr(address, "name", None)
    if name is not None:
        return os.fsdecode(name)
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"
