"""How a file in distribution's form asks clients who they are: ``auth`` and ``http.tls.clientcas``."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from regproxy.config.nodes import Entry, Scalar, Sequence
from regproxy.config.section import Report
from regproxy.config.upstreams import count_certificates, unreadable
from regproxy.settings import AccessSettings, TokenSettings

_WAYS = (("auth", "htpasswd"), ("auth", "token"), ("http", "tls", "clientcas"))


class Asked(Protocol):
    """A file that is asked by path."""

    report: Report

    def entry(self, *path: str) -> Entry | None:
        """What stands there."""

    def has(self, *path: str) -> bool:
        """Whether something does."""

    def text(self, *path: str) -> str:
        """The single value there, empty without one."""

    def wrong(self, message: str, *path: str) -> None:
        """Note a fault."""


def read_access(old: Asked) -> AccessSettings:
    """Clients that were asked who they are are asked here too."""
    users = _file(old, "auth", "htpasswd", "path") if old.has("auth", "htpasswd") else None
    tokens = _tokens(old) if old.has("auth", "token") else None
    return AccessSettings(htpasswd=users, tokens=tokens, anonymous=not asks(old))


def asks(old: Asked) -> bool:
    """Whether it asks clients who they are, in a way that we have."""
    return any(old.has(*path) for path in _WAYS)


def _tokens(old: Asked) -> TokenSettings | None:
    keys = _file(old, "auth", "token", "jwks" if old.has("auth", "token", "jwks") else "rootcertbundle")
    issuer, service, realm = (old.text("auth", "token", key) for key in ("issuer", "service", "realm"))
    if not issuer or not service:
        old.wrong("issuer and service are needed", "auth", "token")
    return TokenSettings(issuer, service, keys, realm or None)


def _file(old: Asked, *path: str) -> Path:
    found = old.report.folder / old.text(*path)
    reason = unreadable(found) if old.has(*path) else "it is missing"
    if reason:
        old.wrong(f"expected a file that can be read: {reason}", *path)
    return found


def authority(old: Asked) -> tuple[tuple[str, str], ...]:
    """The file of the authorities that clients' certificates must be of."""
    entry = old.entry("http", "tls", "clientcas")
    if entry is None or not old.has("http", "tls", "clientcas"):
        return ()
    items = entry.value.items if isinstance(entry.value, Sequence) else ()
    if len(items) != 1 or not isinstance(items[0], Scalar):
        old.wrong("expected a list of one file: put all authorities into it", "http", "tls", "clientcas")
        return ()
    path = old.report.folder / items[0].text
    if not count_certificates(path):
        reason = unreadable(path) or "no PEM certificate in it"
        old.wrong(f"expected a PEM file with certificates: {reason}", "http", "tls", "clientcas")
    return (("clientCA", str(path)),)
