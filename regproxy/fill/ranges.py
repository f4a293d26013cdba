"""The connections of one transfer: the first, which asked for the whole, and those beside it.

Laws: every byte is brought by one connection, and by another only where the first one failed before
it. The first is closed when it comes to what another brings. What one leaves undone the others
do; with nobody left, this transfer itself asks on, a bounded number of times. Where ranges are not
served the first goes on to the end. Where nobody waits for the blob, nothing is added to the first.
What an earlier fill has left is not asked for: the first connection begins behind it, while it is hashed.
A disk that refuses ends all of them before anybody is told.
Whether the bytes are right is the fill's to find out.
"""

from __future__ import annotations

import contextlib
import random
from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from regproxy.errors import (
    ContentMismatch,
    RangeIgnored,
    StorageFailed,
    Throttled,
    TransferStopped,
    UpstreamError,
    UpstreamTrouble,
    UpstreamUnreachable,
)
from regproxy.extents import Extent, Extents
from regproxy.fill import pieces
from regproxy.fill.lines import Lines
from regproxy.fill.pace import Pace
from regproxy.fill.source import Source
from regproxy.fill.tail import Tail
from regproxy.fill.transfer import next_batch, pump
from regproxy.interfaces import IBody, ISpool
from regproxy.singleflight import Waiters

_log = Logger()


class Ranges:
    """One transfer of ``tail``, whose first connection is open, into ``spool``.

    ``landed`` is told each new front. ``source`` says how to read on, and whether more than one
    connection is wanted at all; ``another`` gives the source to go on from when it has failed for good;
    ``awaited`` tells whether anybody waits for the blob.
    """

    def __init__(
        self,
        source: Source,
        tail: Tail,
        spool: ISpool,
        lines: Lines,
        clock: IReactorTime,
        landed: Callable[[int], None],
        another: Callable[[], Source | None] = lambda: None,
        awaited: Callable[[], bool] = lambda: True,
    ) -> None:
        left = spool.left
        self.there = Extents(() if left is None else left.there)
        """What is on disk and may be read, behind the front too."""
        self.mixed = left is not None
        """Whether the bytes came over more than one connection."""
        self._source = source
        self._upstream = source.repository.upstream
        self._tail = tail
        self._size = tail.size
        self._border = self._first_stop = tail.size
        self._spool = spool
        self._lines = lines
        self._clock = clock
        self._tell = landed
        self._another = another
        self._urgent: deque[Extent] = deque(maxlen=pieces.MAX_URGENT)
        self._piece = None if source.plain or lines.refused(self._upstream) else tail.piece
        self._missing = Extents()
        self._placed = tail.start
        if left is not None:
            (_, self._border), *others = pieces.gaps(left.there, left.size_bytes)
            self._first_stop, self._missing = self._border, Extents(others)
        self._beside: set[Deferred[None]] = set()
        self._first_runs = True
        self._over = False
        self._enough = False
        """Whether one connection was too many: none is added."""
        self._refusal: BaseException | None = None
        self._news: Waiters[None] = Waiters()
        self._brought = 0
        self._pace = Pace(self, self._upstream, lines, clock, awaited)

    def __repr__(self) -> str:
        return f"<Ranges of {self._tail} beside={len(self._beside)} missing={self._missing}>"

    async def run(self) -> None:
        """Bring all bytes; raises what ended it: StorageFailed, or why nobody could go on."""
        if self._source.local:
            await pump(self._tail, self._spool.append, self._clock, self._landed)
            return
        self._lines.first(self._upstream)
        try:
            self._begin_hashing()
            if self._piece is not None and (self._size or 0) > pieces.RANGES_ABOVE_BYTES:
                self._pace.begin()
            await self._first()
            await self._rest()
        finally:
            self._lines.close(self._upstream)
            await self._end()

    # what was left by an earlier fill

    def _begin_hashing(self) -> None:
        if self._spool.left is not None:
            hashing = Deferred.fromCoroutine(self._hash_left(self._spool.left.start))
            hashing.addErrback(self._hashing_failed)

    async def _hash_left(self, stop: int) -> None:
        """Beside the first connection: readers get these bytes as they are hashed."""
        while self._spool.front < stop and not self._over:
            self._landed(await self._spool.catch_up())

    def _hashing_failed(self, failure: Failure) -> None:
        """The disk does not give it back: whoever brings the rest need not go on."""
        if not self._over:
            self._refusal = failure.value
            self._tail.close()
            self._news.fire(None)

    # the first connection

    async def _first(self) -> None:
        try:
            await self._all_of_first()
        except UpstreamTrouble as error:
            if isinstance(error, ContentMismatch) or self._size is None or self._source.resume is None:
                raise
            _log.info("{error}; it is asked on from {front}", error=str(error), front=self._spool.front)
            self._missing.add(self._reached, self._border or 0)
        except TransferStopped:
            if self._refusal is None:
                raise
        finally:
            self._first_runs = False
        if self._tail.offset != self._size:
            self._tail.close()

    async def _all_of_first(self) -> None:
        """Up to the border, which may move while the last bytes before it go to the disk."""
        more = True
        while more:
            before = self._tail.offset
            await pump(self._tail, self._write, self._clock, self._landed, self._room)
            more = before < self._tail.offset < (self._border or 0)

    def _write(self, batch: list[bytes]) -> Deferred[int]:
        if not self._tail.start:
            return self._spool.append(batch)
        start = self._placed
        self._placed += sum(map(len, batch))
        return self._spool.place(start, batch).addCallback(self._came, start, self._placed)

    def _came(self, front: int, start: int, stop: int) -> int:
        self.there.add(start, stop)
        return front

    @property
    def _reached(self) -> int:
        """Up to where the first connection's bytes are on disk."""
        front = self._spool.front
        return max(front, self.there.reach(self._tail.start)) if self._tail.start else front

    def _room(self) -> int | None:
        """How many bytes more the first connection is to bring; None: all that come."""
        return None if self._border is None else self._border - self._tail.offset

    # those beside it

    @property
    def connections(self) -> int:
        """As :class:`Paced`."""
        return 1 + len(self._beside)

    @property
    def arrived(self) -> int:
        """As :class:`Paced`."""
        return self._tail.offset + self._brought

    @property
    def backlog(self) -> int:
        """As :class:`Paced`."""
        return self._tail.backlog()

    @property
    def unshared(self) -> bool:
        """As :class:`Paced`."""
        return bool(self._missing)

    def add(self) -> bool:
        """One more connection, if there is something for it to bring, and the upstream's limit allows."""
        if self._enough or not self._lines.another(self._upstream):
            return False
        if not self._share():
            self._lines.close(self._upstream)
            return False
        self._start(lambda: True)
        return not self._enough

    def _start(self, goes_on: Callable[[], bool]) -> None:
        self.mixed = True
        beside = Deferred.fromCoroutine(self._work(goes_on))
        if not beside.called:
            self._beside.add(beside)
        beside.addBoth(self._ended, beside)

    def _share(self) -> bool:
        """Whether there are bytes that nobody brings; the first connection gives up most of its own."""
        stop, offset = self._first_stop, self._tail.offset
        if stop is not None and self._border == stop and not self._missing:
            border = pieces.border(offset, stop, len(self._beside) + 2, self._pace.bytes_s)
            self._border = min(stop, border + pieces.MIN_PIECE_BYTES)
            self._missing.add(self._border, stop)
        return bool(self._missing)

    async def _work(self, goes_on: Callable[[], bool]) -> None:
        """Bring what readers wait for, and the rest too while it ``goes_on``."""
        while (piece := self._next(goes_on())) is not None:
            await self._bring(piece)

    def _next(self, goes_on: bool = True) -> Extent | None:
        piece = self._wanted()
        if piece is None and not goes_on:
            return None
        if piece is None and not self._is_alone():
            piece = pieces.next_piece(self._missing, self.connections, self._pace.bytes_s)
        elif piece is None:
            piece = self._missing.first
        if piece is not None:
            self._missing.remove(*piece)
        return piece

    def _is_alone(self) -> bool:
        """Whether no other connection will bring any of what is missing: then it is one piece."""
        few = self._enough or self._lines.most(self._upstream) == 1
        return self._piece is None or (few and not self._beside)

    def _wanted(self) -> Extent | None:
        """What a reader waits for that nobody brings yet."""
        while self._urgent and self._piece is not None:
            start, stop = self._urgent.popleft()
            end = self._missing.reach(start)
            if start < end:
                return start, min(stop, end, start + pieces.USUAL_PIECE_BYTES)
        return None

    # a reader far ahead

    def want(self, start: int, stop: int) -> None:
        """A reader waits for bytes from ``start`` on, up to ``stop`` at most: they get a connection of
        their own, unless they come soon or on another one."""
        size = self._size
        if self._piece is None or size is None or self._over or size <= pieces.RANGES_ABOVE_BYTES:
            return
        full = self._enough or len(self._beside) >= pieces.MAX_BESIDE
        if (
            not full
            and self._first_runs
            and pieces.far(start, self._tail.offset, self._pace.bytes_s)
            and start < (self._border or 0)
        ):
            self._missing.add(start, self._border or 0)
            self._border = start
        if self._missing.reach(start) == start:
            return
        self._urgent.append((start, stop))
        if not full:
            self._lines.first(self._upstream)  # a client waits for it
            self._start(self._allowed)

    def _allowed(self) -> bool:
        """Whether a connection that was opened for a reader is within the limits for others as well."""
        return len(self._beside) < self._lines.most(self._upstream) and self._lines.within(self._upstream)

    def _ended(self, result: Failure | None, beside: Deferred[None]) -> None:
        self._beside.discard(beside)
        self._lines.close(self._upstream)
        if isinstance(result, Failure):
            self._failed(result)
        self._news.fire(None)

    def _failed(self, failure: Failure) -> None:
        """It was one too many, or ranges are not served: the others do what it left."""
        self._enough = True
        if failure.check(RangeIgnored):
            self._piece = None
            self._lines.refuse(self._upstream)
        if isinstance(failure.value, Throttled):
            self._lines.leave_alone(self._upstream, failure.value.retry_after_s)
        if not failure.check(UpstreamError, TransferStopped):
            self._refusal = failure.value
        if self._first_runs and self._missing.first is not None and self._missing.first[0] == self._border:
            start, self._border = self._missing.first
            self._missing.remove(start, self._border)

    # what all of them do

    async def _bring(self, piece: Extent) -> None:
        """The bytes of ``piece``; what it could not bring is missing again."""
        offset, stop = piece
        try:
            body = await self._open(offset, stop)
            try:
                while batch := await next_batch(body, self._clock, stop - offset):
                    front = await self._spool.place(offset, batch)
                    if self._over:  # a cancellation that came in the very turn of this result
                        raise TransferStopped("the transfer has ended")
                    size = sum(map(len, batch))
                    self.there.add(offset, offset + size)
                    offset += size
                    self._brought += size
                    self._landed(front)
            finally:
                body.close()
            if offset < stop:
                raise UpstreamUnreachable(self._upstream, f"it ended a blob {stop - offset} bytes too early")
        finally:
            self._missing.add(offset, stop)

    def _open(self, start: int, stop: int) -> Deferred[IBody]:
        if self._piece is not None:
            return self._piece(start, stop)
        assert self._source.resume is not None, "only who can read on comes here"
        return self._source.resume(start, self._size)

    def _landed(self, front: int) -> None:
        self.there.add(0, front)
        self._tail.landed(self._reached)
        self._tell(front)

    # the end

    async def _rest(self) -> None:
        """Bring what nobody brings, wait for the others; then all is there, and hashed."""
        failures = 0
        while self._refusal is None:
            piece = self._next()
            if piece is None and not self._beside:
                break
            if piece is None:
                await self._news.add()
                continue
            self.mixed = True
            brought = self._brought
            try:
                await self._bring(piece)
            except UpstreamError as error:
                failures = 1 if self._brought > brought else failures + 1
                failures = await self._recover(error, failures)
            else:
                failures = 0
        if self._refusal is not None:
            raise self._refusal
        await self._catch_up()

    async def _recover(self, error: UpstreamError, failures: int) -> int:
        """Wait before it is asked again, or go over to another source; the failures that count from now
        on. Raises ``error`` when nobody is left."""
        if isinstance(error, RangeIgnored) and self._piece is not None:
            self._piece = None
            self._lines.refuse(self._upstream)
            return failures
        if isinstance(error, Throttled):
            self._lines.leave_alone(self._upstream, error.retry_after_s)
        wait_s = _ask_again_after_s(error, failures)
        if wait_s is not None:
            await deferLater(self._clock, wait_s)
            return failures
        self._source.error = error
        other = self._another()
        if other is None:
            raise error
        _log.warn("{error}; it goes on from {other}", error=str(error), other=str(other.repository))
        self._source, self._piece = other, None
        return 0

    async def _catch_up(self) -> None:
        before = -1
        while before < self._spool.front < (self._size or 0):
            before = self._spool.front
            self._landed(await self._spool.catch_up())

    async def _end(self) -> None:
        """Nobody writes any more when this returns."""
        self._over = True
        self._pace.stop()
        if not self.mixed:
            return
        for beside in list(self._beside):
            beside.cancel()
        with contextlib.suppress(StorageFailed, TransferStopped):
            await self._spool.catch_up()  # behind every write that is under way


def _ask_again_after_s(error: UpstreamError, failures: int) -> float | None:
    """How long to leave the upstream alone; None: it has failed for good. One that has answered once and
    allows no more requests for now allows them soon."""
    wait_s = pieces.retry_after_s(failures, random.random())
    if wait_s is None or isinstance(error, ContentMismatch):
        return None
    if isinstance(error, Throttled):
        wish_s = float(error.retry_after_s or 0)
        return max(wait_s, wish_s) if wish_s <= pieces.LONGEST_WAIT_S else None
    return wait_s if isinstance(error, UpstreamTrouble) else None
