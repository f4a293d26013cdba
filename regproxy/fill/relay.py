"""One transfer that is kept nowhere: from an upstream to the readers that are near each other.

Laws: memory is bounded by the window, and where there are many transfers by what is still needed of
it. The fastest reader sets the pace, AHEAD_BYTES before it; one that falls out of the window goes on
elsewhere, and where there are many transfers already it is waited for first, PATIENCE_S. A connection
that breaks is no end of it. Without readers the transfer pauses, and ends after LINGER_S. Whatever
ends it is told to every reader that it has then.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from regproxy.errors import ContentMismatch, RegproxyError, TransferStopped, UpstreamError
from regproxy.fill.pokes import Pokes
from regproxy.fill.retries import ask_again_after_s
from regproxy.fill.window import Point, Window
from regproxy.interfaces import IBody
from regproxy.oci.digest import Digest
from regproxy.singleflight import Waiters

_log = Logger()

PIECE_BYTES = 256 * 1024
AHEAD_BYTES = 1024 * 1024
PATIENCE_S = 5.0
LINGER_S = 10.0


@attrs.frozen(slots=True)
class Passage:
    """A blob that passes: what is known of it, and how to read on from an offset."""

    digest: Digest
    size: int | None
    upstream: str
    resume: Callable[[int], Deferred[IBody]]


class Follower(Protocol):
    """Who reads from a relay."""

    offset: int

    def poke(self) -> None:
        """There is news."""


class Relay:
    """The transfer from ``point`` on. ``begin`` gives its body; ``crowded`` tells whether there are
    many like it; ``ended`` is called once, when nobody can join it any more."""

    def __init__(
        self,
        passage: Passage,
        point: Point,
        begin: Callable[[Relay], Deferred[IBody]],
        clock: IReactorTime,
        crowded: Callable[[], bool],
        ended: Callable[[Relay], None],
    ) -> None:
        self.passage = passage
        self.window = Window(point)
        self.failure: RegproxyError | None = None
        self.complete = False
        """Whether all bytes are here or have passed, and are right as far as can be told."""
        self._begin = begin
        self._clock = clock
        self._crowded = crowded
        self._ended = ended
        self._followers: set[Follower] = set()
        self._pokes = Pokes(clock)
        self._fastest = -1
        self._awaited: set[Follower] = set()
        self._needed = 0
        self._moves: Waiters[None] = Waiters()
        self._closing: IDelayedCall | None = None
        self._transfer: Deferred[None] | None = None
        self._over: Waiters[None] = Waiters()
        self._closed = False
        self._left_alone()

    def __repr__(self) -> str:
        return f"<Relay {self.passage.digest} {self.window!r} readers={len(self._followers)}>"

    @property
    def checked(self) -> bool:
        """Whether its end will be compared with the digest."""
        return self.window.end.hasher is not None

    @property
    def running(self) -> bool:
        """Whether more bytes come."""
        return not self.complete and self.failure is None

    def covers(self, offset: int) -> bool:
        """Whether a reader at ``offset`` finds its bytes here, or soon."""
        near = self.window.start <= offset <= self.window.front + AHEAD_BYTES
        return near and self.failure is None and not self._closed

    def may_check(self, size: int | None, place: Point) -> bool:
        """Whether its end will tell of the bytes before ``place`` too: they were the same here, or it
        is not there yet."""
        same = self.window.agrees(place) or (self.window.front < place.offset and self.running)
        return self.checked and self.passage.size == size and same

    def start(self) -> None:
        """Begin; called once."""
        self._transfer = Deferred.fromCoroutine(self._run()).addErrback(self._broke)

    def finished(self) -> Deferred[None]:
        """Fires when no more bytes come; never fails."""
        waiter = self._over.add()
        if not self.running:
            self._over.fire(None)
        return waiter

    def stop(self) -> None:
        """End it now."""
        if self.running and self._transfer is not None:
            self._transfer.cancel()
        self._close()

    async def wanted(self) -> None:
        """Return when there is a reader."""
        while not self._followers:
            await self._moves.add()

    # readers

    def join(self, follower: Follower) -> None:
        """A reader for whose offset :meth:`covers` is true."""
        self._followers.add(follower)
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        self.moved(follower)

    def leave(self, follower: Follower) -> None:
        """A reader needs no more; idempotent."""
        if follower in self._followers:
            self._awaited.discard(follower)
            self._drop({follower})

    def moved(self, follower: Follower) -> None:
        """A reader is further than it was."""
        if follower.offset > self._fastest:
            self._fastest = follower.offset
            self._moves.fire(None)
        elif follower in self._awaited and follower.offset >= self._needed:
            self._awaited.discard(follower)
            self._moves.fire(None)

    def _drop(self, followers: set[Follower]) -> None:
        self._followers -= followers
        self._fastest = max((one.offset for one in self._followers), default=-1)
        self._moves.fire(None)
        if not self._followers:
            self._left_alone()

    def _left_alone(self) -> None:
        if not self._closed and self._closing is None:
            self._closing = self._clock.callLater(LINGER_S, self._close_unread)

    def _close_unread(self) -> None:
        self._closing = None
        self.stop()

    def _close(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        if not self._closed:
            self._closed = True
            self._ended(self)

    # the transfer

    async def _run(self) -> None:
        try:
            await self._copy()
        except CancelledError:
            self._finish(TransferStopped("the transfer was ended"))
        except RegproxyError as error:
            _log.warn(
                "{digest}: {error}; after {front} bytes",
                digest=str(self.passage.digest),
                error=error.message,
                front=self.window.front,
            )
            self._finish(error)
        else:
            self._finish(None)

    def _finish(self, failure: RegproxyError | None) -> None:
        self.failure, self.complete = failure, failure is None
        self._pokes.add(*self._followers)
        if failure is not None:
            self._close()
        self._over.fire(None)

    def _broke(self, failure: Failure) -> None:
        """A fault of ours: logged whole, and told like any other failure."""
        _log.failure("the transfer of {digest} broke", failure, digest=str(self.passage.digest))
        self._finish(RegproxyError("a fault in the mirror, see its log"))

    async def _copy(self) -> None:
        """All of it; a connection that breaks is asked on from there, a bounded number of times."""
        failures, before = 0, self.window.front
        body = self._begin(self)
        while self.window.front != self.passage.size:
            try:
                await self._pass(await body)
                break
            except UpstreamError as error:
                failures = 1 if self.window.front > before else failures + 1
                before = self.window.front
                wait_s = ask_again_after_s(error, failures, random.random())
                if wait_s is None:
                    raise
                _log.info("{error}; what passes is asked on from {front}", error=error.message, front=before)
            await deferLater(self._clock, wait_s)
            body = self.passage.resume(before)
        self._check()

    async def _pass(self, body: IBody) -> None:
        try:
            while content := await self._next(body):
                self.window.add(content)
                self._put_off()
                self._pokes.add(*self._followers)
        finally:
            body.close()

    async def _next(self, body: IBody) -> bytes:
        """The next piece, as soon as it is wanted; empty at the end."""
        while self.window.front - self._fastest >= AHEAD_BYTES or self._fastest < 0:
            await self._moves.add()
        while (content := body.read(PIECE_BYTES)) is None:
            await body.ready()
        if self._crowded():
            await self._wait_for_the_slow(self.window.start_after(len(content)))
            self.window.forget(min((one.offset for one in self._followers), default=self.window.start))
        return content

    async def _wait_for_the_slow(self, start: int) -> None:
        """Those who would fall out of a window that begins at ``start`` are given time to move."""
        self._needed = start
        self._awaited = {one for one in self._followers if one.offset < start}
        if not self._awaited:
            return
        timer = self._clock.callLater(PATIENCE_S, self._moves.fire, None)
        try:
            while self._awaited and timer.active():
                await self._moves.add()
        finally:
            self._awaited = set()
            if timer.active():
                timer.cancel()

    def _put_off(self) -> None:
        """Who needs bytes that are not here any more goes on elsewhere; it had some to read, so it
        waits for no news."""
        late = {one for one in self._followers if one.offset < self.window.start}
        if late:
            self._drop(late)

    def _check(self) -> None:
        passage, end = self.passage, self.window.end
        if passage.size not in (None, end.offset):
            raise ContentMismatch(passage.upstream, f"sent {end.offset} bytes of {passage.size}")
        if end.hasher is not None and end.hasher.hexdigest() != passage.digest.hex:
            raise ContentMismatch(passage.upstream, f"sent bytes that are not {passage.digest}")
