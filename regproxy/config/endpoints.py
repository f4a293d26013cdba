"""Twisted endpoint descriptions, checked without touching a reactor. Pure.

``tcp6:5000:interface=\\:\\:1`` is a kind, then arguments apart by colons, by position or by name;
a backslash takes a colon's (or another backslash's) meaning away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

import attrs

from regproxy.config.errors import Unfit

_KINDS: Mapping[str, tuple[str, ...]] = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "backlog", "interface"),
    "ssl": (
        "port",
        "privateKey",
        "certKey",
        "interface",
        "backlog",
        "extraCertChain",
        "dhParameters",
        "clientCA",
        "clientCertificate",
    ),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "systemd": ("domain", "index", "name"),
}
TLS_FILES = ("privateKey", "certKey", "extraCertChain", "dhParameters", "clientCA")
"""The arguments of ``ssl`` that name a file."""
_PATHS = (*TLS_FILES, "address")
_MAX_SOCKET_BYTES = 107


@attrs.frozen(slots=True)
class Endpoint:
    """A description, taken apart. ``wrapped``: behind ``haproxy:``."""

    kind: str
    arguments: tuple[tuple[str, str], ...]
    wrapped: bool = False

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Take a description apart; :exc:`Unfit` says what it should look like."""
        inner = text.removeprefix("haproxy:")
        kind, *rest = _split(inner)
        if kind not in _KINDS:
            raise Unfit(
                "expected tcp6:PORT, tcp:PORT:interface=ADDRESS, ssl:, unix:PATH, systemd: or haproxy:"
            )
        return cls(kind, tuple(_named(kind, rest)), inner != text)

    def get(self, name: str) -> str | None:
        """The argument of this name."""
        return dict(self.arguments).get(name)

    @property
    def open_to_all(self) -> bool:
        """Whether every user of the machine may open it: a unix socket whose written mode says so."""
        return self.kind == "unix" and bool(int(self.get("mode") or "0", 8) & 0o002)

    def below(self, folder: Path) -> Endpoint:
        """The same with its paths made absolute, from ``folder``."""
        return attrs.evolve(
            self,
            arguments=tuple(
                (name, str(folder / value) if name in _PATHS else value) for name, value in self.arguments
            ),
        )

    @property
    def asks(self) -> bool:
        """Whether clients are asked for a certificate, which says who they are."""
        return bool(self.get("clientCA"))

    def for_operators(self) -> Endpoint:
        """The same, a socket closed to other users unless its mode says otherwise: 0666 is Twisted's."""
        if self.kind != "unix" or self.get("mode") is not None:
            return self
        return attrs.evolve(self, arguments=(*self.arguments, ("mode", "660")))

    def __str__(self) -> str:
        parts = [
            escape(value) if name in ("port", "address") else f"{name}={escape(value)}"
            for name, value in sorted(self.arguments, key=lambda named: named[0] not in ("port", "address"))
        ]
        return ":".join([*(["haproxy"] if self.wrapped else []), self.kind, *parts])


def escape(text: str) -> str:
    """``text`` as an argument of a description."""
    return text.replace("\\", "\\\\").replace(":", "\\:").replace("=", "\\=")


def _split(text: str) -> list[str]:
    """The parts between unescaped colons, escapes kept."""
    parts, escaped = [""], False
    for sign in text:
        if sign == ":" and not escaped:
            parts.append("")
            continue
        parts[-1] += sign
        escaped = sign == "\\" and not escaped
    if escaped:
        raise Unfit("expected something after the backslash")
    return parts


def _bare(text: str) -> str:
    signs = iter(text)
    return "".join(next(signs) if sign == "\\" else sign for sign in signs)


def _named(kind: str, parts: list[str]) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for position, part in enumerate(parts):
        name, value = _argument(kind, position, part)
        if name not in _KINDS[kind]:
            raise Unfit(f"{kind}: takes {', '.join(_KINDS[kind])} only")
        if name in found:
            raise Unfit(f"{name} is given twice")
        found[name] = value
    return list(found.items())


def _argument(kind: str, position: int, part: str) -> tuple[str, str]:
    escaped = False
    for at, sign in enumerate(part):
        if sign == "=" and not escaped:
            return _bare(part[:at]), _bare(part[at + 1 :])
        escaped = sign == "\\" and not escaped
    names = _KINDS[kind]
    if position >= len(names):
        raise Unfit(f"{kind}: takes {', '.join(names)} only; a colon within a value is written \\:")
    return names[position], _bare(part)


def endpoint(text: str) -> str:
    """A description that Twisted will take, as it was written."""
    found = Endpoint.parse(text)
    _check_numbers(found)
    if found.kind in ("tcp", "tcp6", "ssl"):
        _check_port(found)
        _check_interface(found)
    elif found.kind == "unix":
        _check_socket(found)
    else:
        _check_inherited(found)
    if found.kind == "ssl":
        _check_files(found)
    return text


def _check_files(found: Endpoint) -> None:
    if not found.get("privateKey"):
        raise Unfit("expected ssl:PORT:privateKey=FILE:certKey=FILE")
    wanted = found.get("clientCertificate")
    if wanted is not None and (wanted not in ("required", "optional") or not found.get("clientCA")):
        raise Unfit("expected clientCA=FILE:clientCertificate=required, or =optional")


def _check_numbers(found: Endpoint) -> None:
    for name in ("backlog", "index", "lockfile"):
        number = found.get(name)
        if number is not None and re.fullmatch("[0-9]{1,6}", number) is None:
            raise Unfit(f"expected a number after {name}=")


def _check_port(found: Endpoint) -> None:
    port = found.get("port") or ""
    if re.fullmatch("[0-9]{1,5}", port) is None or int(port) > 65535:
        raise Unfit(f"expected {found.kind}:PORT with a port from 0 to 65535")


def _check_interface(found: Endpoint) -> None:
    interface = found.get("interface")
    if interface is None:
        return
    try:
        version = ip_address(interface.partition("%")[0]).version
    except ValueError:
        raise Unfit("expected an address after interface=, an IPv6 one as \\:\\:1") from None
    if found.kind == "tcp6" and version == 4:
        raise Unfit("tcp6: takes an IPv6 address after interface=; for an IPv4 one write tcp:")


def _check_inherited(found: Endpoint) -> None:
    by_index, by_name = found.get("index") is not None, found.get("name") is not None
    if found.get("domain") not in ("INET", "INET6", "UNIX") or by_index == by_name:
        raise Unfit("expected systemd:domain=INET6:index=0, or name=NAME instead of index=")


def _check_socket(found: Endpoint) -> None:
    address, mode = found.get("address") or "", found.get("mode")
    if not address or len(address.encode()) > _MAX_SOCKET_BYTES:
        raise Unfit(f"expected unix:PATH with a path of at most {_MAX_SOCKET_BYTES} bytes")
    if mode is not None and re.fullmatch("[0-7]{1,4}", mode) is None:
        raise Unfit("expected mode= with an octal number such as 660")
