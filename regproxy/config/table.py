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
ADMIN_TOKEN_FILE: Setting[Path] = Setting(
    "",
    "admin_token_file",
    file_path,
    "a file that only the daemon's user and group can read, whose first line is the operators' token (32 "
    "signs at least): who sends it may change things by way of admin listeners on TCP too, where else "
    "nothing is changed. It is read at each use",
    computed="none: only who may open the admin unix socket changes anything",
    example="/etc/regproxy/admin.token",
)
ADMIN_HOSTS: Setting[str] = Setting(
    "",
    "admin_hosts",
    values.host_name,
    "names, beside localhost and their own addresses, that operators with the token reach these listeners by",
    default="[]",
    example="[mirror.corp.example]",
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
    values.between(1, 16),
    "over how many connections a large blob may come, where its upstream serves ranges and one is slower "
    "than the line; 1 for one connection each",
    default="4",
)
CONNECTIONS_PER_UPSTREAM: Setting[int] = Setting(
    "fill",
    "connections_per_upstream",
    values.between(1, 1024),
    "how many of them to one upstream in all; what a client waits for has its first connection in any case",
    default="16",
)
AHEAD: Setting[int] = Setting(
    "fill",
    "ahead",
    values.between(0, 64),
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
    file_path,
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
    file_path,
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
    "whether its name may stand in front of the repository's, behind /v2/ or before it; a name that is no "
    "host name needs it written",
    default="true",
)
HOSTS: Setting[str] = Setting(
    "upstream",
    "hosts",
    values.host,
    "names of this mirror that mean the upstream: what is asked for by such a Host is its, no prefix "
    "needed. One without a port counts at any port",
    default="[]",
    example="[corp.mirror.example]",
    many=True,
)
UPSTREAM_LISTEN: Setting[str] = Setting(
    "upstream",
    "listen",
    endpoint,
    "listeners beside those of all whose requests all mean the upstream, for clients that can name "
    "nothing but a host and a port",
    default="[]",
    example="[tcp6:5002]",
    many=True,
)
PUBLIC: Setting[bool] = Setting(
    "upstream",
    "public",
    values.flag,
    "what its credentials may pull is for everyone whom access lets in; without it they are for clients "
    "that are known only",
    default="false",
    example="true",
)
INSECURE: Setting[bool] = Setting(
    "upstream",
    "insecure",
    values.flag,
    "allow http:// in its endpoints, token_realms and redirects, credentials included. Certificates of "
    "https:// are verified all the same",
    default="false",
)
PRIVATE: Setting[bool] = Setting(
    "upstream",
    "private",
    values.flag,
    "it may send us (redirects, token servers) to private and loopback addresses, and its own name may be "
    "one of this machine. Without it only an endpoint that is at such an address itself may, and only to "
    "the same kind. Link-local and metadata addresses are never asked",
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
CERT: Setting[Path] = Setting(
    "client_cert",
    "cert",
    file_path,
    "a PEM file with the certificate, then the chain above it if there is one",
    example="/etc/regproxy/corp.crt",
)
KEY: Setting[Path] = Setting(
    "client_cert",
    "key",
    file_path,
    "a PEM file with its key, without a passphrase",
    example="/etc/regproxy/corp.key",
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
ALLOW: Setting[str] = Setting(
    "upstream",
    "allow",
    values.repositories,
    "the repositories that are served: * stands within a component of the name, ** for any number of "
    "components",
    computed="all of them",
    example="[team-a/**, library/*]",
    many=True,
)
DENY: Setting[str] = Setting(
    "upstream",
    "deny",
    values.repositories,
    "the repositories that are not, whatever allow says",
    default="[]",
    example='["**/secret-*"]',
    many=True,
)
USERS: Setting[str] = Setting(
    "upstream",
    "users",
    values.names,
    "the clients that may use it, by name, * within it: a user of htpasswd, the subject of a token, the "
    "common name of a certificate; password:, token: or certificate: before it takes only those",
    computed="everyone whom access lets in; with credentials and without public, every client that is known",
    example='[alice, "certificate:node-*"]',
    many=True,
)
BANDWIDTH: Setting[int | None] = Setting(
    "upstream",
    "bandwidth",
    values.rate_or_off,
    "what all blobs from it may take together, such as 20 MiB/s; nobody is refused, all get slower",
    default="off",
    example="20 MiB/s",
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
    ADMIN_TOKEN_FILE,
    ADMIN_HOSTS,
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
    TRUSTED_PROXIES,
    HTPASSWD,
    ANONYMOUS,
    CATALOG,
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
    ENDPOINTS,
    DEFAULT,
    PREFIX,
    HOSTS,
    UPSTREAM_LISTEN,
    PUBLIC,
    INSECURE,
    PRIVATE,
    USERNAME,
    PASSWORD,
    PASSWORD_FILE,
    CA,
    CERT,
    KEY,
    TOKEN_REALMS,
    ALLOW,
    DENY,
    USERS,
    BANDWIDTH,
    UPSTREAM_TTL,
)
"""In the order of the reference file."""

STORAGE = Group("", "storage", "storage", "where content lies and how much of it")
TAGS = Group("", "tags", "tag", "how long tags are believed; a list with one rule so far")
FILL = Group("", "fill", "fill", "how blobs are fetched")
LOG = Group("", "log", "log", "what is written about what happens")
ACCESS = Group("", "access", "access", "who may ask")
TOKENS = Group(
    "access", "tokens", "tokens", "bearer tokens of distribution's form, which a token server of yours signs"
)
LIMITS = Group("", "limits", "limits", "what clients may take up")
UPSTREAMS = Group("", "upstreams", "upstream", "the registries behind this one, by name; a closed world")
CREDENTIALS = Group("upstream", "credentials", "credentials", "how to log in there")
CLIENT_CERT = Group(
    "upstream",
    "client_cert",
    "client_cert",
    "who we are to its servers when they ask in TLS: shown to its endpoints and token_realms only; needs "
    "public, as credentials do. The files, and ca, are read anew when they change",
)
UPSTREAM_TAGS = Group("upstream", "tags", "tag", "as the tags of all, for its tags; comes before them")

GROUPS = (
    STORAGE,
    TAGS,
    FILL,
    LOG,
    ACCESS,
    TOKENS,
    LIMITS,
    UPSTREAMS,
    CREDENTIALS,
    CLIENT_CERT,
    UPSTREAM_TAGS,
)

LATER: dict[str, tuple[str, ...]] = {
    "": (),
    "fill": ("abandon",),
    "storage": ("low_water",),
    "tag": ("grace",),
    "access": (),
    "log": (),
    "upstream": ("proxy", "offline"),
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
