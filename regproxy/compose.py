"""Where the rooms are introduced to each other: settings in, what answers clients out."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, cast

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource

from regproxy.config import builtin_realm
from regproxy.errors import StorageFailed, UpstreamRefused
from regproxy.expiry.files import StateFiles
from regproxy.expiry.pulse import Pulse
from regproxy.expiry.scheduler import TTLExpirationScheduler
from regproxy.interfaces import IRemoteRegistry
from regproxy.proxy.registry import ProxyRegistry
from regproxy.settings import Settings, UpstreamSettings
from regproxy.storage.store import DiskStore
from regproxy.storage.thread import DiskThread
from regproxy.upstream.credentials import CredentialSource
from regproxy.upstream.registry import RemoteRegistry
from regproxy.web.access_log import AccessLog, Recorder, Sink, write_nothing
from regproxy.web.api import ApiResource, RegistryApi
from regproxy.web.gate import Gate
from regproxy.web.request import RegistryRequest
from regproxy.web.routing import Routes
from regproxy.web.sendfile import enable
from regproxy.web.site import RegistrySite

log = Logger()


@attrs.frozen
class Expiry:
    """The scheduler, and the thread that its files are written in."""

    scheduler: TTLExpirationScheduler
    store: DiskStore
    thread: DiskThread

    def begin(self) -> Deferred[None]:
        """Read the state, behind the serving daemon; the store tells of all that comes and goes from now."""
        self.store.watch(self.scheduler)
        return self.scheduler.start()

    async def end(self) -> None:
        """Write the state and end the thread."""
        await self.scheduler.stop()
        await self.thread.stop()


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

    under_way = 0

    def __init__(self, resource: IResource, reactor: Any, record: Recorder) -> None:
        super().__init__(resource, reactor, record)
        self.requestFactory = CountedRequest


def build_remotes(
    settings: Settings, reactor: Any, wall: Callable[[], float], pulse: Pulse | None = None
) -> dict[str, IRemoteRegistry]:
    """One remote registry for each upstream; nothing is connected yet. ``pulse`` hears of each."""
    return {
        upstream.name: RemoteRegistry(
            upstream,
            reactor,
            wall,
            builtin_realm(upstream.name),
            heard=(lambda answered: None) if pulse is None else partial(pulse.heard, upstream.name),
        )
        for upstream in settings.upstreams
    }


def build_expiry(
    settings: Settings, store: DiskStore, pulse: Pulse, reactor: Any, wall: Callable[[], float]
) -> Expiry:
    """The scheduler over ``store``; nothing is read yet."""
    thread = DiskThread(reactor, "regproxy-state")
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
    )
    return Expiry(scheduler, store, thread)


def build_mirror(
    settings: Settings, store: DiskStore, reactor: Any, wall: Callable[[], float], access: Sink | None
) -> Mirror:
    """Everything between the disk and the sockets. ``access`` is where access lines go."""
    pulse = Pulse(time.monotonic)
    remotes = build_remotes(settings, reactor, wall, pulse)
    for name, remote in remotes.items():
        pulse.watch(name, remote.answers)
    expiry = build_expiry(settings, store, pulse, reactor, wall)
    rules = {upstream.name: (*upstream.tags, *settings.tags) for upstream in settings.upstreams}
    registry = ProxyRegistry(store, remotes, rules, reactor, wall, expiry.scheduler)
    gate = Gate()
    resource = ApiResource(
        RegistryApi(registry, reactor), Routes(settings.upstreams), settings.access.networks, gate
    )
    record = write_nothing if access is None else AccessLog(access, settings.log.format, wall)
    site = MirrorSite(resource, reactor, record)

    def begin() -> Deferred[None]:
        return Deferred.fromCoroutine(_open_after(compare_credentials(settings, store), gate))

    return Mirror(site, remotes, begin, registry.stop, lambda: site.under_way, enable, registry, expiry)


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


async def _compare(upstream: UpstreamSettings, store: DiskStore) -> None:
    try:
        login = CredentialSource(upstream.name, upstream.credentials).login()
        fingerprint = b"" if login is None else f"{login.username}\0{login.password}".encode()
        changed = await store.credential_changed(upstream.name, fingerprint)
    except UpstreamRefused:
        return  # the service says so when it tries the credentials
    except StorageFailed as error:
        log.warn(
            "The credential of {upstream} is not remembered: {error}", upstream=upstream.name, error=error
        )
        return
    if changed:
        log.info("{upstream} has another credential now: it is asked again for all", upstream=upstream.name)
