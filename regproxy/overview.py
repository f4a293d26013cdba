"""A look around the running mirror, for the admin's status page: what each room says of itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import attrs
from prometheus_client import CollectorRegistry
from twisted.internet.defer import TimeoutError
from twisted.internet.interfaces import IReactorTime

from regproxy import __version__
from regproxy.admin.status import (
    COUNTED,
    BadBlob,
    DiskState,
    MovedState,
    Now,
    Sample,
    ScrubPass,
    UpkeepState,
    UpstreamState,
    UsedState,
)
from regproxy.compose import Mirror
from regproxy.errors import StorageFailed
from regproxy.inventory.recently import recently
from regproxy.proxy.moved import MovedTags
from regproxy.removal import Eviction
from regproxy.settings import Settings, UpstreamSettings
from regproxy.singleflight import SingleFlight
from regproxy.storage.store import DiskStore
from regproxy.upkeep.scrubber import Scrubber

MAX_USED = 10
ROOM_S = 1.0
"""A mount that does not answer delays the page for so long, and nobody else."""


def overview(
    settings: Settings,
    mirror: Mirror,
    uptime_s: Callable[[], float],
    reasons: Callable[[], Sequence[str]],
    clock: IReactorTime,
    wall: Callable[[], float],
) -> Callable[[], Awaitable[Now]]:
    """What looks around when it is called; it asks nobody outside."""
    disk = None if mirror.expiry is None else DiskLook(mirror.expiry.store, clock, mirror.expiry.eviction)

    async def look() -> Now:
        scheduler = None if mirror.expiry is None else mirror.expiry.scheduler
        return Now(
            version=__version__,
            uptime_s=uptime_s(),
            reasons=reasons(),
            warnings=mirror.warnings(),
            sample=samples(mirror.figures.registry),
            disk=None if disk is None else await disk.state(),
            upstreams=[upstream_state(upstream, mirror) for upstream in settings.upstreams],
            fills=() if mirror.registry is None else mirror.registry.fills.snapshot(),
            entries=None if scheduler is None else len(scheduler),
            entries_loaded=None if scheduler is None else scheduler.loaded,
            moved=() if mirror.registry is None else moved_states(mirror.registry.moved, wall()),
            moved_count=0 if mirror.registry is None else mirror.registry.moved.number,
            used=used_states(mirror, wall()),
            now_s=wall(),
            upkeep=None if mirror.caretaker is None else upkeep_state(mirror.caretaker.scrubber),
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


class DiskLook:
    """What lies on the disk, and what room is left there: asked in a thread, once for all who wait."""

    def __init__(self, store: DiskStore, clock: IReactorTime, eviction: Eviction | None = None) -> None:
        self._store = store
        self._eviction = eviction
        self._clock = clock
        self._looks: SingleFlight[None, tuple[int, int]] = SingleFlight()

    async def state(self) -> DiskState:
        """As it is now, within ROOM_S."""
        free, total = await self._room()
        held = self._store.occupied
        state = DiskState(
            held.blobs, held.blob_bytes, held.counted, free, total, held.spools, held.spool_bytes
        )
        if self._eviction is None:
            return state
        evictor = self._eviction.evictor
        return attrs.evolve(
            state,
            used_bytes=self._store.disk_use().all,
            limit_bytes=evictor.limits.max_bytes,
            pinned_bytes=evictor.pinned.disk_bytes,
        )

    async def _room(self) -> tuple[int, int] | tuple[None, None]:
        try:
            return await self._looks.run(None, self._store.room).addTimeout(ROOM_S, self._clock)
        except (StorageFailed, TimeoutError):
            return None, None


def upkeep_state(scrubber: Scrubber) -> UpkeepState:
    """How far the scrub is, and what it found."""
    now = scrubber.state()
    return UpkeepState(
        now.every_s,
        now.full,
        now.began_s,
        now.share,
        now.blobs,
        now.bytes,
        now.bad,
        now.total_bytes,
        None if now.last is None else ScrubPass(*attrs.astuple(now.last)),
        tuple(BadBlob(str(bad.digest), bad.found_s, bad.why) for bad in now.found),
        now.surveyed_s,
    )


def moved_states(moved: MovedTags, now_s: float) -> list[MovedState]:
    """The versions that came to mean something else, the newest first."""
    return [
        MovedState(
            move.repository.upstream,
            move.repository.path,
            move.tag.name,
            move.before,
            move.after,
            max(0.0, now_s - move.seen_s),
        )
        for move in moved.last
    ]


def used_states(mirror: Mirror, now_s: float) -> list[UsedState]:
    """The tags that were used last."""
    if mirror.expiry is None:
        return []
    found = recently(mirror.expiry.scheduler, mirror.expiry.store, MAX_USED)
    return [
        UsedState(each.image, max(0.0, now_s - each.used_s), each.pulls, each.sent_bytes) for each in found
    ]


def upstream_state(upstream: UpstreamSettings, mirror: Mirror) -> UpstreamState:
    """What was heard of it, and how it stands."""
    remote = mirror.remotes.get(upstream.name)
    stands = () if remote is None else (remote.standing(), remote.allowance(), remote.endpoints())
    if mirror.expiry is None:
        return UpstreamState(upstream.name, upstream.default, None, None, None, None, *stands)
    beat = mirror.expiry.pulse.beat(upstream.name)
    heard = beat.answers, beat.since_s, beat.trouble, beat.trouble_ago_s
    return UpstreamState(upstream.name, upstream.default, *heard, *stands)
