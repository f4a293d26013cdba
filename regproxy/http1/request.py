"""One request of a client: no body is kept, no library's page is sent, one answer at a time."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.web import server
from twisted.web.http import datetimeToString

from regproxy.access.networks import peer_host


class _Nowhere(io.BytesIO):
    """A request body that is dropped as it comes."""

    def write(self, data: object, /) -> int:
        return 0


class StrictRequest(server.Request):
    """What every listener's requests have in common."""

    # the types that Twisted leaves out
    channel: Any
    site: Any
    getClientAddress: Callable[[], object]
    setHeader: Callable[[bytes, bytes], None]
    write: Callable[[bytes], None]

    _ending = False

    @property
    def is_head(self) -> bool:
        """Whether headers alone are asked for."""
        return bool(self.method == b"HEAD")

    @property
    def peer(self) -> str | None:
        """The client's address; None on a unix socket."""
        return peer_host(self.getClientAddress())

    def gotLength(self, length: int | None) -> None:
        """Keep nothing of a body, whatever its length: no read has a use for one."""
        self.content = _Nowhere()

    def begin(self) -> None:
        """Know the site; nothing of the path is used up yet."""
        self.site = self.channel.site
        self.prepath, self.postpath = [], []

    def set_common_headers(self) -> None:
        """Those that every answer has."""
        self.setHeader(b"Server", b"regproxy")
        self.setHeader(b"Date", datetimeToString())

    def getRequestHostname(self) -> bytes:
        """What Klein binds its map of routes to; it has no hosts, so it sees none of the client's."""
        return b"regproxy"

    def is_gone(self) -> bool:
        """Whether the connection is lost, or the answer finished."""
        channel = getattr(self, "channel", None)
        return channel is None or bool(channel.has_left)

    def finish(self) -> None:
        """The answer is written: it ends once the client's side takes more.

        So what a client does not take is one answer, not one for each request that it sent ahead.
        """
        if not self._ending and not self.is_gone():
            self._ending = True
            self.channel.once_taken(self._end)

    def _end(self) -> None:
        server.Request.finish(self)

    def over(self) -> Deferred[None]:
        """Fires when the answer is finished or the connection lost, whichever it is."""
        if getattr(self, "channel", None) is None:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self.notifyFinish().addBoth(lambda _: None if done.called else done.callback(None))
        return done
