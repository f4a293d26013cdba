"""Where the rooms are introduced to each other: settings in, what answers clients out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TextIO

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.web.resource import IResource

from regproxy.config import builtin_realm
from regproxy.errors import StorageFailed, UpstreamRefused
from regproxy.interfaces import IRemoteRegistry
from regproxy.proxy.registry import ProxyRegistry
from regproxy.settings import Settings
from regproxy.storage.store import DiskStore
from regproxy.upstream.credentials import CredentialSource
from regproxy.upstream.registry import RemoteRegistry
from regproxy.web.access_log import AccessLog, Recorder, write_nothing
from regproxy.web.api import ApiResource, RegistryApi
from regproxy.web.request import RegistryRequest
from regproxy.web.routing import Routes
from regproxy.web.sendfile import enable
from regproxy.web.site import RegistrySite

log = Logger()


@attrs.frozen
class Mirror:
    """What answers clients, and what the service must know of it to begin and to end it."""

    factory: IProtocolFactory
    remotes: Mapping[str, IRemoteRegistry]
    begin: Callable[[], Deferred[None]]
    """To be called once the reactor runs, before anything else."""
    stop: Callable[[], Deferred[Any]]
    """End all transfers; fires when each has let go of its spool."""
    responses: Callable[[], int] = lambda: 0
    """How many responses are under way."""
    prepare: Callable[[IListeningPort], None] = lambda port: None
    """Called with each port that clients come in by, right after it listens."""
    registry: ProxyRegistry | None = None
    """The heart, for those who watch it."""


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


def build_remotes(settings: Settings, reactor: Any, wall: Callable[[], float]) -> dict[str, IRemoteRegistry]:
    """One remote registry for each upstream; nothing is connected yet."""
    return {
        upstream.name: RemoteRegistry(upstream, reactor, wall, builtin_realm(upstream.name))
        for upstream in settings.upstreams
    }


def build_mirror(
    settings: Settings, store: DiskStore, reactor: Any, wall: Callable[[], float], access: TextIO | None
) -> Mirror:
    """Everything between the disk and the sockets. ``access`` is where access lines go."""
    remotes = build_remotes(settings, reactor, wall)
    rules = {upstream.name: (*upstream.tags, *settings.tags) for upstream in settings.upstreams}
    registry = ProxyRegistry(store, remotes, rules, reactor, wall)
    resource = ApiResource(
        RegistryApi(registry, reactor), Routes(settings.upstreams), settings.access.networks
    )
    record = write_nothing if access is None else AccessLog(access, settings.log.format, wall)
    site = MirrorSite(resource, reactor, record)

    def begin() -> Deferred[None]:
        return Deferred.fromCoroutine(compare_credentials(settings, store))

    return Mirror(site, remotes, begin, registry.stop, lambda: site.under_way, enable, registry)


async def compare_credentials(settings: Settings, store: DiskStore) -> None:
    """What another credential was shown is no permission for this one (invariant 5)."""
    for upstream in settings.upstreams:
        try:
            login = CredentialSource(upstream.name, upstream.credentials).login()
            fingerprint = b"" if login is None else f"{login.username}\0{login.password}".encode()
            changed = await store.credential_changed(upstream.name, fingerprint)
        except UpstreamRefused:
            continue  # the service says so when it tries the credentials
        except StorageFailed as error:
            log.warn(
                "The credential of {upstream} is not remembered: {error}", upstream=upstream.name, error=error
            )
            continue
        if changed:
            log.info(
                "{upstream} has another credential now: it is asked again for all", upstream=upstream.name
            )
