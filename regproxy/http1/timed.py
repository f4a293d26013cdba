"""A connection that has a place among all of them, and one time at most for whatever comes next.

Laws: a place is given back once, when the connection is lost. What is watched is the request until it
is whole, then the client's pace until the answer is taken, then the silence, then the end; each of them
replaces the one before. A client that takes what is there for it, at a lawful pace, is never cut.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request

from regproxy.access.networks import peer_host
from regproxy.http1.connections import Verdict
from regproxy.http1.progress import Sight, is_stuck
from regproxy.http1.sockets import queued_bytes, taken_bytes, unsent_bytes
from regproxy.http1.watch import Watched

LINGER_S = 2.0
"""How long a client that is refused has to ask, and to read the answer; and one that is to go, to go."""

DONE = Failure(ConnectionDone())
"""How a connection ends that nobody says anything of."""


@attrs.frozen(slots=True)
class Ending:
    """Why a connection was ended here: ``note`` a word for it, ``cause`` a sentence."""

    note: str | None
    cause: str


class TimedChannel(HTTPChannel):
    """One connection. Its site is a :class:`~regproxy.http1.site.StrictSite`."""

    site: Any
    transport: Any
    _waitingForTransport: Any
    _verdict = Verdict.ADMITTED
    _peer: str | None = None
    _closed = False
    _sight: Sight | None = None
    _held: Callable[[], object] | None = None
    ending: Ending | None = None
    """Why it was cut in the middle of an answer."""
    has_left = False
    """The client is gone; Twisted tells producers before it tells requests."""

    def connectionMade(self) -> None:
        """Take a place."""
        self._time = Watched()
        self._peer = peer_host(self.transport.getPeer())
        self._verdict = self.site.connections.enter(self._peer)
        HTTPChannel.connectionMade(self)

    def _is_moved_out(self) -> bool:
        """Take a place anew where a PROXY header has named the client since; whether there is none."""
        peer = peer_host(self.transport.getPeer())
        if peer == self._peer or self._verdict is not Verdict.ADMITTED:
            return False
        self.site.connections.leave(self._peer, self._verdict)
        self._peer = peer
        self._verdict = self.site.connections.enter(peer)
        return self._verdict is not Verdict.ADMITTED

    def _expect(self, within_s: float, then: Callable[[], object]) -> None:
        """Instead of what was expected before."""
        if not self._closed:
            self.site.watch.expect(self._time, within_s, then)

    def allContentReceived(self) -> None:
        """The request is whole; from now on it is the client who must take the answer."""
        self._expect(self.site.window_s, self._look)
        HTTPChannel.allContentReceived(self)

    def requestDone(self, request: Request) -> None:
        """Its answer is written."""
        self._sight = None
        self._expect(self.site.limits.idle_s, self._idle)
        HTTPChannel.requestDone(self, request)

    def resumeProducing(self) -> None:
        """The client's side has taken what was written: now its answer may end."""
        HTTPChannel.resumeProducing(self)
        held, self._held = self._held, None
        if held is not None:
            held()

    def stopProducing(self) -> None:
        """The connection is lost; the requests learn it right after their producers."""
        self.has_left = True
        HTTPChannel.stopProducing(self)

    def loseConnection(self) -> None:
        """Close once all is sent, and abort a client that does not take it."""
        self._sight = None
        self._expect(self.site.limits.idle_s, self._end)
        HTTPChannel.loseConnection(self)

    def connectionLost(self, reason: Failure = DONE) -> None:
        """Give the place back; unfinished requests learn of it."""
        self.has_left = self._closed = True
        self._held = None
        self.site.watch.forget(self._time)
        self.site.connections.leave(self._peer, self._verdict)
        HTTPChannel.connectionLost(self, reason)

    def once_taken(self, then: Callable[[], object]) -> None:
        """Call ``then`` once the client's side takes more: now, or when what was written is gone.

        Never, when the client leaves first or is cut.
        """
        if self._waitingForTransport:
            self._held = then
        else:
            then()

    def _look(self) -> None:
        """While an answer is under way."""
        self._watch_over(None, self._look)

    def _idle(self) -> None:
        """Between requests: the system may hold megabytes of an answer that is written, for minutes."""
        self._watch_over(self.loseConnection, self._idle)

    def _end(self) -> None:
        """While it closes, which comes behind what is still to be taken; TLS waits for the other side too."""
        self._watch_over(self._end_soon, self._end)

    def _end_soon(self) -> None:
        """All is taken: on a busy machine the close may just not have had its turn."""
        self._expect(LINGER_S, self.transport.abortConnection)

    def _watch_over(self, once_taken: Callable[[], object] | None, again: Callable[[], object]) -> None:
        """Cut a client that does not take what is there for it; ``once_taken``: it has all."""
        before, self._sight = self._sight, self._seen()
        window_s, rate = self.site.window_s, self.site.limits.slow_reader_bytes_s or 0
        if once_taken is not None and not self._sight.pending_bytes:
            once_taken()
        elif before is not None and is_stuck(before, self._sight, int(rate * window_s)):
            taken = "little" if before.taken_bytes != self._sight.taken_bytes else "nothing"
            self.ending = Ending("slow", f"the client took {taken} for {window_s:g} seconds")
            self.transport.abortConnection()
        else:
            self._expect(window_s, again)

    def _seen(self) -> Sight:
        transport = self.transport
        return Sight(taken_bytes(transport), unsent_bytes(transport) + queued_bytes(transport))
