"""Where the rooms are introduced to each other: settings in, what answers clients out."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from regproxy.access.entrance import Entrance
from regproxy.access.forwarded import TrustedProxies
from regproxy.access.opening import open_entrance
from regproxy.caretaker import Caretaker, build_caretaker
from regproxy.config import builtin_realm
from regproxy.credentials import compare_credentials
from regproxy.expiry.pulse import Pulse
from regproxy.gauges import show_ahead, show_connections, show_eviction, show_limits, show_rooms
from regproxy.hand import Hand, build_hand
from regproxy.interfaces import NOBODY, Circuit, IRemoteRegistry, IUses
from regproxy.metrics.figures import Figures
from regproxy.metrics.lag import LagMeter
from regproxy.proxy.explaining import Explaining
from regproxy.proxy.offline import OfflineSwitch
from regproxy.proxy.registry import ProxyRegistry
from regproxy.removal import Expiry, build_expiry
from regproxy.settings import Settings
from regproxy.storage.offline import OfflineNotes
from regproxy.storage.store import DiskStore
from regproxy.upstream.credentials import CredentialSource
from regproxy.upstream.registry import RemoteRegistry
from regproxy.web.access_log import AccessLog, AccessRecord, Recorder, Sink, write_nothing
from regproxy.web.api import RegistryApi
from regproxy.web.gate import Gate
from regproxy.web.request import RegistryRequest
from regproxy.web.resource import ApiResource
from regproxy.web.routing import BlobRoute, ManifestRoute, Route, Routes
from regproxy.web.sendfile import enable
from regproxy.web.site import RegistrySite
from regproxy.web.trace import Tracing

BUSY = 16
"""So many responses under way need the disk more than the scrub does."""

STARTING = "it is starting: requests for content wait"


@attrs.frozen
class Mirror:
    """What answers clients, and what the service must know of it to begin and to end it."""

    factory: IProtocolFactory
    remotes: Mapping[str, IRemoteRegistry]
    begin: Callable[[], Deferred[None]]
    """To be called once the reactor runs, before anything else; requests for content wait until it fires."""
    stop: Callable[[], Deferred[Any]]
    """End all transfers; fires when each has let go of its spool."""
    responses: Callable[[], int] = lambda: 0
    """How many responses are under way."""
    prepare: Callable[[IListeningPort], None] = lambda port: None
    """Called with each port that clients come in by, right after it listens."""
    registry: ProxyRegistry | None = None
    """The heart, for those who watch it."""
    explaining: Explaining | None = None
    """What tells operators why an image is answered as it is."""
    expiry: Expiry | None = None
    """What lets content go that nobody uses."""
    caretaker: Caretaker | None = None
    """What hashes again, and mends."""
    figures: Figures = attrs.field(factory=Figures)
    """What is counted."""
    reasons: Callable[[], Sequence[str]] = tuple
    """Sentences that say why clients should not be sent here now; none: it is ready."""
    warnings: Callable[[], Sequence[str]] = tuple
    """Sentences about what is wrong, although it serves."""
    offline: OfflineSwitch | None = None
    """By which operators have an upstream asked nothing."""
    hand: Hand | None = None
    """What operators look at and do by hand."""


class CountedRequest(RegistryRequest):
    """A request that its site knows of while it runs."""

    def begin(self) -> None:
        """As usual, and counted until it ends, however it ends."""
        super().begin()
        site: MirrorSite = self.site
        site.under_way += 1

        def over(_: object) -> None:
            site.under_way -= 1
            if self.sentLength and self.code in (200, 206):
                site.note_sent(self.route, self.sentLength)

        self.notifyFinish().addBoth(over)


class MirrorSite(RegistrySite):
    """The factory for client connections, which knows how many responses are under way."""

    request_type = CountedRequest
    under_way = 0
    uses: IUses = NOBODY
    """Who wants to know what clients were sent."""

    def note_sent(self, route: Route, sent_bytes: int) -> None:
        """A client was sent so much, all of it or not."""
        if isinstance(route, ManifestRoute):
            self.uses.sent(route.place.repository, route.reference, sent_bytes)
        elif isinstance(route, BlobRoute):
            self.uses.sent(route.place.repository, route.digest, sent_bytes)


def build_remotes(
    settings: Settings,
    reactor: Any,
    wall: Callable[[], float],
    pulse: Pulse | None = None,
    figures: Figures | None = None,
) -> dict[str, IRemoteRegistry]:
    """One remote registry for each upstream; nothing is connected yet. ``pulse`` hears of each."""
    return {
        upstream.name: RemoteRegistry(
            upstream,
            reactor,
            wall,
            builtin_realm(upstream.name),
            figures=None if figures is None else figures.upstream(upstream.name),
            heard=(lambda trouble: None) if pulse is None else partial(pulse.heard, upstream.name),
        )
        for upstream in settings.upstreams
    }


def build_mirror(
    settings: Settings, store: DiskStore, reactor: Any, wall: Callable[[], float], access: Sink | None
) -> Mirror:
    """Everything between the disk and the sockets. ``access`` is where access lines go."""
    pulse = Pulse(time.monotonic)
    names = [upstream.name for upstream in settings.upstreams]
    figures = Figures(names)
    remotes = build_remotes(settings, reactor, wall, pulse, figures)
    for name, remote in remotes.items():
        pulse.watch(name, remote.answers, partial(circuit_of, remote))
    expiry = build_expiry(settings, store, pulse, reactor, wall, figures)
    notes = OfflineNotes(settings.storage.root, expiry.thread.run)
    offline = OfflineSwitch(
        remotes, notes, frozenset(each.name for each in settings.upstreams if each.offline), wall
    )
    offline.recall()
    rules = {upstream.name: (*upstream.tags, *settings.tags) for upstream in settings.upstreams}
    logins = {
        upstream.name: CredentialSource(upstream.name, upstream.credentials).identity
        for upstream in settings.upstreams
    }
    registry = ProxyRegistry(
        store,
        remotes,
        rules,
        reactor,
        wall,
        expiry.scheduler,
        figures.tags,
        settings.fill,
        logins,
        settings.storage.max_size_bytes,
        expiry.pins,
    )
    gate = Gate()
    entrance, close_entrance = open_entrance(settings.access, settings.upstreams, reactor, wall)
    explaining = Explaining(store, remotes, registry.rules, registry.complete, wall)
    resource = build_resource(settings, registry, gate, entrance, reactor, explaining)
    log = write_nothing if access is None else AccessLog(access, settings.log.format, wall)
    site = MirrorSite(
        resource,
        reactor,
        counting(figures, log),
        settings.limits,
        figures.turned_away,
        TrustedProxies(settings.access.trusted_proxies),
        settings.access.networks,
    )
    site.uses = expiry.scheduler
    show_connections(figures, lambda: site.connections.open)
    show_rooms(figures, lambda: site.under_way, registry.fills, store, expiry.scheduler, pulse, names)
    show_limits(figures, {name: remote.allowance for name, remote in remotes.items()})
    if expiry.eviction is not None:
        show_eviction(figures, store, expiry.eviction.evictor)
    looked = registry.blobs.ahead
    show_ahead(figures, lambda: looked.fetched_bytes, lambda: looked.wanted_bytes)
    hand = build_hand(store, registry, expiry, remotes, reactor, wall)
    lag = LagMeter(reactor, time.monotonic, figures.late)
    caretaker = None
    if expiry.eviction is not None:
        pinned = expiry.eviction.evictor.pinned
        caretaker = build_caretaker(
            settings, store, pinned, registry, lambda: site.under_way >= BUSY, reactor, wall, figures
        )

    def begin() -> Deferred[None]:
        lag.start()
        return Deferred.fromCoroutine(_open_after(compare_credentials(settings, store), gate))

    def stop() -> Deferred[None]:
        lag.stop()
        close_entrance()
        ended = succeed(None) if hand is None else hand.jobs.stop()
        return ended.addCallback(lambda _: registry.stop())

    return Mirror(
        site,
        remotes,
        begin,
        stop,
        lambda: site.under_way,
        enable,
        registry,
        explaining,
        expiry,
        caretaker,
        figures,
        lambda: tuple(filter(None, (None if gate.is_open else STARTING, store.health.reason))),
        lambda: silence(pulse, names),
        offline,
        hand,
    )


def circuit_of(remote: IRemoteRegistry) -> Circuit:
    """Whether it is asked now, as far as its failures and operators say."""
    return remote.standing().circuit


def build_resource(
    settings: Settings,
    registry: ProxyRegistry,
    gate: Gate,
    entrance: Entrance,
    reactor: Any,
    explaining: Explaining | None = None,
) -> ApiResource:
    """What answers requests, behind the entrance; ``explaining`` makes the traces that operators ask for."""
    access = settings.access
    tracing = None if explaining is None or not access.trace else Tracing(access.trace, explaining.brief)
    api = RegistryApi(registry, reactor, catalog=entrance if access.catalog else None)
    routes = Routes(settings.upstreams, private=not access.anonymous)
    return ApiResource(api, routes, access.networks, gate, entrance, tracing)


def counting(figures: Figures, log: Recorder) -> Recorder:
    """Each record goes into the figures, then into the log."""
    served = figures.served

    def record(one: AccessRecord) -> None:
        served(one.kind, one.method, one.status, one.how, one.upstream, one.sent_bytes, one.complete)
        log(one)

    return record


def silence(pulse: Pulse, names: Sequence[str]) -> Sequence[str]:
    """A sentence where none that was asked answers; what is on disk is served all the same. One that an
    operator has offline counts as one that was not asked."""
    heard = [answers for name in names if (answers := pulse.beat(name).answers) is not None]
    if heard and not any(heard):
        return ("no upstream answers: only what is on disk is served",)
    return ()


async def _open_after(comparing: Coroutine[Any, Any, None], gate: Gate) -> None:
    try:
        await comparing
    finally:
        gate.open()
