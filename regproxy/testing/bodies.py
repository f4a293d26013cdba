"""Bodies in memory whose bytes come when the test gives them."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from regproxy.errors import TransferStopped, UpstreamError
from regproxy.interfaces import How, IBody, IRangedBlob, IRemoteBody
from regproxy.singleflight import Waiters


class Feed:
    """The bytes of one blob: those here so far, and whether more will come.

    ``Feed.whole(content)`` is complete from the start; ``Feed(size)`` (None: a size that nobody
    tells) gets its bytes by give(), then end() or fail().
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = size
        self.content = bytearray()
        self.ended = False
        self.error: BaseException | None = None
        self.bodies: list[MemoryBody] = []
        """Every body that was opened on it, closed ones too."""
        self.held = False
        """Whether its bodies are held back by something of ours."""
        self.elsewhere: Callable[[], bool] = lambda: False
        """Whether its upstream has another endpoint for them."""
        self.found_slow = 0
        """How many were given up, and their endpoint with them."""
        self._waiters: Waiters[None] = Waiters()

    @classmethod
    def whole(cls, content: bytes) -> Feed:
        """A feed that has everything."""
        feed = cls(len(content))
        feed.give(content)
        feed.end()
        return feed

    def __repr__(self) -> str:
        state = "failed" if self.error else "ended" if self.ended else "open"
        return f"<Feed {len(self.content)} of {self.size} bytes, {state}, {self.open_count} readers>"

    @property
    def open_count(self) -> int:
        """Bodies that are not closed yet."""
        return sum(not body.closed for body in self.bodies)

    def give(self, content: bytes) -> None:
        """More bytes are here."""
        self.content += content
        self._waiters.fire(None)

    def end(self) -> None:
        """That was all."""
        self.ended = True
        self._waiters.fire(None)

    def fail(self, error: BaseException) -> None:
        """No more will come: readers get ``error`` once they have read what is here."""
        self.error = error
        self._waiters.fire(None)

    def wait(self) -> Deferred[None]:
        """Fires when something has changed."""
        return self._waiters.add()


@implementer(IRemoteBody)
class MemoryBody:
    """A span of a feed. ``closed`` tells whether its reader has let go of it."""

    def __init__(self, feed: Feed, start: int, stop: int | None) -> None:
        self._feed = feed
        self._position = start
        self._stop = stop
        self._start = start
        self._given_up: tuple[int, BaseException] | None = None
        self._pending: Deferred[None] | None = None
        self._waiting: Deferred[None] | None = None
        self.closed = False
        feed.bodies.append(self)

    def _at_end(self) -> bool:
        if self._stop is not None and self._position >= self._stop:
            return True
        return self._feed.ended and self._position >= len(self._feed.content)

    def _settled(self) -> bool:
        error = self._feed.error or self._given_up
        return self._at_end() or self._position < self._come() or error is not None

    def _come(self) -> int:
        """The offset up to which bytes have come."""
        come = len(self._feed.content)
        return come if self._given_up is None else min(come, self._given_up[0])

    def read(self, max_bytes: int) -> bytes | None:
        """See IBody; TransferStopped after close()."""
        if self.closed:
            raise TransferStopped("the body is closed")
        if self._at_end():
            return b""
        stop = self._position + max_bytes
        stop = min(stop, self._come(), stop if self._stop is None else self._stop)
        here = bytes(self._feed.content[self._position : stop])
        self._position += len(here)
        if here:
            return here
        if self._given_up is not None:
            raise self._given_up[1]
        if self._feed.error is not None:
            raise self._feed.error
        return None

    @property
    def came(self) -> int:
        """See IRemoteBody."""
        return max(0, self._come() - self._start)

    def held(self) -> bool:
        """See IRemoteBody; as the feed says."""
        return self._feed.held

    def elsewhere(self) -> bool:
        """See IRemoteBody; as the feed says."""
        return self._feed.elsewhere()

    def give_up(self, error: UpstreamError, slow: bool) -> None:
        """See IRemoteBody."""
        if self._given_up is not None or self._at_end():
            return
        self._given_up = len(self._feed.content), error
        self._feed.found_slow += slow
        if self._pending is not None:
            pending = self._pending
            self._cancelled(pending)
            pending.callback(None)

    def ready(self) -> Deferred[None]:
        """See IBody; RuntimeError when one is outstanding."""
        if self._pending is not None:
            raise RuntimeError("one ready() at a time")
        if self.closed or self._settled():
            return succeed(None)
        pending: Deferred[None] = Deferred(self._cancelled)
        self._pending = pending
        self._listen()
        return pending

    def _listen(self) -> None:
        self._waiting = self._feed.wait()
        self._waiting.addCallbacks(self._changed, lambda failure: None)

    def _changed(self, _: None) -> None:
        if self._pending is None:
            return
        if not self._settled():
            self._listen()
            return
        pending, self._pending = self._pending, None
        pending.callback(None)

    def _cancelled(self, _: Deferred[None]) -> None:
        self._pending = None
        if self._waiting is not None:
            self._waiting.cancel()

    def close(self) -> None:
        """See IBody."""
        self.closed = True
        pending = self._pending
        if pending is not None:
            self._cancelled(pending)
            pending.errback(TransferStopped("the body was closed"))


@implementer(IRangedBlob)
class MemoryBlob:
    """An open blob over a feed; ``on_close`` is called once, when it goes unread."""

    def __init__(self, feed: Feed, how: How = How.HIT, on_close: Callable[[], None] = lambda: None) -> None:
        self.size: int | None = feed.size
        self.how = how
        self._feed = feed
        self._on_close = on_close
        self.opened = False
        self.closed = False
        self.come = 0
        self.piece: Callable[[int, int], Deferred[IBody]] | None = None
        self.endpoint: str | None = None
        self.start = 0
        self.validator: str | None = None

    def backlog(self) -> int:
        """See IRangedBlob; nothing, unless ``come`` says otherwise."""
        return self.come

    def body(self, start: int = 0, stop: int | None = None) -> IBody:
        """See IBlob; RuntimeError on a second call or after close, ValueError on a wrong span."""
        if self.opened or self.closed:
            raise RuntimeError("body() is called once, on an open blob")
        limit = self.size if stop is None else stop
        if self.size is None and (start, stop) != (0, None):
            raise ValueError("the size is not known, so only the whole can be asked for")
        if limit is not None and not 0 <= start <= limit <= (self.size or 0):
            raise ValueError(f"the span {start}..{limit} is not within {self.size} bytes")
        self.opened = True
        return MemoryBody(self._feed, self.start + start, limit)

    def close(self) -> None:
        """See IBlob."""
        if not self.opened and not self.closed:
            self.closed = True
            self._on_close()
