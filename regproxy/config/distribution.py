"""CNCF Distribution's own form: a mirror that runs today changes one command, not its file.

Its ``proxy`` section becomes the one default upstream. What we have is read, what we lack is one
warning. Their data is left alone: our folder lies within ``rootdirectory``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from regproxy.config import defaults, values
from regproxy.config.distribution_access import asks, authority, read_access
from regproxy.config.endpoints import Endpoint, endpoint
from regproxy.config.errors import Unfit
from regproxy.config.nodes import Entry, Node, Scalar, shown
from regproxy.config.nodes import Mapping as MappingNode
from regproxy.config.section import Report
from regproxy.config.upstreams import count_certificates, unreadable
from regproxy.config.wellknown import WELL_KNOWN, WellKnown, canonical
from regproxy.headers.origins import DEFAULT_PORTS, Origin
from regproxy.oci.repository import is_upstream_name
from regproxy.settings import (
    DAY_S,
    Credentials,
    LogSettings,
    Quirks,
    Settings,
    StorageSettings,
    UpstreamSettings,
)

T = TypeVar("T")
_Known = Mapping[str, Any]

_TOKEN_KEYS = ("realm", "service", "issuer", "rootcertbundle", "jwks")
_KNOWN: _Known = {
    "version": {},
    "http": {"addr": {}, "net": {}, "tls": {"certificate": {}, "key": {}, "clientcas": {}}},
    "auth": {"htpasswd": {"realm": {}, "path": {}}, "token": {key: {} for key in _TOKEN_KEYS}},
    "storage": {"filesystem": {"rootdirectory": {}}},
    "proxy": {"remoteurl": {}, "username": {}, "password": {}, "ttl": {}},
    "log": {"formatter": {}, "accesslog": {"disabled": {}}},
}
_OURS = ("listen", "admin", "admin_token_file", "admin_hosts", "ttl", "tags", "access", "upstreams")
_DEFAULT_TTL_S: float | None = 7 * DAY_S
_DEFAULT_ROOT = "/var/lib/registry"
_TTL_FORM = "expected a duration with units such as 168h or 1h30m, or 0 for never"
_GO_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_GO_DURATION = re.compile(r"(?:[0-9]{1,12}(?:\.[0-9]{1,9})?(?:ns|us|µs|ms|s|m|h))+", re.ASCII)
_GO_PART = re.compile(r"([0-9.]+)([a-zµ]+)")
_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")


def is_distribution(node: MappingNode) -> bool:
    """Whether a file is in that form: it has a version, or ``http`` or ``proxy`` and no key of ours."""
    keys = {entry.key for entry in node.entries}
    return "version" in keys or (bool(keys & {"http", "proxy"}) and not keys & set(_OURS))


def read_distribution(
    report: Report, node: MappingNode, environ: Mapping[str, str], source: Path | None
) -> Settings:
    """Our settings for a file in that form; faults and warnings go to ``report``."""
    old = _Old(report, node)
    _check_form(old)
    storage = StorageSettings(_root(old, environ))
    ttl_s = old.read(go_ttl, "proxy", "ttl", usual=_DEFAULT_TTL_S)
    upstream = _upstream(old, ttl_s)
    _warn(old, upstream, environ)
    return Settings(
        listen=_listen(old),
        admin=defaults.admin(environ, storage.root),
        storage=storage,
        upstreams=(upstream,),
        ttl_s=ttl_s,
        access=read_access(old),
        log=_log(old),
        source=source,
        warnings=tuple(report.warnings),
    )


class _Old:
    """A file in that form, asked by path."""

    def __init__(self, report: Report, node: MappingNode) -> None:
        self.report = report
        self.node = node

    def entry(self, *path: str) -> Entry | None:
        node: Node = self.node
        entry = None
        for key in path:
            entry = node.get(key) if isinstance(node, MappingNode) else None
            if entry is None:
                return None
            node = entry.value
        return entry

    def has(self, *path: str) -> bool:
        entry = self.entry(*path)
        return entry is not None and not (isinstance(entry.value, Scalar) and entry.value.null)

    def line(self, *path: str) -> int:
        entry = self.entry(*path)
        return entry.line if entry else 1

    def wrong(self, message: str, *path: str) -> None:
        self.report.wrong(self.line(*path), ".".join(path), message)

    def read(self, parse: Callable[[str], T], *path: str, usual: T) -> T:
        entry = self.entry(*path)
        if entry is None or not self.has(*path):
            return usual
        if not isinstance(entry.value, Scalar):
            self.wrong("expected a single value", *path)
            return usual
        try:
            return parse(entry.value.text)
        except Unfit as wrong:
            self.wrong(str(wrong), *path)
            return usual

    def text(self, *path: str) -> str:
        return self.read(str, *path, usual="")

    def lacking(self) -> Iterator[str]:
        yield from _lacking(self.node, _KNOWN, "")


def _lacking(node: Node, known: _Known, path: str) -> Iterator[str]:
    for entry in node.entries if isinstance(node, MappingNode) else ():
        if entry.key not in known:
            yield path + shown(entry.key)
        elif known[entry.key]:
            yield from _lacking(entry.value, known[entry.key], f"{path}{entry.key}.")


def _check_form(old: _Old) -> None:
    for entry in old.node.entries:
        if entry.key in _OURS:
            old.wrong(
                "a key of regproxy's own form in a file of distribution's, which has a version: use one form",
                entry.key,
            )
        elif _KNOWN.get(entry.key):
            _check_mapping(old, entry)


def _check_mapping(old: _Old, entry: Entry) -> None:
    if old.has(entry.key) and not isinstance(entry.value, MappingNode):
        old.wrong("expected keys and values", entry.key)


def _root(old: _Old, environ: Mapping[str, str]) -> Path:
    if old.entry("storage", "filesystem") is None:
        return defaults.root(environ)
    written = old.read(values.some_text, "storage", "filesystem", "rootdirectory", usual=_DEFAULT_ROOT)
    return old.report.folder / written / "regproxy"


def _log(old: _Old) -> LogSettings:
    json = old.text("log", "formatter") == "json"
    off = old.text("log", "accesslog", "disabled") == "true"
    return LogSettings("json" if json else "text", "off" if off else "-")


def _listen(old: _Old) -> tuple[str, ...]:
    tls = old.has("http", "tls", "certificate") or old.has("http", "tls", "key")
    text = old.text("http", "addr")
    if old.text("http", "net") == "unix":
        socket = Endpoint("unix", (("address", text),))
        return _checked(old, socket.below(old.report.folder) if text else socket)
    if not text and not tls:
        return defaults.listen()
    arguments = _address(old, text or f":{defaults.PORT}", tls)
    if not tls:
        return _checked(
            old, Endpoint("tcp6" if ":" in dict(arguments).get("interface", "") else "tcp", arguments)
        )
    return _checked(old, Endpoint("ssl", (*arguments, *_certificate(old))))


def _address(old: _Old, text: str, tls: bool) -> tuple[tuple[str, str], ...]:
    """Port and interface of ``:5000``, ``0.0.0.0:5000``, ``[::1]:5000``, ``localhost:5000``."""
    found = _ADDRESS.fullmatch(text)
    if found is None:
        old.wrong("expected ADDRESS:PORT, such as :5000 or 127.0.0.1:5000", "http", "addr")
        return (("port", str(defaults.PORT)),)
    host = found["six"] or found["host"]
    interface = "127.0.0.1" if host == "localhost" else host
    if not interface and defaults.kernel_has_ipv6():
        interface = "::"
    named = (("interface", interface),) if interface else ()
    return (("port", found["port"]), *named)


def _checked(old: _Old, found: Endpoint) -> tuple[str, ...]:
    try:
        return (endpoint(str(found)),)
    except Unfit as wrong:
        old.wrong(str(wrong), "http", "addr")
        return ()


def _certificate(old: _Old) -> tuple[tuple[str, str], ...]:
    paths = {}
    for key in ("key", "certificate"):
        paths[key] = old.report.folder / old.text("http", "tls", key)
        reason = unreadable(paths[key]) if old.has("http", "tls", key) else "it is missing"
        if reason:
            old.wrong(f"expected a PEM file: {reason}", "http", "tls", key)
    certificate = str(paths["certificate"])
    # Twisted sends one certificate of certKey only; the others of the chain it takes from here
    chain = (("extraCertChain", certificate),) if count_certificates(paths["certificate"]) > 1 else ()
    return (("privateKey", str(paths["key"])), ("certKey", certificate), *chain, *authority(old))


def _upstream(old: _Old, ttl_s: float | None) -> UpstreamSettings:
    origin = _remote(old)
    known = _well_known(origin)
    credentials = _credentials(old)
    return UpstreamSettings(
        known.name if known else _name(old, origin),
        (known.api if known else str(origin),),
        default=True,
        public=True,
        insecure=not origin.secure,
        credentials=credentials,
        library=known is not None and known.library,
        aliases=known.aliases if known else (),
        quirks=known.quirks if known else Quirks(),
        ttl_s=ttl_s,
    )


def _remote(old: _Old) -> Origin:
    usual = Origin("https", "registry.invalid", 443)
    if not old.has("proxy", "remoteurl"):
        old.wrong("remoteurl is missing: this file is not one of a mirror", "proxy")
        return usual
    return old.read(values.origin, "proxy", "remoteurl", usual=usual)


def _well_known(origin: Origin) -> WellKnown | None:
    """The registry that an origin belongs to, also by another of its names (P22)."""
    if str(origin) != f"https://{origin.host}":
        return None
    name = canonical(origin.host)
    return next((known for known in WELL_KNOWN if known.name == name or known.api == str(origin)), None)


def _name(old: _Old, origin: Origin) -> str:
    name = origin.host if origin.port == DEFAULT_PORTS[origin.scheme] else f"{origin.host}:{origin.port}"
    if is_upstream_name(name):
        return name
    old.wrong("expected a host name; an IPv6 address cannot name an upstream", "proxy", "remoteurl")
    return "registry.invalid"


def _credentials(old: _Old) -> Credentials | None:
    if not old.has("proxy", "username"):
        if old.has("proxy", "password"):
            old.wrong("a password without a username", "proxy", "password")
        return None
    if not old.has("proxy", "password"):
        old.wrong("a username without a password", "proxy", "username")
    return Credentials(
        old.read(values.user_name, "proxy", "username", usual=""), old.text("proxy", "password")
    )


def _warn(old: _Old, upstream: UpstreamSettings, environ: Mapping[str, str]) -> None:
    lacking = list(old.lacking())
    if lacking:
        more = f" and {len(lacking) - 20} more" if len(lacking) > 20 else ""
        old.report.warn(
            0, "", f"keys of distribution that have no effect here: {', '.join(lacking[:20])}{more}"
        )
    if upstream.credentials and not asks(old):
        line = old.line("proxy", "username")
        old.report.warn(
            line, "proxy", "what these credentials may pull is open to all who may ask this mirror"
        )
    if old.has("auth") and not asks(old):
        old.report.warn(0, "", "clients are not asked who they are: all addresses of local networks may pull")
    if old.has("auth", "token"):
        old.report.warn(
            old.line("auth", "token"),
            "auth.token",
            "only tokens that a key of that file itself has signed are believed, no chains (x5c)",
        )
    if any(name.startswith(("REGISTRY_PROXY_", "REGISTRY_HTTP_", "REGISTRY_STORAGE_")) for name in environ):
        old.report.warn(0, "", "REGISTRY_... variables of the environment are not read: only this file is")


def go_ttl(text: str) -> float | None:
    """Seconds from a duration as Go writes it; None for 0. A number without a unit is refused (P35)."""
    if text in ("0", "0s", "never"):
        return None
    if text.isascii() and text.isdigit():
        raise Unfit(f"a number alone has no meaning here: {_TTL_FORM}")
    if _GO_DURATION.fullmatch(text) is None:
        raise Unfit(_TTL_FORM)
    seconds = sum(float(number) * _GO_UNITS_S[unit] for number, unit in _GO_PART.findall(text))
    if seconds > values.MAX_DURATION_S:
        raise Unfit("expected at most 876000h")
    return seconds or None
