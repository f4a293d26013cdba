"""A look around the running mirror, for the admin's status page: what each room says of itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry

from regproxy import __version__
from regproxy.admin.status import COUNTED, DiskState, Now, Sample, UpstreamState
from regproxy.compose import Expiry, Mirror
from regproxy.settings import Settings, UpstreamSettings
from regproxy.storage.store import DiskStore


def overview(
    settings: Settings,
    mirror: Mirror,
    uptime_s: Callable[[], float],
    reasons: Callable[[], Sequence[str]],
) -> Callable[[], Now]:
    """What looks around when it is called; it asks nobody outside."""

    def look() -> Now:
        scheduler = None if mirror.expiry is None else mirror.expiry.scheduler
        return Now(
            version=__version__,
            uptime_s=uptime_s(),
            reasons=reasons(),
            warnings=mirror.warnings(),
            sample=samples(mirror.figures.registry),
            disk=None if mirror.expiry is None else disk_state(mirror.expiry.store, settings),
            upstreams=[upstream_state(upstream, mirror.expiry) for upstream in settings.upstreams],
            fills=() if mirror.registry is None else mirror.registry.fills.snapshot(),
            entries=None if scheduler is None else len(scheduler),
            entries_loaded=None if scheduler is None else scheduler.loaded,
        )

    return look


def samples(registry: CollectorRegistry) -> Sample:
    """The figures that the page has, read at once: each asked for alone would collect all of them."""
    families = registry.restricted_registry(COUNTED).collect()
    found = {
        (sample.name, sample.labels.get("type")): sample.value
        for family in families
        for sample in family.samples
    }
    return lambda name, labels: found.get((name, labels.get("type")))


def disk_state(store: DiskStore, settings: Settings) -> DiskState:
    """What lies there, and what room is left."""
    held, root = store.occupied, settings.storage.root
    try:
        room = os.statvfs(root)
    except OSError:
        return DiskState(held.blobs, held.blob_bytes, held.counted, None, None)
    free, total = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
    return DiskState(held.blobs, held.blob_bytes, held.counted, free, total)


def upstream_state(upstream: UpstreamSettings, expiry: Expiry | None) -> UpstreamState:
    """What was heard of it."""
    if expiry is None:
        return UpstreamState(upstream.name, upstream.default, None, None, None, None)
    beat = expiry.pulse.beat(upstream.name)
    return UpstreamState(
        upstream.name, upstream.default, beat.answers, beat.since_s, beat.trouble, beat.trouble_ago_s
    )
