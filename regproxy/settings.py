"""Settings as frozen records: one small record a room, so that each part gets only its own.

``config`` reads YAML into these; tests build them by hand. Durations are seconds (``_s``), sizes
bytes (``_bytes``); None is "no limit" or "never", as each field says.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TypeAlias

import attrs

from regproxy.headers.origins import Origin

Network: TypeAlias = IPv4Network | IPv6Network

DAY_S = 86_400.0

LOCAL_NETWORKS: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "127.0.0.0/8",
        "::1/128",
        "169.254.0.0/16",
        "fe80::/10",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "fc00::/7",
    )
)
"""Who may ask unless the settings say otherwise: loopback, link-local, RFC 1918, ULA."""


@attrs.frozen(slots=True)
class TagRule:
    """How long a tag that ``match`` names is believed. First match wins; ``*`` matches all."""

    match: str = "*"
    fresh_s: float = 60.0
    revalidate_wait_s: float = 2.0
    stale_if_error_s: float = 30 * DAY_S


@attrs.frozen(slots=True)
class Credentials:
    """A user name and a password, or a file whose first line is the password, read when needed."""

    username: str
    password: str | None = attrs.field(default=None, repr=False)
    password_file: Path | None = None


@attrs.frozen(slots=True)
class UpstreamSettings:
    """One upstream registry. ``endpoints`` are base URLs without path, in order of preference."""

    name: str
    endpoints: tuple[str, ...]
    default: bool = False
    prefix: bool = True
    public: bool = False
    insecure: bool = False
    credentials: Credentials | None = None
    ca: Path | None = None
    token_realms: tuple[Origin, ...] = ()
    library: bool = False
    """One-component names get ``library/`` in front, as on Docker Hub (R83)."""
    aliases: tuple[str, ...] = ()
    tags: tuple[TagRule, ...] = ()
    ttl_s: float | None = 7 * DAY_S


@attrs.frozen(slots=True)
class StorageSettings:
    """Where content lies and how much of it. ``max_size_bytes`` None: no limit."""

    root: Path
    max_size_bytes: int | None = None
    min_free_bytes: int | None = None


@attrs.frozen(slots=True)
class AccessSettings:
    """Who may ask: client addresses must be in one of ``networks``."""

    networks: tuple[Network, ...] = LOCAL_NETWORKS


@attrs.frozen(slots=True)
class FillSettings:
    """How blobs are fetched. Connections beside a blob's first one are bounded, the first never waits."""

    connections_per_blob: int = 4
    connections_per_upstream: int = 16
    ahead: int = 3
    """So many layers of an image, that nobody asked for yet, are fetched beside one that somebody did."""


@attrs.frozen(slots=True)
class LogSettings:
    """``format`` is ``text`` or ``json``; ``access`` a path, ``-`` (standard output) or ``off``."""

    format: str = "text"
    access: str = "-"


@attrs.frozen(slots=True)
class Settings:
    """Everything the settings file says, with defaults filled in and paths made absolute."""

    listen: tuple[str, ...]
    admin: tuple[str, ...]
    storage: StorageSettings
    upstreams: tuple[UpstreamSettings, ...]
    tags: tuple[TagRule, ...] = (TagRule(),)
    ttl_s: float | None = 7 * DAY_S
    access: AccessSettings = AccessSettings()
    log: LogSettings = LogSettings()
    fill: FillSettings = FillSettings()
    admin_written: bool = False
    """Whether the file names ``admin``: a written one that cannot be had stops the start."""
    source: Path | None = None
    """The file these were read from; None for the built-in ones."""
    warnings: tuple[str, ...] = ()
    """What the file says that we understand but do not follow, a line each, for the log."""
