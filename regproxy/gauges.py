"""What the figures read from the rooms when somebody asks: sizes, entries, what is in flight."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from regproxy.eviction.evictor import Evictor
from regproxy.expiry.entries import TYPES
from regproxy.expiry.pulse import Pulse
from regproxy.expiry.scheduler import TTLExpirationScheduler
from regproxy.fill.table import FillState, FillTable
from regproxy.interfaces import DiskUse
from regproxy.metrics.figures import Figures, Reading
from regproxy.storage.store import DiskStore


def show_rooms(
    figures: Figures,
    requests: Callable[[], int],
    fills: FillTable,
    store: DiskStore,
    scheduler: TTLExpirationScheduler,
    pulse: Pulse,
    upstreams: Iterable[str],
) -> None:
    """Everything below; the disk's refusals are counted from now on."""
    show_requests(figures, requests)
    show_fills(figures, fills)
    show_disk(figures, store, scheduler)
    show_upstreams(figures, pulse, upstreams)
    store.health.counted = figures.disk_refused


def show_requests(figures: Figures, in_flight: Callable[[], int]) -> None:
    """Clients that are being answered."""
    figures.gauge("regproxy_requests_in_flight", "Requests of clients that are being answered.", in_flight)


def show_connections(figures: Figures, are_open: Callable[[], int]) -> None:
    """Clients that are connected."""
    figures.gauge("regproxy_connections", "Connections of clients that are open.", are_open)


def show_fills(figures: Figures, fills: FillTable) -> None:
    """Blobs on their way to the disk, and who follows them."""
    readings: tuple[Reading[tuple[FillState, ...]], ...] = (
        Reading("regproxy_fills_in_flight", "Blobs that are on their way to the disk.", len),
        Reading(
            "regproxy_readers_in_flight",
            "Clients that follow a blob which is on its way.",
            lambda found: sum(fill.readers for fill in found),
        ),
        Reading(
            "regproxy_spool_bytes",
            "Bytes of the blobs that are on their way, as far as they have come.",
            lambda found: sum(fill.front for fill in found),
        ),
    )
    figures.gauges_at_once(fills.snapshot, *readings)
    figures.counter(
        "regproxy_fill_joins",
        "Requests for a blob that was on its way already, by no transfer of their own.",
        lambda: fills.joins,
    )


def show_ahead(figures: Figures, fetched: Callable[[], int], wanted: Callable[[], int]) -> None:
    """What was fetched before anybody asked, and how much of it somebody asked for then."""
    figures.counter(
        "regproxy_ahead_bytes", "Bytes of layers whose transfer began before anybody asked for them.", fetched
    )
    figures.counter("regproxy_ahead_wanted_bytes", "Of these, what was asked for later.", wanted)


def show_disk(figures: Figures, store: DiskStore, scheduler: TTLExpirationScheduler) -> None:
    """What lies there, and what has left."""
    figures.gauge(
        "regproxy_disk_bytes", "Bytes of complete content on disk.", lambda: store.occupied.blob_bytes
    )
    figures.gauge("regproxy_disk_blobs", "Files of complete content on disk.", lambda: store.occupied.blobs)
    figures.gauges(
        "regproxy_disk_entries",
        "What repositories hold on disk: rights to blobs and manifests, and tags.",
        "kind",
        {kind: partial(scheduler.count, kind) for kind in TYPES},
    )
    figures.counter(
        "regproxy_removed_blobs",
        "Files of content that left the disk: by age, for want of space, by a purge, or since an upstream "
        "took them back.",
        lambda: store.removed.blobs,
    )
    figures.counter("regproxy_removed_bytes", "Their bytes.", lambda: store.removed.blob_bytes)


def show_limits(figures: Figures, store: DiskStore, evictor: Evictor) -> None:
    """What content takes, and what it may."""
    limits = evictor.limits
    readings: tuple[Reading[DiskUse], ...] = (
        Reading(
            "regproxy_disk_used_bytes",
            "What content takes on the disk: complete, on its way, and removed but still read.",
            lambda use: use.all,
        ),
        Reading(
            "regproxy_disk_unlinked_bytes",
            "Of these, what was removed and is still read.",
            lambda use: use.unlinked,
        ),
    )
    figures.gauges_at_once(store.disk_use, *readings)
    figures.gauge(
        "regproxy_disk_limit_bytes",
        "What content may take: storage.max_size; NaN without one.",
        lambda: _or_nan(limits.max_bytes),
    )
    figures.gauge(
        "regproxy_disk_low_water_bytes",
        "What is left of it when something has to go; NaN without storage.max_size.",
        lambda: _or_nan(limits.low_bytes),
    )
    figures.gauge("regproxy_pinned_bytes", "What pinned images take.", lambda: evictor.pinned.disk_bytes)


def _or_nan(amount: int | None) -> float:
    return float("nan") if amount is None else float(amount)


def show_upstreams(figures: Figures, pulse: Pulse, names: Iterable[str]) -> None:
    """Whether each is there, as far as is known."""

    def answers(name: str) -> float:
        found = pulse.beat(name).answers
        return float("nan") if found is None else float(found)

    figures.gauges(
        "regproxy_upstream_answers",
        "1 when its last call was answered, 0 when it was not; NaN before the first.",
        "upstream",
        {name: partial(answers, name) for name in names},
    )


def show_readiness(figures: Figures, reasons: Callable[[], Iterable[str]], started_s: float) -> None:
    """As ``/readyz`` says it, and since when the daemon runs (seconds since the epoch)."""
    figures.gauge(
        "regproxy_ready",
        "1 when clients may be sent here, 0 while /readyz has reasons against it.",
        lambda: float(not list(reasons())),
    )
    figures.gauge(
        "regproxy_start_time_seconds", "When the daemon began, in seconds since the epoch.", lambda: started_s
    )
