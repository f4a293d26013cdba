"""From a file, and the environment, to the settings' records; every fault is told, not only the first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs

from regproxy.config import defaults, nodes
from regproxy.config.access import check_proxied, knows_clients, read_access, tell_of_shut_listeners
from regproxy.config.declared import clients, content, listeners, registries
from regproxy.config.distribution import is_distribution, read_distribution
from regproxy.config.endpoints import Endpoint
from regproxy.config.errors import ConfigError
from regproxy.config.section import Report, Section
from regproxy.config.setting import Setting
from regproxy.config.tags import read_tags
from regproxy.config.unused import without_effect
from regproxy.config.upstreams import read_upstreams
from regproxy.config.ways import bound_listeners
from regproxy.oci.images import ImagePattern
from regproxy.settings import (
    FillSettings,
    LimitSettings,
    LogSettings,
    Settings,
    StorageSettings,
    TagRule,
    UpstreamSettings,
)


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings of the file, or the built-in ones; nothing is made or opened but the file.

    Raises :exc:`ConfigError` with every fault found; what is odd but usable is in ``warnings``.
    """
    report = Report(path or Path("built-in settings"))
    node = nodes.read_nodes(path) if path else nodes.Mapping(0, ())
    read = read_distribution if is_distribution(node) else _read
    settings = read(report, node, environ, path and report.folder / path.name)
    if report.problems:
        raise ConfigError(report.problems)
    return attrs.evolve(settings, warnings=(*settings.warnings, *without_effect(settings)))


def _read(report: Report, node: nodes.Mapping, environ: Mapping[str, str], source: Path | None) -> Settings:
    root = Section(report, "", "", node, 1)
    storage = _storage(root, environ)
    ttl_s = root.value(content.TTL)
    listen = _listen(root)
    everywhere = (*listen, *bound_listeners(root))
    access = read_access(root, everywhere)
    for setting in (listeners.LISTEN, listeners.ADMIN):
        check_proxied(root, setting, access)
    for _, section in root.named(registries.UPSTREAMS):
        check_proxied(section, registries.UPSTREAM_LISTEN, access)
    tell_of_shut_listeners(root, everywhere, access)
    upstreams = read_upstreams(root, ttl_s, knows_clients=knows_clients(access, everywhere))
    return Settings(
        listen=listen,
        admin=_admin(root, storage, environ),
        storage=storage,
        upstreams=upstreams,
        pins=_pins(root, upstreams),
        tags=read_tags(root, content.TAGS) or (TagRule(),),
        ttl_s=ttl_s,
        access=access,
        log=_log(root),
        limits=_limits(root),
        fill=_fill(root),
        admin_written=root.has(listeners.ADMIN),
        admin_token_file=_below(root, root.optional(listeners.ADMIN_TOKEN_FILE)),
        admin_hosts=_admin_hosts(root),
        source=source,
        warnings=tuple(report.warnings),
    )


def _listen(root: Section) -> tuple[str, ...]:
    written = _endpoints(root, listeners.LISTEN)
    if written == ():
        root.wrong("listen", "an empty list: nobody could ask; write [tcp6:5000]")
    return defaults.listen() if written is None else tuple(map(str, written))


def _admin(root: Section, storage: StorageSettings, environ: Mapping[str, str]) -> tuple[str, ...]:
    written = _endpoints(root, listeners.ADMIN)
    if written is None:
        return defaults.admin(environ, storage.root)
    if any(endpoint.open_to_all for endpoint in written):
        root.warn("admin", "every user of the machine may open that socket: it takes no operations by itself")
    return tuple(str(endpoint.for_operators()) for endpoint in written)


def _admin_hosts(root: Section) -> tuple[str, ...]:
    names = root.values(listeners.ADMIN_HOSTS) or ()
    if names and not root.has(listeners.ADMIN_TOKEN_FILE):
        root.warn("admin_hosts", "has no effect without admin_token_file")
    return names


def _below(root: Section, file: Path | None) -> Path | None:
    return None if file is None else root.report.folder / file


def _endpoints(root: Section, setting: Setting[str]) -> tuple[Endpoint, ...] | None:
    written = root.values(setting)
    if written is None:
        return None
    if len(set(written)) < len(written):
        root.wrong(setting.key, "the same endpoint twice")
    return tuple(Endpoint.parse(text).below(root.report.folder) for text in written)


def _storage(root: Section, environ: Mapping[str, str]) -> StorageSettings:
    section = root.open(content.STORAGE)
    written = section.optional(content.ROOT)
    return StorageSettings(
        root=root.report.folder / written if written else defaults.root(environ),
        max_size_bytes=section.optional(content.MAX_SIZE),
        min_free_bytes=section.optional(content.MIN_FREE),
        low_water=section.value(content.LOW_WATER),
    )


def _pins(root: Section, upstreams: Iterable[UpstreamSettings]) -> tuple[ImagePattern, ...]:
    names = {upstream.name for upstream in upstreams}
    found = root.lined(content.PINS)
    for pattern, line in found:
        if pattern.upstream not in names:
            root.report.warn(line, root.path("pins"), "of an upstream that is none of this mirror's")
    return tuple(dict.fromkeys(pattern for pattern, _ in found))


def _limits(root: Section) -> LimitSettings:
    section = root.open(clients.LIMITS)
    limits = LimitSettings(
        connections=section.value(clients.CONNECTIONS),
        per_address=section.value(clients.PER_ADDRESS),
        header_s=section.value(clients.HEADER),
        idle_s=section.value(clients.IDLE),
        slow_reader_bytes_s=section.value(clients.SLOW_READER),
        request_line_bytes=section.value(clients.REQUEST_LINE),
        header_bytes=section.value(clients.HEADER_SIZE),
    )
    if limits.header_bytes < limits.request_line_bytes:
        section.wrong("header_size", "expected at least limits.request_line, which is part of it")
    return limits


def _fill(root: Section) -> FillSettings:
    section = root.open(content.FILL)
    return FillSettings(
        section.value(content.CONNECTIONS_PER_BLOB),
        section.value(content.CONNECTIONS_PER_UPSTREAM),
        section.value(content.AHEAD),
    )


def _log(root: Section) -> LogSettings:
    section = root.open(clients.LOG)
    access = section.value(clients.LOG_ACCESS)
    if access not in ("-", "off"):
        access = str(root.report.folder / access)
    return LogSettings(section.value(clients.LOG_FORMAT), access)
