"""A listener: what all of its connections share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from regproxy.access.networks import Address, is_within
from regproxy.http1.connections import Connections, nobody
from regproxy.http1.progress import WINDOW_S
from regproxy.http1.watch import Watch
from regproxy.settings import LimitSettings, Network


class StrictSite(Site):
    """The factory of :class:`~regproxy.http1.channel.StrictChannel` connections, under ``limits``.

    HTTP/2 is not spoken, not even where the h2 package is installed: bodies are sent with HTTP/1.1
    framing. ``is_exempt``, ``turned_away`` and ``allowance`` are for :class:`Connections`. ``networks``:
    peers elsewhere, that are not exempt, are turned away as they come; None: nobody is.
    """

    window_s = WINDOW_S
    """How long a client is looked at before it is judged by what it took of an answer."""

    def __init__(
        self,
        resource: IResource,
        request_factory: type[Request],
        reactor: Any,
        limits: LimitSettings,
        is_exempt: Callable[[Address], bool] = nobody,
        turned_away: Callable[[str], object] = lambda limit: None,
        allowance: str = "limits.connections",
        networks: Sequence[Network] | None = None,
    ) -> None:
        # no timer of Twisted's for each connection: the watch has all of them
        super().__init__(resource, request_factory, timeout=None, reactor=reactor)  # type: ignore[no-untyped-call]
        self.limits = limits
        self.watch = Watch(reactor)
        self.connections = Connections(
            limits.connections,
            limits.per_address,
            time.monotonic,
            is_exempt,
            turned_away,
            allowance,
            partial(_is_stranger, networks, is_exempt),
        )

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 only."""
        return [b"http/1.1"]


def _is_stranger(
    networks: Sequence[Network] | None, is_exempt: Callable[[Address], bool], address: Address | None
) -> bool:
    """Never a proxy: whom it speaks for is judged by each request."""
    if networks is None or is_within(address, networks):
        return False
    return address is None or not is_exempt(address)
