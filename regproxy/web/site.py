"""The listener's factory: strict HTTP/1.1, every answer our own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.web import http
from twisted.web.resource import IResource

from regproxy.http1.connections import Address, nobody
from regproxy.http1.site import StrictSite
from regproxy.settings import LimitSettings
from regproxy.web.access_log import Recorder, write_nothing
from regproxy.web.channel import RegistryChannel
from regproxy.web.request import RegistryRequest

LIMITS = LimitSettings()


class RegistrySite(StrictSite):
    """The factory for client connections; ``resource`` answers every request that is HTTP.

    ``record`` gets one :class:`AccessRecord` a request. ``is_exempt``: this address may have any
    number of connections. ``turned_away`` is told the limit for each one that has no room.
    """

    protocol: Any = RegistryChannel

    def __init__(
        self,
        resource: IResource,
        reactor: IReactorTime,
        record: Recorder = write_nothing,
        limits: LimitSettings = LIMITS,
        is_exempt: Callable[[Address], bool] = nobody,
        turned_away: Callable[[str], object] = lambda limit: None,
    ) -> None:
        super().__init__(resource, RegistryRequest, reactor, limits, is_exempt, turned_away)
        self.record = record

    def log(self, request: http.Request) -> None:
        """Twisted's own access line; ours is the record."""
