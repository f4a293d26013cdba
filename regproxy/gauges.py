"""What the figures read from the rooms when somebody asks: sizes, entries, what is in flight."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from regproxy.eviction.evictor import Evictor
from regproxy.expiry.entries import TYPES
from regproxy.expiry.pulse import Pulse
from regproxy.expiry.scheduler import TTLExpirationScheduler
from regproxy.fill.table import FillState, FillTable
from regproxy.interfaces import Allowance, DiskUse
from regproxy.metrics.figures import Figures, Reading
from regproxy.storage.store import DiskStore
from regproxy.upkeep.scrubber import Scrubber


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
    figures.counter(
        "regproxy_passed_blobs",
        "Transfers of blobs larger than half of storage.max_size, which are not kept.",
        lambda: fills.limit.passed,
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
    figures.gauge(
        "regproxy_disk_spools",
        "Transfers that ended before their end, whose bytes later ones go on from.",
        lambda: store.occupied.spools,
    )
    figures.gauge(
        "regproxy_disk_spools_bytes", "What these take of the disk.", lambda: store.occupied.spool_bytes
    )
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


def show_eviction(figures: Figures, store: DiskStore, evictor: Evictor) -> None:
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


def show_upkeep(figures: Figures, scrubber: Scrubber) -> None:
    """How far the scrub is, and when what was last looked at."""
    figures.gauge(
        "regproxy_scrub_share",
        "How much of the running pass of the scrub is done, from 0 to 1; NaN without one.",
        lambda: _or_nan(scrubber.state().share),
    )
    figures.gauge(
        "regproxy_scrub_ended_seconds",
        "When the scrub last came to its end, in seconds since the epoch; NaN: never.",
        lambda: _or_nan(None if scrubber.record.last is None else scrubber.record.last.ended_s),
    )
    figures.gauge(
        "regproxy_survey_ended_seconds",
        "When a survey last saw everything, in seconds since the epoch; NaN: never.",
        lambda: _or_nan(scrubber.record.surveyed_s),
    )


def _or_nan(amount: float | None) -> float:
    return float("nan") if amount is None else float(amount)


def show_upstreams(figures: Figures, pulse: Pulse, names: Iterable[str]) -> None:
    """Whether each is there, as far as is known."""

    def answers(name: str) -> float:
        found = pulse.beat(name).answers
        return float("nan") if found is None else float(found)

    figures.gauges(
        "regproxy_upstream_answers",
        "1 when its last call was answered, 0 when it was not; NaN before the first, and while offline.",
        "upstream",
        {name: partial(answers, name) for name in names},
    )


def show_limits(figures: Figures, allowances: Mapping[str, Callable[[], Allowance]]) -> None:
    """What each upstream's rate limit leaves, as far as it says so. ``allowances`` are by upstream."""

    def read(of: Callable[[Allowance], float | None], name: str) -> float:
        found = of(allowances[name]())
        return float("nan") if found is None else float(found)

    readings: tuple[tuple[str, str, Callable[[Allowance], float | None]], ...] = (
        (
            "limit",
            "Requests that its rate limit allows in a window, NaN: it names none.",
            lambda now: now.limit,
        ),
        (
            "remaining",
            "Of these, what is left; our own since its last word are taken off.",
            lambda now: now.remaining,
        ),
        ("hours_left", "For how long that lasts at the present rate.", lambda now: now.hours_left),
        ("thrift", "How sparing the mirror is: 0 free, 1 longer, 2 stale, 3 empty.", lambda now: now.thrift),
    )
    for what, text, of in readings:
        read_one = {name: partial(read, of, name) for name in allowances}
        figures.gauges(f"regproxy_upstream_{what}", text, "upstream", read_one)


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
