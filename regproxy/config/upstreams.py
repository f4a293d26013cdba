"""The section ``upstreams``: a closed world of registries, each with its own rules (R97)."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from regproxy.config.certificates import unfit_pair
from regproxy.config.declared import clients, registries
from regproxy.config.section import Section
from regproxy.config.setting import Setting
from regproxy.config.tags import read_tags
from regproxy.config.ways import check_ways, read_hosts, read_listen
from regproxy.config.wellknown import DEFAULT_NAME, WELL_KNOWN, WellKnown, canonical, find
from regproxy.headers.addresses import Place, written_place
from regproxy.headers.origins import Origin
from regproxy.oci.repository import is_host_name, is_upstream_name
from regproxy.settings import ClientCertificate, Credentials, Pattern, Quirks, UpstreamSettings

NO_PERMISSION = "no permission to read it"
_MAX_PEM_BYTES = 4 * 1024 * 1024


def builtin(known: WellKnown, ttl_s: float | None) -> UpstreamSettings:
    """A well-known registry as it is without a word in the file."""
    return UpstreamSettings(
        known.name,
        (known.api,),
        library=known.library,
        aliases=known.aliases,
        quirks=known.quirks,
        ttl_s=ttl_s,
    )


def read_upstreams(
    root: Section, ttl_s: float | None, *, knows_clients: bool = False
) -> tuple[UpstreamSettings, ...]:
    """Those the file names, or the well-known ones; at most one is the default.

    ``knows_clients``: they can say who they are, so that not everything is for everyone.
    """
    if not root.has(registries.UPSTREAMS):
        return with_default([builtin(known, ttl_s) for known in WELL_KNOWN])
    found: list[UpstreamSettings] = []
    sections: dict[str, Section] = {}
    for name, section in root.named(registries.UPSTREAMS):
        if _check_name(name, section):
            found.append(_upstream(name, section, ttl_s))
            sections[name] = section
            if not knows_clients:
                _check_open(root, found[-1], section)
    _check_defaults(root, found, sections)
    if not found and not root.report.problems:
        root.wrong("upstreams", "names no registry; leave the key out for the well-known public ones")
    chosen = with_default(found)
    check_ways(root, chosen, sections)
    return chosen


def with_default(found: Sequence[UpstreamSettings]) -> tuple[UpstreamSettings, ...]:
    """``found`` with its default chosen: the written one, docker.io, or the only one."""
    if any(upstream.default for upstream in found):
        return tuple(found)
    chosen = found[0].name if len(found) == 1 else DEFAULT_NAME
    return tuple(attrs.evolve(upstream, default=upstream.name == chosen) for upstream in found)


def _check_defaults(
    root: Section, found: Sequence[UpstreamSettings], sections: Mapping[str, Section]
) -> None:
    lines = {name: section.line_of("default") for name, section in sections.items()}
    defaults = [upstream.name for upstream in found if upstream.default]
    for name in defaults[1:]:
        root.report.wrong(
            lines[name],
            f"upstreams.{name}.default",
            f"only one upstream is the default, and {defaults[0]} is (line {lines[defaults[0]]})",
        )


def _check_name(name: str, section: Section) -> bool:
    if not is_upstream_name(name) or not _good_port(name.partition(":")[2]):
        section.report.wrong(
            section.line,
            "upstreams",
            "an upstream is named by a lower-case host name, with a port if it has one (not 443)",
        )
    elif canonical(name) != name:
        section.report.wrong(
            section.line, f"upstreams.{name}", f"another name of {canonical(name)}; write {canonical(name)}"
        )
    else:
        return True
    return False


def _good_port(port: str) -> bool:
    return not port or (not port.startswith("0") and int(port) < 65536 and port != "443")


def _upstream(name: str, section: Section, ttl_s: float | None) -> UpstreamSettings:
    known = find(name)
    _check_prefix(name, section)
    endpoints = _endpoints(name, section, known)
    return UpstreamSettings(
        name,
        endpoints=endpoints,
        default=section.value(registries.DEFAULT),
        prefix=section.value(registries.PREFIX),
        public=section.value(registries.PUBLIC),
        insecure=section.value(registries.INSECURE),
        credentials=_credentials(section),
        private=section.value(registries.PRIVATE),
        ca=_certificates(section),
        client_cert=_client_certificate(section),
        token_realms=_secure(section, registries.TOKEN_REALMS, section.values(registries.TOKEN_REALMS) or ()),
        library=known is not None and known.library,
        aliases=known.aliases if known else (),
        hosts=read_hosts(section),
        listen=read_listen(section),
        quirks=known.quirks if known and endpoints[0] == known.api else Quirks(),
        bandwidth_bytes_s=section.value(registries.BANDWIDTH),
        offline=section.value(registries.OFFLINE),
        tags=read_tags(section, registries.UPSTREAM_TAGS),
        ttl_s=section.optional(registries.UPSTREAM_TTL) if section.has(registries.UPSTREAM_TTL) else ttl_s,
        allow=_patterns(section, registries.ALLOW),
        deny=_patterns(section, registries.DENY),
        users=_patterns(section, registries.USERS),
    )


def _patterns(section: Section, setting: Setting[str]) -> tuple[Pattern, ...]:
    if setting is not registries.DENY and section.values(setting) == ():
        section.wrong(setting.key, "an empty list: nobody could pull anything; remove the key for all")
    return tuple(Pattern(glob, line) for glob, line in section.lined(setting))


def _check_open(root: Section, upstream: UpstreamSettings, section: Section) -> None:
    """What only some may pull must not be for everyone by an oversight (invariant 5, P19)."""
    line = root.line_of(clients.ACCESS.key) if root.has(clients.ACCESS) else 0
    place = f"in access, line {line}" if line else "in a section access"
    ask = f"ask clients who they are {place}: htpasswd or tokens, or clientCA on an ssl: listener"
    for key, written in (("credentials", upstream.credentials), ("client_cert", upstream.client_cert)):
        if written is not None and not upstream.public:
            section.wrong(
                key,
                "all whom access lets in could pull what these may: if that is meant, write public: true "
                f"under the upstream of line {section.line}; else {ask}",
            )
    if upstream.users:
        section.wrong("users", f"nobody is known by name: {ask}")


def _check_prefix(name: str, section: Section) -> None:
    if not is_host_name(name) and not (section.has(registries.PREFIX) and section.value(registries.PREFIX)):
        section.wrong("prefix", f"{name} is no host name, so it can only be a prefix: write prefix: true")


def _endpoints(name: str, section: Section, known: WellKnown | None) -> tuple[str, ...]:
    written = section.values(registries.ENDPOINTS)
    if written:
        endpoints = tuple(str(origin) for origin in _secure(section, registries.ENDPOINTS, written))
        if section.value(registries.INSECURE) and all(url.startswith("https:") for url in endpoints):
            section.warn(
                "insecure",
                "it has no http:// endpoint, so this only allows redirects to http://; certificates are "
                "verified all the same, 'ca' names an authority of your own",
            )
        return endpoints
    if section.has(registries.ENDPOINTS) and written is not None:
        section.wrong("endpoints", "an empty list; give a base URL or remove the key")
    elif not is_host_name(name) and not section.has(registries.ENDPOINTS):
        section.wrong("endpoints", f"{name} is no host name, so it needs endpoints: [https://HOST]")
    elif section.value(registries.INSECURE):
        section.warn("insecure", f"has no effect without endpoints: [http://{name}]")
    return (known.api if known else f"https://{name}",)


def _secure(section: Section, setting: Setting[Origin], origins: tuple[Origin, ...]) -> tuple[Origin, ...]:
    for origin in origins:
        if written_place(origin.host) is Place.NEVER:
            section.wrong(setting.key, "a link-local, metadata or reserved address, which is never asked")
    if not section.value(registries.INSECURE) and not all(origin.secure for origin in origins):
        section.wrong(
            setting.key, "http:// is readable by everyone on the way: write https://, or insecure: true"
        )
    return tuple(dict.fromkeys(origins))


def _credentials(section: Section) -> Credentials | None:
    if not section.has(registries.CREDENTIALS):
        return None
    inner = section.open(registries.CREDENTIALS)
    username = inner.optional(registries.USERNAME)
    password, file = inner.optional(registries.PASSWORD), inner.optional(registries.PASSWORD_FILE)
    if not inner.has(registries.USERNAME):
        section.wrong("credentials", "username is missing")
    if inner.has(registries.PASSWORD) and inner.has(registries.PASSWORD_FILE):
        other = inner.line_of("password")
        inner.wrong("password_file", f"there is a password too (line {other}); keep one of them")
    elif not inner.has(registries.PASSWORD) and not inner.has(registries.PASSWORD_FILE):
        section.wrong("credentials", "a password is missing; add password_file: FILE")
    return Credentials(username or "", password, _secret_file(inner, file))


def _client_certificate(section: Section) -> ClientCertificate | None:
    if not section.has(registries.CLIENT_CERT):
        return None
    inner = section.open(registries.CLIENT_CERT)
    cert, key = (inner.optional(setting) for setting in (registries.CERT, registries.KEY))
    for setting in (registries.CERT, registries.KEY):
        if not inner.has(setting):
            section.wrong("client_cert", f"{setting.key} is missing")
    if cert is None or key is None:
        return None
    pair = ClientCertificate(section.report.folder / cert, section.report.folder / key)
    _check_pair(inner, pair)
    return pair


def _check_pair(section: Section, pair: ClientCertificate) -> None:
    unread = {"cert": unreadable(pair.cert), "key": unreadable(pair.key)}
    for name, reason in unread.items():
        if reason:
            section.wrong(name, f"cannot be read: {reason}")
    if not any(unread.values()):
        name, reason = unfit_pair(pair.cert, pair.key) or ("", "")
        if name:
            section.wrong(name, reason)


def _secret_file(section: Section, file: Path | None) -> Path | None:
    if file is None:
        return None
    path = section.report.folder / file
    reason = unreadable(path)
    if reason:
        section.warn("password_file", f"cannot be read now: {reason}")
    return path


def _certificates(section: Section) -> Path | None:
    file = section.optional(registries.CA)
    if file is None:
        return None
    path = section.report.folder / file
    reason = unreadable(path) or ("" if count_certificates(path) else "no PEM certificate in it")
    if reason:
        section.wrong("ca", f"expected a PEM file with certificates: {reason}")
    return path


def unreadable(path: Path) -> str:
    """Why the regular file ``path`` cannot be read; empty when it can."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "it is not a regular file"
    except OSError as error:
        return error.strerror or "system error"
    return "" if os.access(path, os.R_OK) else NO_PERMISSION


def count_certificates(path: Path) -> int:
    """How many PEM certificates a readable file holds in its first 4 MiB."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_PEM_BYTES).count(b"-----BEGIN CERTIFICATE-----")
    except OSError:
        return 0
