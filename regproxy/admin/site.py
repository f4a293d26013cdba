"""The admin listener: who may ask there, which paths there are, and JSON for all the rest.

Klein sees only the paths in the table, so that none of its own pages is ever sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from klein import Klein
from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site
from werkzeug.exceptions import HTTPException

from regproxy.access.networks import admit, peer_host
from regproxy.errors import AccessDenied, InvalidRequest, RegproxyError, WriteRefused
from regproxy.http1.channel import Refusal, StrictChannel
from regproxy.http1.request import StrictRequest
from regproxy.settings import Network

Status = Callable[[], Mapping[str, object]]

_STATUS: Mapping[type[RegproxyError], int] = {InvalidRequest: 400, AccessDenied: 403, WriteRefused: 405}
_HEADERS = (("Content-Type", "application/json; charset=utf-8"), ("Cache-Control", "no-store"))
_EXTRA: Mapping[type[RegproxyError], tuple[tuple[str, str], ...]] = {WriteRefused: (("Allow", "GET, HEAD"),)}


def answer(request: IRequest, code: int, body: Mapping[str, object]) -> bytes:
    """One JSON object as the whole answer."""
    text = json.dumps(body).encode() + b"\n"
    request.setResponseCode(code)
    for name, value in (
        (b"Content-Type", b"application/json; charset=utf-8"),
        (b"Content-Length", b"%d" % len(text)),
        (b"Cache-Control", b"no-store"),
        (b"Date", http.datetimeToString()),
    ):
        request.setHeader(name, value)
    return text


class AdminApp:
    """The routes for operators. ``status`` tells what is to be said about the daemon now."""

    app = Klein()
    log = Logger()

    def __init__(self, status: Status) -> None:
        self._status = status

    @app.route("/healthz", methods=["GET"])
    def healthz(self, request: IRequest) -> bytes:
        """The daemon runs and answers: 200."""
        return answer(request, 200, {"status": "ok", **self._status()})

    @app.handle_errors(HTTPException)
    def refused(self, request: IRequest, failure: Any) -> bytes:
        """A verb that the path has not got."""
        error = failure.value
        for name, value in error.get_headers():
            if name == "Allow":
                request.setHeader(b"Allow", value.encode("ascii"))
        return answer(request, error.code, {"error": "only GET and HEAD are served here"})

    @app.handle_errors(Exception)
    def broken(self, request: IRequest, failure: Failure) -> bytes:
        """A fault of ours: logged whole, told as a bare 500."""
        self.log.failure("An admin page could not be served", failure)
        return answer(request, 500, {"error": "a fault in the mirror, see its log"})


class Refused(Resource):
    """The same JSON for whatever is asked."""

    isLeaf = True

    def __init__(self, code: int, message: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._code = code
        self._message = message

    def render(self, request: Request) -> bytes:
        """Whatever the verb."""
        return answer(request, self._code, {"error": self._message})


class AdminChannel(StrictChannel):
    """One connection: who may not ask is told so before anything that it sends is looked at."""

    def check_client(self) -> None:
        """Raise :exc:`AccessDenied` for a client outside the networks."""
        admit(peer_host(self.transport.getPeer()), self.site.networks)

    def refusal(self, error: RegproxyError) -> Refusal:
        """The same JSON as on every page."""
        body = json.dumps({"error": error.message}).encode() + b"\n"
        return Refusal(_STATUS[type(error)], body, (*_HEADERS, *_EXTRA.get(type(error), ())))


class AdminRequest(StrictRequest):
    """A request that Klein sees only where the table of pages has its path."""

    def process(self) -> None:
        """Serve the page, or say that there is none."""
        self.begin()
        serving = maybeDeferred(lambda: self.render(self.site.page(self)))
        serving.addErrback(self._broke)

    def _broke(self, reason: Failure) -> None:
        self.processingFailed(reason)

    def processingFailed(self, reason: Failure) -> Failure:
        """A fault of ours: logged whole, told as a bare 500."""
        AdminApp.log.failure("An admin page could not be served", reason)
        if not self.is_gone():
            self.write(answer(self, 500, {"error": "a fault in the mirror, see its log"}))
            self.finish()
        return reason


class AdminSite(Site):
    """HTTP/1.1 for the admin listeners; on TCP only for clients in ``networks``."""

    PATHS = frozenset({b"/healthz"})
    protocol: Any = AdminChannel
    header_s = 30.0
    idle_s = 60.0

    def __init__(self, status: Status, networks: Sequence[Network], reactor: Any) -> None:
        self.networks = networks
        self._pages = cast(IResource, AdminApp(status).app.resource())
        nowhere = Refused(404, "no such page: there is /healthz")
        super().__init__(  # type: ignore[no-untyped-call]
            nowhere, AdminRequest, timeout=self.idle_s, reactor=reactor
        )
        self.displayTracebacks = False

    def acceptableProtocols(self) -> list[bytes]:
        """Never HTTP/2, not even where the h2 package is installed."""
        return [b"http/1.1"]

    def page(self, request: Request) -> IResource:
        """The page, or what stands for it."""
        if request.path not in self.PATHS:
            return cast(IResource, self.resource)
        request.postpath = [request.path.removeprefix(b"/")]
        return self._pages

    def log(self, request: http.Request) -> None:
        """Health checks come every few seconds: no line for each."""
