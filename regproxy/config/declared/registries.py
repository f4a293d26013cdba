"""The registries behind this one: the sections ``upstreams.NAME``."""

from __future__ import annotations

from pathlib import Path

from regproxy.config import values
from regproxy.config.endpoints import endpoint
from regproxy.config.setting import Group, Setting
from regproxy.headers.origins import Origin

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
    values.file_path,
    "a PEM file with the authorities to trust for it",
    computed="the system's authorities",
    example="/etc/ssl/corp.pem",
)
CERT: Setting[Path] = Setting(
    "client_cert",
    "cert",
    values.file_path,
    "a PEM file with the certificate, then the chain above it if there is one",
    example="/etc/regproxy/corp.crt",
)
KEY: Setting[Path] = Setting(
    "client_cert",
    "key",
    values.file_path,
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
OFFLINE: Setting[bool] = Setting(
    "upstream",
    "offline",
    values.flag,
    "it is asked nothing, what is cached is served, and nothing of it expires; `regproxy offline NAME` does "
    "that to a running mirror",
    default="false",
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
    values.file_path,
    "a file whose first line is the password, read when it is needed",
    example="/etc/regproxy/corp.password",
)

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

TABLE: tuple[Setting[object], ...] = (
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
    OFFLINE,
    UPSTREAM_TTL,
)
"""In the order of the reference file."""
GROUPS = (
    UPSTREAMS,
    CREDENTIALS,
    CLIENT_CERT,
    UPSTREAM_TAGS,
)
