"""Readers of a blob that is kept nowhere: each follows a relay, and goes over to another when it must.

Laws: a reader owns no connection, and no bytes but the piece that it has come to. An answer that
covers the whole blob goes on only where the bytes before its offset, as this very reader gave them
out, are known by their hash; so it keeps its last bytes until the end is right, as a fill's does
(invariant 3). A part is the client's to check. What ends the relay that it follows ends it.
"""

from __future__ import annotations

import os

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from regproxy.errors import TransferStopped
from regproxy.fill.plan import covers_whole, readable_limit
from regproxy.fill.relay import Passage, Relay
from regproxy.fill.relays import Relays
from regproxy.fill.window import Piece, Point
from regproxy.interfaces import How, IBlob, IBody


@implementer(IBody)
class PassingReader:
    """The bytes from ``offset`` up to ``stop``; ``whole``: they end an answer with the whole blob.

    ``point`` is a place at or before ``offset``; the whole has nothing between them.
    """

    def __init__(
        self, relays: Relays, passage: Passage, point: Point, offset: int, stop: int | None, whole: bool
    ) -> None:
        self.offset = offset
        self._relays = relays
        self._passage = passage
        self._point = point
        self._stop = stop
        self._whole = whole
        self._relay: Relay | None = None
        self._piece: Piece | None = None
        self._doubtful = False
        """Whether the relay has yet to show that its bytes before our offset were ours."""
        self._closed = False
        self._pending: Deferred[None] | None = None
        self._waits_at = offset

    def __repr__(self) -> str:
        return f"<PassingReader at {self.offset} up to {self._stop} of {self._relay}>"

    def read(self, max_bytes: int) -> bytes | None:
        """As :meth:`IBody.read`."""
        found = self._at_hand(max_bytes)
        if found:
            self._advance(len(found))
        return None if found is None else bytes(found)

    def send(self, socket_fd: int, max_bytes: int) -> int | None:
        """As :meth:`IFileBody.send_file`."""
        found = self._at_hand(max_bytes)
        if not found:
            return None if found is None else 0
        sent = os.write(socket_fd, found)
        self._advance(sent)
        return sent

    def ready(self) -> Deferred[None]:
        """As :meth:`IBody.ready`."""
        return self.wait(self.offset)

    def wait(self, offset: int) -> Deferred[None]:
        """As ready(), for bytes at ``offset``, which may be before this reader's own."""
        if not self.stuck(offset):
            return succeed(None)
        self._waits_at = offset
        self._pending = Deferred(self._forget)
        return self._pending

    def poke(self) -> None:
        """The relay has news: wake whoever waits for bytes, if there are any for this reader."""
        if self._pending is not None and not self.stuck(self._waits_at):
            pending, self._pending = self._pending, None
            pending.callback(None)

    def close(self) -> None:
        """As :meth:`IBody.close`: the relay goes on for its other readers."""
        self._closed = True
        self._let_go()
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.errback(Failure(TransferStopped("the reader closed the body")))

    def follow(self) -> None:
        """Join a relay now, rather than with the first read. TransferStopped."""
        self._joined()

    def limit(self) -> int:
        """The offset up to which may be read now, bytes before this reader's own included; raises
        what ended it."""
        relay = self._joined()
        if relay.failure is not None:
            raise relay.failure
        limit = readable_limit(relay.window.front, self._passage.size, self._whole, relay.complete)
        return limit if self._stop is None else min(limit, self._stop)

    def stuck(self, offset: int) -> bool:
        """Whether there is nothing to tell of bytes at ``offset``, not even an error."""
        if self._closed or self._ended():
            return False
        relay = self._relay
        if relay is None or relay.failure is not None or self.offset < relay.window.start:
            return False
        if self._doubtful and self._is_there(relay):
            return False
        return offset >= self.limit()

    def _at_hand(self, max_bytes: int) -> memoryview | None:
        """What may be given out now, empty at the end, None: nothing yet."""
        if self._closed:
            raise TransferStopped("the body is closed")
        if self._ended():
            self._let_go()
            return memoryview(b"")
        room = self.limit() - self.offset
        if room <= 0:
            return None
        self._piece = piece = self._joined().window.at(self.offset)
        start = self.offset - piece.point.offset
        return memoryview(piece.content)[start : start + min(max_bytes, room)]

    def _advance(self, given: int) -> None:
        self.offset += given
        if self._relay is not None:
            self._relay.moved(self)

    def _joined(self) -> Relay:
        """The relay that this reader follows; another one, or a new one, where it fell behind."""
        relay = self._relay
        if relay is not None and relay.window.start <= self.offset and not self._disagrees(relay):
            return relay
        place = self._place()
        self._let_go()
        relay = self._relays.near(self._passage, place, self._whole)
        self._relay = relay = relay or self._relays.begin(self._passage, place)
        self._doubtful = self._whole and relay.window.front < self.offset
        relay.join(self)
        return relay

    def _disagrees(self, relay: Relay) -> bool:
        """Whether it turns out now that the relay's bytes before our offset were others."""
        if self._doubtful and self._is_there(relay):
            self._doubtful = not relay.window.agrees(self._place())
            return self._doubtful
        return False

    def _is_there(self, relay: Relay) -> bool:
        return relay.window.front >= self.offset or relay.complete

    def _place(self) -> Point:
        """Our offset, and the hash of what was given out before; a part need not know that."""
        piece, self._piece = self._piece, None
        if piece is not None:
            self._point = piece.upto(self.offset)
        known = self._point.offset == self.offset
        return self._point if known else Point(self.offset, None)

    def _ended(self) -> bool:
        complete = self._relay is not None and self._relay.complete and not self._doubtful
        if self._whole and not complete:
            return False
        if self._stop is not None:
            return self.offset >= self._stop
        return self._relay is not None and complete and self.offset >= self._relay.window.front

    def _let_go(self) -> None:
        if self._relay is not None:
            self._relay.leave(self)

    def _forget(self, _pending: Deferred[None]) -> None:
        self._pending = None


@attrs.frozen(slots=True)
class Onward:
    """How the readers of a fill go on where the disk refused, at ``point``."""

    relays: Relays
    passage: Passage
    point: Point

    def reader(self, offset: int, stop: int | None, whole: bool) -> PassingReader:
        """For the bytes from ``offset`` on; those before ``point`` again, if they are asked for."""
        point = self.point if offset >= self.point.offset else Point.beginning(self.passage.digest)
        return PassingReader(self.relays, self.passage, point, offset, stop, whole)

    def blob(self, how: How) -> PassingBlob:
        """For who begins now."""
        return PassingBlob(self, how)


@implementer(IBlob)
class PassingBlob:
    """A blob that is kept nowhere, for one reader, from its beginning."""

    def __init__(self, onward: Onward, how: How) -> None:
        self._onward = onward
        self._open = True
        self.how = how
        self.size = onward.passage.size

    def body(self, start: int = 0, stop: int | None = None) -> IBody:
        """As :meth:`IBlob.body`; the whole is checked, a part is the client's to check."""
        if not self._open:
            raise TransferStopped("the blob is closed")
        self._open = False
        whole = covers_whole(start, stop, self.size)
        end = stop if stop is not None else self.size
        reader = self._onward.reader(start, end, whole)
        reader.follow()
        return reader

    def close(self) -> None:
        """As :meth:`IBlob.close`."""
        self._open = False
