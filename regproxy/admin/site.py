"""The admin listener: who may ask there, which paths there are, and JSON for all the rest.

Klein sees only the paths in the table, so that none of its own pages is ever sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from klein import Klein
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site
from werkzeug.exceptions import HTTPException

from regproxy.access.networks import admit, peer_host
from regproxy.errors import AccessDenied
from regproxy.settings import Network

Status = Callable[[], Mapping[str, object]]


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


class Refusal(Resource):
    """The same JSON for whatever is asked."""

    isLeaf = True

    def __init__(self, code: int, message: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._code = code
        self._message = message

    def render(self, request: Request) -> bytes:
        """Whatever the verb."""
        return answer(request, self._code, {"error": self._message})

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Itself, however deep."""
        return self


class AdminRequest(Request):
    """A request whose Host, which no page depends on, Klein never sees."""

    def getRequestHostname(self) -> bytes:
        """What Klein binds its map of routes to."""
        return b"admin"


class AdminSite(Site):
    """HTTP/1.1 for the admin listeners; on TCP only for clients in ``networks``."""

    PATHS = frozenset({b"/healthz"})

    def __init__(self, status: Status, networks: Sequence[Network], reactor: Any) -> None:
        self._networks = networks
        self._pages = cast(IResource, AdminApp(status).app.resource())
        nowhere = Refusal(404, "no such page: there is /healthz")
        super().__init__(nowhere, AdminRequest, reactor=reactor)  # type: ignore[no-untyped-call]
        self.displayTracebacks = False

    def acceptableProtocols(self) -> list[bytes]:
        """Never HTTP/2, not even where the h2 package is installed."""
        return [b"http/1.1"]

    def getResourceFor(self, request: Request) -> IResource:
        """The page, or what stands for it."""
        try:
            admit(peer_host(request.getClientAddress()), self._networks)
        except AccessDenied as error:
            return cast(IResource, Refusal(403, str(error)))
        if request.path not in self.PATHS:
            return cast(IResource, self.resource)
        request.prepath, request.postpath = [], [request.path.removeprefix(b"/")]
        return self._pages

    def log(self, request: http.Request) -> None:
        """Health checks come every few seconds: no line for each."""
