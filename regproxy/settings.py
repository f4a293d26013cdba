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
from regproxy.oci.images import ImagePattern

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
    """How long a tag that ``match`` names is believed. First match wins; ``*`` matches all.

    After ``fresh_s``, for ``grace_s``, it is served at once and asked about behind. ``keep_missing``: a
    tag that its upstream has no more stays, as stale; ``serve_denied``: so does one whose upstream
    refuses us.
    """

    match: str = "*"
    fresh_s: float = 60.0
    revalidate_wait_s: float = 2.0
    stale_if_error_s: float = 30 * DAY_S
    grace_s: float = 0.0
    keep_missing: bool = False
    serve_denied: bool = False
    line: int = 0
    """Where the settings file has it; 0: built in."""


@attrs.frozen(slots=True)
class Credentials:
    """A user name and a password, or a file whose first line is the password, read when needed."""

    username: str
    password: str | None = attrs.field(default=None, repr=False)
    password_file: Path | None = None


@attrs.frozen(slots=True)
class Quirks:
    """In what the API of a registry differs from the specification, as far as we ask it otherwise."""

    blob_heads: bool = True
    """HEAD of a blob is answered; else a size comes from a GET that ends after its headers (P15)."""
    ended_token: int | None = None
    """The status, beside 401, that says that a token is not good any more: without any challenge."""
    one_realm: bool = False
    """Only the first realm gives tokens to everybody: challenges to a refused token name another."""


@attrs.frozen(slots=True)
class ClientCertificate:
    """Who we are to a TLS server that asks: PEM files, read anew when they change."""

    cert: Path
    key: Path


@attrs.frozen(slots=True)
class Pattern:
    """A line of ``allow``, ``deny`` or ``users``: a glob and the line of the file that it stands on."""

    glob: str
    line: int = 0


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
    private: bool = False
    """It may send us to private and loopback addresses, wherever it is itself."""
    ca: Path | None = None
    client_cert: ClientCertificate | None = None
    token_realms: tuple[Origin, ...] = ()
    library: bool = False
    """One-component names get ``library/`` in front, as on Docker Hub (R83)."""
    aliases: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    """Lower-case names of this mirror that mean the upstream when they are a request's Host; one
    without a port does so at any port."""
    listen: tuple[str, ...] = ()
    """Endpoint descriptions whose requests all mean the upstream."""
    quirks: Quirks = Quirks()
    bandwidth_bytes_s: int | None = None
    """What all blobs from it may take together; None: as much as there is."""
    tags: tuple[TagRule, ...] = ()
    offline: bool = False
    """It is never asked: what is cached is served."""
    ttl_s: float | None = 7 * DAY_S
    allow: tuple[Pattern, ...] = ()
    """The repositories that are served; none written: all of them."""
    deny: tuple[Pattern, ...] = ()
    """The repositories that are not, whatever ``allow`` says."""
    users: tuple[Pattern, ...] = ()
    """The identities that may use it; none written: everyone whom ``access`` lets in."""

    @property
    def guarded(self) -> bool:
        """Whether its content is for clients that have an identity only (invariant 5, P19)."""
        ours = self.credentials is not None or self.client_cert is not None
        return bool(self.users) or (ours and not self.public)


@attrs.frozen(slots=True)
class StorageSettings:
    """Where content lies and how much of it. ``max_size_bytes`` None: no limit.

    ``min_free_bytes`` None: the smaller of 5 GiB and 5 % of the disk. ``low_water``: what goes for the
    sake of ``max_size`` goes down to that part of it.
    """

    root: Path
    max_size_bytes: int | None = None
    min_free_bytes: int | None = None
    low_water: float = 0.9


@attrs.frozen(slots=True)
class TokenSettings:
    """Whose bearer tokens are believed: signed by a key of ``keys_file``, by ``issuer`` for ``audience``.

    ``realm`` is where clients are told to get one; None: they are not told.
    """

    issuer: str
    audience: str
    keys_file: Path
    realm: str | None = None


@attrs.frozen(slots=True)
class AccessSettings:
    """Who may ask: addresses in ``networks``, with an identity unless ``anonymous``.

    ``trusted_proxies`` are the peers whose word counts for a client's address. ``catalog``: whether
    ``/v2/_catalog`` is answered.
    """

    networks: tuple[Network, ...] = LOCAL_NETWORKS
    trusted_proxies: tuple[Network, ...] = ()
    htpasswd: Path | None = None
    tokens: TokenSettings | None = None
    anonymous: bool = True
    catalog: bool = False

    @property
    def asks(self) -> bool:
        """Whether an ``Authorization`` header means anything here (P20, R71)."""
        return self.htpasswd is not None or self.tokens is not None


@attrs.frozen(slots=True)
class LimitSettings:
    """What clients may take up. None: no limit.

    ``connections`` in all and ``per_address`` (an IPv6 address counts as its /64). ``header_s``: a
    request must be whole in that time; ``idle_s``: a connection without one is closed after it.
    ``slow_reader_bytes_s``: a client that has something to take must take so much of it, on average.
    """

    connections: int = 20_000
    per_address: int | None = None
    header_s: float = 30.0
    idle_s: float = 120.0
    slow_reader_bytes_s: int | None = 1024
    request_line_bytes: int = 8192
    header_bytes: int = 16_384


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
    pins: tuple[ImagePattern, ...] = ()
    """Images that neither age nor want of space removes."""
    access: AccessSettings = AccessSettings()
    log: LogSettings = LogSettings()
    limits: LimitSettings = LimitSettings()
    fill: FillSettings = FillSettings()
    admin_written: bool = False
    """Whether the file names ``admin``: a written one that cannot be had stops the start."""
    admin_token_file: Path | None = None
    """The operators' token for admin listeners on TCP; None: nothing is changed by way of these."""
    admin_hosts: tuple[str, ...] = ()
    """Names, in lower case, that operators reach the admin listeners on TCP by."""
    source: Path | None = None
    """The file these were read from; None for the built-in ones."""
    warnings: tuple[str, ...] = ()
    """What the file says that we understand but do not follow, a line each, for the log."""

    @property
    def all_listen(self) -> tuple[str, ...]:
        """The endpoints that clients come in by: those of all upstreams, then those of one."""
        return (*self.listen, *(each for upstream in self.upstreams for each in upstream.listen))
