"""The admin listener: who may ask there, and JSON for all that is no page."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import attrs
from twisted.internet.defer import maybeDeferred
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from regproxy.access.forwarded import TrustedProxies
from regproxy.access.networks import admit, peer_host
from regproxy.admin.attempts import Attempt
from regproxy.admin.door import PREFIX, Door
from regproxy.admin.pages import BROKEN, JSON, Page, Pages, as_json, send
from regproxy.errors import (
    AccessDenied,
    HeadersTooLarge,
    InvalidRequest,
    PostOnly,
    RegproxyError,
    RequestLineTooLong,
    SecretUnusable,
    TokenRefused,
    TooManyConnections,
    UnknownRoute,
    WriteRefused,
)
from regproxy.http1.channel import Refusal, StrictChannel
from regproxy.http1.request import StrictRequest
from regproxy.http1.site import StrictSite
from regproxy.http1.sockets import socket_peer
from regproxy.settings import LimitSettings, Network

CONNECTIONS = 64
"""An allowance of its own for each listener: operators get in, however many clients there are, and by
the socket however many come by TCP."""

_STATUS: Mapping[type[RegproxyError], int] = {
    InvalidRequest: 400,
    TokenRefused: 401,
    AccessDenied: 403,
    UnknownRoute: 404,
    WriteRefused: 405,
    PostOnly: 405,
    RequestLineTooLong: 414,
    HeadersTooLarge: 431,
    SecretUnusable: 503,
    TooManyConnections: 503,
}
_HEADERS = (("Content-Type", JSON.decode("ascii")), ("Cache-Control", "no-store"))
_EXTRA: Mapping[type[RegproxyError], tuple[tuple[str, str], ...]] = {
    WriteRefused: (("Allow", "GET, HEAD"),),
    PostOnly: (("Allow", "POST"),),
    TokenRefused: (("WWW-Authenticate", 'Bearer realm="regproxy operations"'),),
}


class Refused(Resource):
    """The same JSON for whatever is asked."""

    isLeaf = True

    def __init__(self, code: int, message: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sheet = as_json({"error": message}, code)

    def render(self, request: Request) -> bytes:
        """Whatever the verb."""
        return send(request, self._sheet)


class AdminChannel(StrictChannel):
    """One connection: who may not ask is told so before anything that it sends is looked at."""

    def check_client(self) -> None:
        """Raise :exc:`AccessDenied` for a client outside the networks."""
        admit(peer_host(self.transport.getPeer()), self.site.networks)

    def check_request(self) -> None:
        """What is asked of the door is judged by its head; all else is a read, as everywhere."""
        path = self._path.partition(b"?")[0]
        if self.site.door is None or not path.startswith(PREFIX):
            super().check_request()
            return
        request = self.requests[-1]
        request.caller = self.site.door.admit(
            path,
            Attempt(
                self._command,
                request.requestHeaders,
                self.length,
                socket_peer(self.transport),
                peer_host(self.transport.getHost()) or "",
                peer_host(self.transport.getPeer()) or "",
            ),
        )

    def refusal(self, error: RegproxyError) -> Refusal:
        """The same JSON as on every page."""
        body = json.dumps({"error": error.message}).encode() + b"\n"
        return Refusal(_STATUS[type(error)], body, (*_HEADERS, *_EXTRA.get(type(error), ())))


class AdminRequest(StrictRequest):
    """A request that Klein sees only where the table of pages has its path."""

    caller: str | None = None
    """Who asks for an operation, once that is decided."""

    def gotLength(self, length: int | None) -> None:
        """Keep the body of an operation, whose length is bounded by then; of anything else nothing."""
        super().gotLength(length)
        if self.caller is not None:
            self.content = io.BytesIO()

    def process(self) -> None:
        """Serve the page, or say that there is none."""
        self.begin()
        self.set_common_headers()
        serving = maybeDeferred(lambda: self.render(self.site.page(self)))
        serving.addErrback(self._broke)

    def _broke(self, reason: Failure) -> None:
        self.processingFailed(reason)

    def processingFailed(self, reason: Failure) -> Failure:
        """A fault of ours: logged whole, told as a bare 500."""
        Pages.log.failure("An admin page could not be served", reason)
        if not self.is_gone():
            self.write(send(self, BROKEN))
            self.finish()
        return reason


class AdminSite(StrictSite):
    """HTTP/1.1 for an admin listener; on TCP only for clients in ``networks``. No ``door``: only reads.

    ``limits`` are the clients' but for the number of connections. ``proxies`` may speak for clients, by
    the PROXY protocol.
    """

    protocol: Any = AdminChannel

    def __init__(
        self,
        pages: Mapping[str, Page],
        networks: Sequence[Network],
        reactor: Any,
        limits: LimitSettings,
        door: Door | None = None,
        proxies: TrustedProxies | None = None,
    ) -> None:
        self.networks = networks
        self.door = door
        self._pages = Pages(pages)
        nowhere = Refused(404, f"no such page: there is {self._pages}")
        own = attrs.evolve(limits, connections=CONNECTIONS, per_address=None)
        super().__init__(
            nowhere,
            AdminRequest,
            reactor,
            own,
            (proxies or TrustedProxies()).include,
            allowance=f"{CONNECTIONS} for operators",
            networks=networks,
        )
        self.displayTracebacks = False

    def page(self, request: AdminRequest) -> IResource:
        """The page, the door for who was let through it, or what stands for either."""
        if request.caller is not None:
            return cast(IResource, self.door)
        if request.path not in self._pages:
            return cast(IResource, self.resource)
        request.postpath = [request.path.removeprefix(b"/")]
        return self._pages.resource

    def log(self, request: http.Request) -> None:
        """Health checks come every few seconds: no line for each."""
