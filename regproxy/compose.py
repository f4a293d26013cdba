"""Where the rooms are introduced to each other: settings in, what answers clients out."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, cast

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from regproxy.access.entrance import Entrance
from regproxy.access.forwarded import TrustedProxies
from regproxy.access.opening import open_entrance
from regproxy.config import builtin_realm
from regproxy.errors import StorageFailed, UpstreamRefused
from regproxy.eviction.evictor import Evictor
from regproxy.eviction.limits import Limits
from regproxy.eviction.pins import PinFile, Pins
from regproxy.expiry.files import StateFiles
from regproxy.expiry.pulse import Pulse
from regproxy.expiry.scheduler import TTLExpirationScheduler
from regproxy.gauges import show_ahead, show_connections, show_limits, show_rooms
from regproxy.interfaces import IRemoteRegistry, Watchers
from regproxy.metrics.figures import Figures
from regproxy.metrics.lag import LagMeter
from regproxy.proxy.registry import ProxyRegistry
from regproxy.settings import Settings, UpstreamSettings
from regproxy.storage.store import DiskStore
from regproxy.storage.thread import DiskThread
from regproxy.upstream.credentials import CredentialSource
from regproxy.upstream.registry import RemoteRegistry
from regproxy.upstream.tls import CertificateUnusable, names_of
from regproxy.web.access_log import AccessLog, AccessRecord, Recorder, Sink, write_nothing
from regproxy.web.api import RegistryApi
from regproxy.web.gate import Gate
from regproxy.web.request import RegistryRequest
from regproxy.web.resource import ApiResource
from regproxy.web.routing import Routes
from regproxy.web.sendfile import enable
from regproxy.web.site import RegistrySite

log = Logger()

STARTING = "it is starting: requests for content wait"


@attrs.frozen
class Eviction:
    """What takes content for want of space, what never goes, and the thread that decides."""

    evictor: Evictor
    pins: Pins
    thread: DiskThread


@attrs.frozen
class Expiry:
    """The scheduler, the thread that its files are written in, and what goes before its time."""

    scheduler: TTLExpirationScheduler
    store: DiskStore
    thread: DiskThread
    pulse: Pulse
    eviction: Eviction | None = None

    def begin(self) -> Deferred[None]:
        """Read pins and state, behind the serving daemon; the store tells of all that comes and goes from
        now, and asks for room."""
        return Deferred.fromCoroutine(self._begin())

    async def _begin(self) -> None:
        if self.eviction is None:
            self.store.watch(self.scheduler)
            await self.scheduler.start()
            return
        evictor = self.eviction.evictor
        self.store.watch(Watchers(self.scheduler, evictor))
        self.store.limit(evictor)
        await evictor.start()
        await self.scheduler.start()
        try:
            await self.store.census()
        except StorageFailed as error:
            log.error("The content cannot be counted yet: {error}", error=str(error))

    async def end(self) -> None:
        """Write the state and end the threads, which end too when this is cancelled."""
        threads = [self.thread]
        try:
            if self.eviction is not None:
                threads.append(self.eviction.thread)
                await self.eviction.evictor.stop()
            await self.scheduler.stop()
        finally:
            ended = [thread.stop() for thread in threads]
        for each in ended:
            await each


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
    expiry: Expiry | None = None
    """What lets content go that nobody uses."""
    figures: Figures = attrs.field(factory=Figures)
    """What is counted."""
    reasons: Callable[[], Sequence[str]] = tuple
    """Sentences that say why clients should not be sent here now; none: it is ready."""
    warnings: Callable[[], Sequence[str]] = tuple
    """Sentences about what is wrong, although it serves."""


class CountedRequest(RegistryRequest):
    """A request that its site knows of while it runs."""

    def begin(self) -> None:
        """As usual, and counted until it ends, however it ends."""
        super().begin()
        site: MirrorSite = self.site
        site.under_way += 1

        def over(_: object) -> None:
            site.under_way -= 1

        self.notifyFinish().addBoth(over)


class MirrorSite(RegistrySite):
    """The factory for client connections, which knows how many responses are under way."""

    request_type = CountedRequest
    under_way = 0


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


def build_expiry(
    settings: Settings,
    store: DiskStore,
    pulse: Pulse,
    reactor: Any,
    wall: Callable[[], float],
    figures: Figures | None = None,
) -> Expiry:
    """The scheduler and the evictor over ``store``; nothing is read yet."""
    figures = Figures() if figures is None else figures
    thread = DiskThread(reactor, "regproxy-state", store.health.refused)
    lives = {upstream.name: upstream.ttl_s for upstream in settings.upstreams}
    scheduler = TTLExpirationScheduler(
        store,
        StateFiles(settings.storage.root),
        thread.run,
        pulse,
        lambda upstream: lives.get(upstream, settings.ttl_s),
        reactor,
        wall,
        time.monotonic,
        figures.expired,
        kept=lambda key: eviction.evictor.pinned.holds(key),
    )
    eviction = build_eviction(settings, store, scheduler, reactor, figures)
    return Expiry(scheduler, store, thread, pulse, eviction)


def build_eviction(
    settings: Settings, store: DiskStore, scheduler: TTLExpirationScheduler, reactor: Any, figures: Figures
) -> Eviction:
    """What goes when ``store`` has too much, by what ``scheduler`` knows of its use."""
    storage = settings.storage
    thread = DiskThread(reactor, "regproxy-planner", store.health.refused)
    pins = Pins(settings.pins, PinFile(storage.root), thread.run)
    limits = Limits(storage.max_size_bytes, storage.min_free_bytes, storage.low_water)
    evictor = Evictor(store, scheduler, limits, pins, thread.run, reactor, figures.evicted, figures.not_kept)
    return Eviction(evictor, pins, thread)


def build_mirror(
    settings: Settings, store: DiskStore, reactor: Any, wall: Callable[[], float], access: Sink | None
) -> Mirror:
    """Everything between the disk and the sockets. ``access`` is where access lines go."""
    pulse = Pulse(time.monotonic)
    names = [upstream.name for upstream in settings.upstreams]
    figures = Figures(names)
    remotes = build_remotes(settings, reactor, wall, pulse, figures)
    for name, remote in remotes.items():
        pulse.watch(name, remote.answers)
    expiry = build_expiry(settings, store, pulse, reactor, wall, figures)
    rules = {upstream.name: (*upstream.tags, *settings.tags) for upstream in settings.upstreams}
    registry = ProxyRegistry(
        store, remotes, rules, reactor, wall, expiry.scheduler, figures.tags, settings.fill
    )
    gate = Gate()
    entrance, close_entrance = open_entrance(settings.access, settings.upstreams, reactor, wall)
    resource = build_resource(settings, registry, gate, entrance, reactor)
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
    show_connections(figures, lambda: site.connections.open)
    show_rooms(figures, lambda: site.under_way, registry.fills, store, expiry.scheduler, pulse, names)
    if expiry.eviction is not None:
        show_limits(figures, store, expiry.eviction.evictor)
    looked = registry.blobs.ahead
    show_ahead(figures, lambda: looked.fetched_bytes, lambda: looked.wanted_bytes)
    lag = LagMeter(reactor, time.monotonic, figures.late)

    def begin() -> Deferred[None]:
        lag.start()
        return Deferred.fromCoroutine(_open_after(compare_credentials(settings, store), gate))

    def stop() -> Deferred[None]:
        lag.stop()
        close_entrance()
        return registry.stop()

    return Mirror(
        site,
        remotes,
        begin,
        stop,
        lambda: site.under_way,
        enable,
        registry,
        expiry,
        figures,
        lambda: tuple(filter(None, (None if gate.is_open else STARTING, store.health.reason))),
        lambda: silence(pulse, names),
    )


def build_resource(
    settings: Settings, registry: ProxyRegistry, gate: Gate, entrance: Entrance, reactor: Any
) -> ApiResource:
    """What answers requests, behind the entrance."""
    access = settings.access
    api = RegistryApi(registry, reactor, catalog=entrance if access.catalog else None)
    routes = Routes(settings.upstreams, private=not access.anonymous)
    return ApiResource(api, routes, access.networks, gate, entrance)


def counting(figures: Figures, log: Recorder) -> Recorder:
    """Each record goes into the figures, then into the log."""
    served = figures.served

    def record(one: AccessRecord) -> None:
        served(one.kind, one.method, one.status, one.how, one.upstream, one.sent_bytes, one.complete)
        log(one)

    return record


def silence(pulse: Pulse, names: Sequence[str]) -> Sequence[str]:
    """A sentence where none that was asked answers; what is on disk is served all the same."""
    heard = [answers for name in names if (answers := pulse.beat(name).answers) is not None]
    if heard and not any(heard):
        return ("no upstream answers: only what is on disk is served",)
    return ()


async def _open_after(comparing: Coroutine[Any, Any, None], gate: Gate) -> None:
    try:
        await comparing
    finally:
        gate.open()


async def compare_credentials(settings: Settings, store: DiskStore) -> None:
    """What another credential was shown is no permission for this one (invariant 5).

    All upstreams at once, since clients wait: hashing takes 50 ms for each that has credentials.
    """
    comparing = [Deferred.fromCoroutine(_compare(upstream, store)) for upstream in settings.upstreams]
    for succeeded, result in await DeferredList(comparing, consumeErrors=True):
        if not succeeded:
            cast(Failure, result).raiseException()


def fingerprint(upstream: UpstreamSettings) -> bytes:
    """Who we are to it. A client certificate counts by its names, which a renewal keeps.

    UpstreamRefused, OSError, CertificateUnusable where a file cannot be read.
    """
    login = CredentialSource(upstream.name, upstream.credentials).login()
    known = b"" if login is None else f"{login.username}\0{login.password}".encode()
    return known if upstream.client_cert is None else known + b"\0" + names_of(upstream.client_cert)


async def _compare(upstream: UpstreamSettings, store: DiskStore) -> None:
    try:
        changed = await store.credential_changed(upstream.name, fingerprint(upstream))
    except UpstreamRefused:
        return  # the service says so when it tries the credentials
    except (OSError, CertificateUnusable):
        return  # each connection that needs it says so
    except StorageFailed as error:
        if not error.told:
            name = upstream.name
            log.warn("The credential of {upstream} is not remembered: {error}", upstream=name, error=error)
        return
    if changed:
        log.info("{upstream} has another credential now: it is asked again for all", upstream=upstream.name)
