"""The listener's factory: strict HTTP/1.1, every answer our own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IProtocolNegotiationFactory,
    IReactorTime,
)
from twisted.web import http
from twisted.web.resource import IResource
from zope.interface import implementer

from regproxy.access.forwarded import TrustedProxies
from regproxy.http1.site import StrictSite
from regproxy.settings import LimitSettings, Network
from regproxy.web.access_log import Recorder, write_nothing
from regproxy.web.channel import RegistryChannel
from regproxy.web.request import RegistryRequest

LIMITS = LimitSettings()


class RegistrySite(StrictSite):
    """The factory for client connections; ``resource`` answers every request that is HTTP.

    ``record`` gets one :class:`AccessRecord` a request. ``proxies``: whose word counts for a client's
    address; they may have any number of connections. ``turned_away`` is told the limit for each one
    that has no room. Peers outside ``networks`` that are no proxies get none.
    """

    protocol: Any = RegistryChannel
    request_type: type[RegistryRequest] = RegistryRequest

    def __init__(
        self,
        resource: IResource,
        reactor: IReactorTime,
        record: Recorder = write_nothing,
        limits: LimitSettings = LIMITS,
        turned_away: Callable[[str], object] = lambda limit: None,
        proxies: TrustedProxies | None = None,
        networks: Sequence[Network] | None = None,
    ) -> None:
        self.proxies = proxies or TrustedProxies()
        super().__init__(
            resource, self.request_type, reactor, limits, self.proxies.include, turned_away, networks=networks
        )
        self.record = record

    def log(self, request: http.Request) -> None:
        """Twisted's own access line; ours is the record."""


@implementer(IProtocolFactory, IProtocolNegotiationFactory)
class BoundListener:
    """``site`` for a listener whose requests all mean the upstream of this name."""

    noisy = False

    def __init__(self, site: IProtocolFactory, upstream: str) -> None:
        self._site: Any = site
        self._upstream = upstream

    def __repr__(self) -> str:
        return f"<BoundListener {self._upstream}>"

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        """A connection of the site, which knows what it is bound to."""
        channel = self._site.buildProtocol(addr)
        if channel is not None:
            channel.bound_to = self._upstream
        return cast("IProtocol | None", channel)

    def doStart(self) -> None:
        """As the site."""
        self._site.doStart()

    def doStop(self) -> None:
        """As the site."""
        self._site.doStop()

    def acceptableProtocols(self) -> list[bytes]:
        """As the site, for TLS."""
        return cast("list[bytes]", self._site.acceptableProtocols())
