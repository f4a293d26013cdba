"""The table of pages: a path, and what makes its page. A page is a function of its own module.

Klein maps paths to pages; the site lets it see only paths of the table, so that none of its own
pages is ever sent.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, cast

import attrs
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from werkzeug.exceptions import HTTPException

JSON = b"application/json; charset=utf-8"


@attrs.frozen(slots=True)
class Sheet:
    """One answer, whole."""

    content: bytes = attrs.field(repr=False)
    status: int = 200
    content_type: bytes = JSON


Page: TypeAlias = Callable[[IRequest], Sheet | Awaitable[Sheet]]
"""Makes a page, at once or in slices; it reads of the request what it needs, mostly nothing."""


def as_json(body: Mapping[str, object], status: int = 200) -> Sheet:
    """One JSON object as the whole answer."""
    return Sheet(json.dumps(body).encode() + b"\n", status)


def send(request: IRequest, sheet: Sheet) -> bytes:
    """Prepare status and headers for ``sheet``; its content is given back, for who writes it."""
    request.setResponseCode(sheet.status)
    for name, value in (
        (b"Content-Type", sheet.content_type),
        (b"Content-Length", b"%d" % len(sheet.content)),
        (b"Cache-Control", b"no-store"),
        (b"Date", http.datetimeToString()),
    ):
        request.setHeader(name, value)
    return sheet.content


BROKEN = as_json({"error": "a fault in the mirror, see its log"}, 500)


class Pages:
    """All pages of a site by their paths (``/healthz``)."""

    log = Logger()

    def __init__(self, table: Mapping[str, Page]) -> None:
        self._table = dict(table)
        self._klein = Klein()
        for path in self._table:
            self._klein.route(path, methods=["GET"], endpoint=path)(self._served)
        self._klein.handle_errors(HTTPException)(self._refused)
        self._klein.handle_errors(Exception)(self._broke)
        self.resource = cast(IResource, self._klein.resource())

    def __contains__(self, path: object) -> bool:
        return isinstance(path, bytes) and path.decode("latin-1") in self._table

    def __str__(self) -> str:
        return ", ".join(self._table)

    def _served(self, request: Any) -> Deferred[bytes]:
        """Klein's handler for every path of the table."""
        page = self._table[request.path.decode("latin-1")]
        return Deferred.fromCoroutine(_made(page, request)).addCallback(lambda sheet: send(request, sheet))

    def _refused(self, request: IRequest, failure: Any) -> bytes:
        """A verb that the path has not got."""
        error = failure.value
        for name, value in error.get_headers():
            if name == "Allow":
                request.setHeader(b"Allow", value.encode("ascii"))
        return send(request, as_json({"error": "only GET and HEAD are served here"}, error.code))

    def _broke(self, request: IRequest, failure: Failure) -> bytes:
        """A fault of ours: logged whole, told as a bare 500."""
        self.log.failure("An admin page could not be served", failure)
        return send(request, BROKEN)


async def _made(page: Page, request: IRequest) -> Sheet:
    made = page(request)
    return made if isinstance(made, Sheet) else await made
