"""Every setting, declared once: its place, how it is read, its default, what it is for.

The reader, the reference file ``etc/regproxy.yml`` and the table for the documentation come from
these declarations or are held against them by a test. The records' own defaults in
``regproxy.settings`` are held against them too.
"""

from __future__ import annotations

from pathlib import Path

from regproxy.config import values
from regproxy.config.endpoints import endpoint
from regproxy.config.errors import Unfit
from regproxy.config.setting import Group, Setting
from regproxy.headers.origins import Origin
from regproxy.settings import Network


def file_path(text: str) -> Path:
    """A path; the reader makes it absolute, from the folder of the settings file."""
    if text.startswith("~"):
        raise Unfit("expected a path; ~ has no meaning here, write the folder out")
    return Path(values.some_text(text))


LISTEN: Setting[str] = Setting(
    "",
    "listen",
    endpoint,
    "where clients are served, as Twisted endpoint descriptions: tcp6: (both families), tcp:, ssl:, "
    "unix:, systemd:, haproxy:",
    computed="tcp6:5000; tcp:5000 where the kernel has no IPv6",
    example="[tcp6:5000]",
    many=True,
)
ADMIN: Setting[str] = Setting(
    "",
    "admin",
    endpoint,
    "where operators are served: a unix socket (mode=660 unless said), or a port of the inside such as "
    "tcp:5001:interface=127.0.0.1. One that is written here and cannot be had stops the start, a default "
    "one is a warning; [] for none",
    computed="unix:$RUNTIME_DIRECTORY/admin.sock:mode=660, else admin.sock in storage.root; and "
    "tcp:5001:interface=127.0.0.1",
    example='["unix:/run/regproxy/admin.sock:mode=660", tcp:5001:interface=127.0.0.1]',
    many=True,
)
TTL: Setting[float | None] = Setting(
    "",
    "ttl",
    values.lifetime,
    "how long content is kept after its last use; never: until the space is needed",
    default="7d",
)
ROOT: Setting[Path] = Setting(
    "storage",
    "root",
    file_path,
    "the folder that holds everything",
    computed="the first of $STATE_DIRECTORY, /var/lib/regproxy, ${XDG_STATE_HOME:-~/.local/state}/regproxy "
    "that exists, else the first that can be made",
    example="/var/lib/regproxy",
)
MAX_SIZE: Setting[int] = Setting(
    "storage",
    "max_size",
    values.some_size,
    "what the content may take",
    computed="no limit",
    example="200 GiB",
)
MIN_FREE: Setting[int] = Setting(
    "storage",
    "min_free",
    values.size,
    "what is to stay free on its disk",
    computed="the smaller of 5 GiB and 5 % of the disk",
    example="5 GiB",
)
CONNECTIONS_PER_BLOB: Setting[int] = Setting(
    "fill",
    "connections_per_blob",
    values.count(1, 16),
    "over how many connections a large blob may come, where its upstream serves ranges and one is slower "
    "than the line; 1 for one connection each",
    default="4",
)
CONNECTIONS_PER_UPSTREAM: Setting[int] = Setting(
    "fill",
    "connections_per_upstream",
    values.count(1, 1024),
    "how many of them to one upstream in all; what a client waits for has its first connection in any case",
    default="16",
)
AHEAD: Setting[int] = Setting(
    "fill",
    "ahead",
    values.count(0, 64),
    "how many layers of an image are fetched before they are asked for, beside one that is; 0 for none",
    default="3",
)
MATCH: Setting[str] = Setting(
    "tag", "match", values.match, 'which tags the rule is for; only "*", all of them, so far', default="*"
)
FRESH: Setting[float] = Setting(
    "tag",
    "fresh",
    values.duration,
    "how long a tag is believed before its upstream is asked again",
    default="1m",
)
REVALIDATE_WAIT: Setting[float] = Setting(
    "tag",
    "revalidate_wait",
    values.duration,
    "how long a client waits for that answer while there is a cached one",
    default="2s",
)
STALE_IF_ERROR: Setting[float] = Setting(
    "tag",
    "stale_if_error",
    values.duration,
    "how long a tag is served, with a warning, while its upstream is in trouble",
    default="30d",
)
NETWORKS: Setting[Network] = Setting(
    "access",
    "networks",
    values.network,
    "the networks whose addresses may ask",
    default="127.0.0.0/8, ::1/128, 169.254.0.0/16, fe80::/10, "
    "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7",
    many=True,
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
ENDPOINTS: Setting[Origin] = Setting(
    "upstream",
    "endpoints",
    values.origin,
    "base URLs without path, in order of preference",
    computed="https://NAME; the API host of a well-known registry",
    example="[https://a.corp.example, https://b.corp.example]",
    many=True,
)
DEFAULT: Setting[bool] = Setting(
    "upstream",
    "default",
    values.flag,
    "takes the requests that name no registry; at most one. None written: docker.io, or the only upstream",
    default="false",
)
PREFIX: Setting[bool] = Setting(
    "upstream",
    "prefix",
    values.flag,
    "whether its name may stand in front of the repository's; a name that is no host name needs it written",
    default="true",
)
PUBLIC: Setting[bool] = Setting(
    "upstream",
    "public",
    values.flag,
    "what its credentials may pull is for everyone whom access lets in; credentials need it",
    default="false",
    example="true",
)
INSECURE: Setting[bool] = Setting(
    "upstream",
    "insecure",
    values.flag,
    "allow http:// in its endpoints and token_realms, credentials included",
    default="false",
)
CA: Setting[Path] = Setting(
    "upstream",
    "ca",
    file_path,
    "a PEM file with the authorities to trust for it",
    computed="the system's authorities",
    example="/etc/ssl/corp.pem",
)
TOKEN_REALMS: Setting[Origin] = Setting(
    "upstream",
    "token_realms",
    values.origin,
    "token servers, beside its own, that its credentials may go to",
    default="[]",
    example="[https://auth.corp.example]",
    many=True,
)
UPSTREAM_TTL: Setting[float | None] = Setting(
    "upstream",
    "ttl",
    values.lifetime,
    "as the ttl of all, for its content",
    computed="the ttl of all",
    example="30d",
)
USERNAME: Setting[str] = Setting(
    "credentials", "username", values.user_name, "who we are to it; needed", example="mirror"
)
PASSWORD: Setting[str] = Setting(
    "credentials",
    "password",
    values.some_text,
    "the password itself; better in a file of its own",
    example="'...'",
)
PASSWORD_FILE: Setting[Path] = Setting(
    "credentials",
    "password_file",
    file_path,
    "a file whose first line is the password, read when it is needed",
    example="/etc/regproxy/corp.password",
)

TABLE: tuple[Setting[object], ...] = (
    LISTEN,
    ADMIN,
    ROOT,
    MAX_SIZE,
    MIN_FREE,
    TTL,
    MATCH,
    FRESH,
    REVALIDATE_WAIT,
    STALE_IF_ERROR,
    CONNECTIONS_PER_BLOB,
    CONNECTIONS_PER_UPSTREAM,
    AHEAD,
    LOG_FORMAT,
    LOG_ACCESS,
    NETWORKS,
    ENDPOINTS,
    DEFAULT,
    PREFIX,
    PUBLIC,
    INSECURE,
    USERNAME,
    PASSWORD,
    PASSWORD_FILE,
    CA,
    TOKEN_REALMS,
    UPSTREAM_TTL,
)
"""In the order of the reference file."""

STORAGE = Group("", "storage", "storage", "where content lies and how much of it")
TAGS = Group("", "tags", "tag", "how long tags are believed; a list with one rule so far")
FILL = Group("", "fill", "fill", "how blobs are fetched")
LOG = Group("", "log", "log", "what is written about what happens")
ACCESS = Group("", "access", "access", "who may ask")
UPSTREAMS = Group("", "upstreams", "upstream", "the registries behind this one, by name; a closed world")
CREDENTIALS = Group("upstream", "credentials", "credentials", "how to log in there")
UPSTREAM_TAGS = Group("upstream", "tags", "tag", "as the tags of all, for its tags; comes before them")

GROUPS = (STORAGE, TAGS, FILL, LOG, ACCESS, UPSTREAMS, CREDENTIALS, UPSTREAM_TAGS)

LATER: dict[str, tuple[str, ...]] = {
    "": ("limits",),
    "fill": ("abandon",),
    "storage": ("low_water",),
    "tag": ("grace",),
    "access": ("htpasswd", "trusted_proxies", "tokens"),
    "log": (),
    "upstream": ("proxy", "allow", "deny", "private", "client_cert", "offline"),
    "credentials": ("docker_config", "helper", "exec"),
}
"""Keys that are meant to come: not in this version, and never taken in silence."""


def keys_of(section: str) -> tuple[str, ...]:
    """The keys that ``section`` may have."""
    settings = [setting.key for setting in TABLE if setting.section == section]
    return (*settings, *(group.key for group in GROUPS if group.section == section))


def places() -> tuple[str, ...]:
    """Where every setting and section is written."""
    return (*(setting.place for setting in TABLE), *(group.place for group in GROUPS))
