"""Who may ask and how much of this machine that takes, and what is written about it."""

from __future__ import annotations

from pathlib import Path

from regproxy.config import values
from regproxy.config.setting import Group, Setting
from regproxy.settings import Network

NETWORKS: Setting[Network] = Setting(
    "access",
    "networks",
    values.network,
    "the networks whose addresses may ask",
    default="127.0.0.0/8, ::1/128, 169.254.0.0/16, fe80::/10, "
    "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7",
    many=True,
)
TRUSTED_PROXIES: Setting[Network] = Setting(
    "access",
    "trusted_proxies",
    values.network,
    "the proxies in front whose X-Forwarded-For and X-Forwarded-Proto are believed, and from which "
    "haproxy: listeners take connections",
    default="[]",
    example="[10.0.0.5, 10.0.0.6]",
    many=True,
)
HTPASSWD: Setting[Path] = Setting(
    "access",
    "htpasswd",
    values.file_path,
    "a file of users and bcrypt hashes, as htpasswd -B writes it; read again when it changes",
    computed="no passwords are asked for",
    example="/etc/regproxy/htpasswd",
)
ANONYMOUS: Setting[bool] = Setting(
    "access",
    "anonymous",
    values.flag,
    "whether clients that do not say who they are may use the upstreams that are not for users only",
    computed="false where clients can say it (htpasswd, tokens, clientCA of a listener), else true",
    example="true",
)
CATALOG: Setting[bool] = Setting(
    "access",
    "catalog",
    values.flag,
    "whether /v2/_catalog lists the repositories that are on disk, those that the client may pull",
    default="false",
)
TRACE: Setting[Network] = Setting(
    "access",
    "trace",
    values.network,
    "the networks of operators, who get X-Regproxy-Trace with an answer where the request has "
    "X-Regproxy-Trace: 1: what was decided for it, by which line of this file, and how its upstream stands",
    default="[]",
    example="[10.0.9.0/24]",
    many=True,
)
ISSUER: Setting[str] = Setting(
    "tokens", "issuer", values.some_text, "who signs them; needed", example="https://auth.corp.example"
)
AUDIENCE: Setting[str] = Setting(
    "tokens",
    "audience",
    values.some_text,
    "for whom they must be, which clients are told as service; needed",
    example="mirror.corp.example",
)
KEYS_FILE: Setting[Path] = Setting(
    "tokens",
    "keys_file",
    values.file_path,
    "the issuer's public keys (RSA, EC P-256, Ed25519) as a JWK set or PEM, certificates too; read again "
    "when it changes; needed",
    example="/etc/regproxy/token-keys.json",
)
REALM: Setting[str] = Setting(
    "tokens",
    "realm",
    values.address,
    "the URL where clients get one",
    computed="they are not told",
    example="https://auth.corp.example/token",
)
LOG_FORMAT: Setting[str] = Setting(
    "log", "format", values.choice("text", "json"), "text or json", default="text"
)
LOG_ACCESS: Setting[str] = Setting(
    "log",
    "access",
    values.some_text,
    "where a line for each request goes: a file, - (standard output) or off",
    default="-",
)
CONNECTIONS: Setting[int] = Setting(
    "limits",
    "connections",
    values.count,
    "how many clients may be connected at once; each further one is told so (503) and closed. Half of the "
    "limit of open files must be enough for them, or fewer are let in, with a warning",
    default="20000",
)
PER_ADDRESS: Setting[int | None] = Setting(
    "limits",
    "per_address",
    values.count_or_off,
    "how many of one address, an IPv6 address being all of its /64; nodes behind one address translation "
    "are one address",
    default="off",
)
HEADER: Setting[float] = Setting(
    "limits",
    "header",
    values.some_time,
    "how long a client may take for the whole of a request, from when it connects or the request begins",
    default="30s",
)
IDLE: Setting[float] = Setting(
    "limits",
    "idle",
    values.some_time,
    "how long a connection is kept open between requests",
    default="120s",
)
SLOW_READER: Setting[int | None] = Setting(
    "limits",
    "slow_reader",
    values.rate_or_off,
    "a client that takes less than this of an answer, on average over two minutes, is cut off",
    default="1 KiB/s",
)
REQUEST_LINE: Setting[int] = Setting(
    "limits", "request_line", values.head_size, "the longest first line of a request", default="8 KiB"
)
HEADER_SIZE: Setting[int] = Setting(
    "limits",
    "header_size",
    values.head_size,
    "the largest head of a request, that line included",
    default="16 KiB",
)

LOG = Group("", "log", "log", "what is written about what happens")
ACCESS = Group("", "access", "access", "who may ask")
TOKENS = Group(
    "access", "tokens", "tokens", "bearer tokens of distribution's form, which a token server of yours signs"
)
LIMITS = Group("", "limits", "limits", "what clients may take up")

TABLE: tuple[Setting[object], ...] = (
    LOG_FORMAT,
    LOG_ACCESS,
    NETWORKS,
    TRUSTED_PROXIES,
    HTPASSWD,
    ANONYMOUS,
    CATALOG,
    TRACE,
    ISSUER,
    AUDIENCE,
    KEYS_FILE,
    REALM,
    CONNECTIONS,
    PER_ADDRESS,
    HEADER,
    IDLE,
    SLOW_READER,
    REQUEST_LINE,
    HEADER_SIZE,
)
"""In the order of the reference file."""
GROUPS = (
    LOG,
    ACCESS,
    TOKENS,
    LIMITS,
)
