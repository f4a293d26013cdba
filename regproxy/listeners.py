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
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from regproxy.access.forwarded import TrustedProxies
from regproxy.config.endpoints import Endpoint
from regproxy.config.errors import Unfit
from regproxy.errors import RegproxyError
from regproxy.proxied import behind_proxies
from regproxy.smallfile import Unusable
from regproxy.tls import RenewedCertificates, TlsFiles

BACKLOG = 1024
"""So many clients may have connected before they are accepted; the kernel caps it (net.core.somaxconn)."""
_NOT_PASSED = "systemd has passed this process no such socket: it must be started by its .socket unit"


class CannotListen(RegproxyError):
    """A socket that cannot be had; the message names it and says why, in one line."""

    def __init__(self, description: str, why: str) -> None:
        super().__init__(f"cannot listen on {description}: {why}")


def listen_now(
    reactor: Any,
    description: str,
    factory: IProtocolFactory,
    default_mode: str | None = None,
    proxies: TrustedProxies | None = None,
) -> IListeningPort:
    """Listen on an endpoint description, now; :exc:`CannotListen` when that is not to be had.

    A unix socket that nobody answers on is unlinked first: the caller holds the lock of the
    storage folder. ``default_mode`` is for a unix socket whose description names none;
    ``proxies`` are those whom a ``haproxy:`` listener believes.
    """
    try:
        endpoint, factory = _opened(reactor, description, factory, default_mode, proxies)
    except LookupError as error:
        raise CannotListen(description, _NOT_PASSED) from error
    except (ValueError, TypeError, OSError, Unusable) as error:
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


def _opened(
    reactor: Any,
    description: str,
    factory: IProtocolFactory,
    default_mode: str | None,
    proxies: TrustedProxies | None,
) -> tuple[Any, IProtocolFactory]:
    """The endpoint that a description means, and the factory with what lies between the two."""
    try:
        found = Endpoint.parse(description)
    except Unfit:
        return serverFromString(reactor, description), factory  # Twisted says why
    if found.kind == "ssl":
        certificates = RenewedCertificates(description, TlsFiles.of(found))
        factory = cast(IProtocolFactory, TLSMemoryBIOFactory(certificates, False, factory, reactor))
    endpoint = serverFromString(reactor, _plain(description, found, default_mode))
    if found.wrapped:
        endpoint = behind_proxies(endpoint, proxies or TrustedProxies())
    return endpoint, factory


def _plain(description: str, found: Endpoint, default_mode: str | None) -> str:
    """What Twisted listens on: without TLS and PROXY, which are ours, and with room for a crowd that
    comes at once; its own default is 50, and the others wait a second.

    A unix socket loses Twisted's lock file, which believes a dead pid that lives again.
    """
    named = dict(found.arguments)
    if found.kind != "systemd":
        named.setdefault("backlog", str(BACKLOG))
    if found.kind == "ssl":
        plain = tuple(each for each in named.items() if each[0] in ("port", "interface", "backlog"))
        return str(Endpoint("tcp", plain))
    if found.kind == "unix":
        clear_stale(description, Path(found.get("address") or ""))
        named["lockfile"] = "0"
        if default_mode is not None:
            named.setdefault("mode", default_mode)
    return str(attrs.evolve(found, arguments=tuple(named.items()), wrapped=False))


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
    return " ".join(str(error).split()) or type(error).__name__


def described(port: IListeningPort) -> str:
    """Where a port really listens, for the log: ``[::]:5000``, ``/run/regproxy/admin.sock``."""
    address: Any = port.getHost()
    name = getattr(address, "name", None)
    if name is not None:
        return os.fsdecode(name)
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"
