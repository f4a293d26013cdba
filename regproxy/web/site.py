"""The listener's factory: strict HTTP/1.1, every answer our own."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IProtocolNegotiationFactory,
    IReactorTime,
)
from twisted.web import http, server
from twisted.web.resource import IResource
from zope.interface import implementer

from regproxy.access.forwarded import TrustedProxies
from regproxy.web.access_log import Recorder, write_nothing
from regproxy.web.channel import RegistryChannel
from regproxy.web.request import RegistryRequest


class RegistrySite(server.Site):
    """The factory for client connections; ``resource`` answers every request that is HTTP.

    ``record`` gets one :class:`AccessRecord` a request. ``header_s``: a request must be whole
    in that time, without an answer; ``idle_s``: a kept connection without request is closed after it.
    ``proxies``: whose word counts for a client's address. HTTP/2 is not spoken (bodies are sent
    with HTTP/1.1 framing).
    """

    protocol: Any = RegistryChannel

    def __init__(
        self,
        resource: IResource,
        reactor: IReactorTime,
        record: Recorder = write_nothing,
        header_s: float = 30.0,
        idle_s: float = 120.0,
        proxies: TrustedProxies | None = None,
    ) -> None:
        server.Site.__init__(self, resource, RegistryRequest, timeout=idle_s, reactor=reactor)
        self.record = record
        self.header_s = header_s
        self.idle_s = idle_s
        self.proxies = proxies or TrustedProxies()

    def log(self, request: http.Request) -> None:
        """Twisted's own access line; ours is the record."""

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 only."""
        return [b"http/1.1"]


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
