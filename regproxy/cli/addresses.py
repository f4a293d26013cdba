"""Where the admin listener of a daemon can be asked: from what a person typed, or from the settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import attrs

from regproxy.config.defaults import folder
from regproxy.config.endpoints import Endpoint, endpoint
from regproxy.config.errors import Unfit, printable
from regproxy.settings import Settings

UNIT_SOCKET = Path("/run/regproxy/admin.sock")
"""Where the unit file of the source tree has it; the variable is set for the daemon only."""

_KINDS = ("unix:", "tcp:", "tcp6:", "ssl:", "systemd:", "haproxy:")
_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?/?", re.ASCII)
_EVERYWHERE = ("", "0.0.0.0", "::")
_FORM = "expected http://HOST:PORT, the path of a socket, or a description such as unix:PATH or tcp:PORT"


@attrs.frozen(slots=True)
class Address:
    """A unix socket at ``path``, else a port of a host. ``pinned``: TLS by this very certificate."""

    path: Path | None = None
    host: str = "localhost"
    port: int = 0
    tls: bool = False
    pinned: Path | None = None

    def __str__(self) -> str:
        """On one line, for messages."""
        return printable(str(self.path)) if self.path is not None else self.netloc

    @property
    def netloc(self) -> str:
        """What the Host header says."""
        if self.path is not None:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """From a URL, a path or a listener's description; :exc:`Unfit` says what would be right."""
    if "://" in text:
        return _from_url(text)
    if text.startswith(_KINDS):
        return _from_description(text)
    if not text or "\0" in text or ("/" not in text and ":" in text):
        raise Unfit(_FORM)
    return Address(Path(text))


def _from_url(text: str) -> Address:
    found = _URL.fullmatch(text)
    if found is None:
        raise Unfit("expected http://HOST:PORT, without path, user or password")
    tls = found[1] == "https"
    port = int(found[3] or (443 if tls else 80))
    if not 0 < port < 65536:
        raise Unfit("expected a port from 1 to 65535")
    return Address(host=found[2].strip("[]"), port=port, tls=tls)


def _from_description(text: str) -> Address:
    found = Endpoint.parse(endpoint(text))
    if found.wrapped or found.kind == "systemd":
        raise Unfit("behind haproxy: or systemd: it has no address that can be told from here")
    if found.kind == "unix":
        return Address(Path(found.get("address") or ""))
    if not int(found.get("port") or 0):
        raise Unfit("port 0 is any port: its number is in the daemon's first line in the log")
    interface = found.get("interface") or ""
    loopback = "::1" if found.kind == "tcp6" or interface == "::" else "127.0.0.1"
    return Address(
        host=loopback if interface in _EVERYWHERE else interface,
        port=int(found.get("port") or 0),
        tls=found.kind == "ssl",
        pinned=_certificate(found),
    )


def _certificate(found: Endpoint) -> Path | None:
    if found.kind != "ssl":
        return None
    return Path(found.get("certKey") or found.get("privateKey") or "")


def addresses(settings: Settings, environ: Mapping[str, str]) -> tuple[Address, ...]:
    """The admin listeners that can be asked from here, sockets first; none, when there is none."""
    found = []
    for description in settings.admin:
        try:
            found.append(parse_address(description))
        except Unfit:
            continue
    if not settings.admin_written and folder(environ, "RUNTIME_DIRECTORY") is None:
        found.append(Address(UNIT_SOCKET))
    return tuple(sorted(dict.fromkeys(found), key=lambda address: address.path is None))
