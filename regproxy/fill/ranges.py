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
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from regproxy.errors import (
    ContentMismatch,
    StorageFailed,
    TransferStopped,
    UpstreamError,
    UpstreamSlow,
    UpstreamTrouble,
    UpstreamUnreachable,
)
from regproxy.extents import Extent, Extents
from regproxy.fill import pieces
from regproxy.fill.errand import Errand
from regproxy.fill.first import First
from regproxy.fill.lines import Lines
from regproxy.fill.pace import Pace
from regproxy.fill.shares import Shares
from regproxy.fill.source import Source
from regproxy.fill.supply import Supply
from regproxy.fill.tail import Tail
from regproxy.fill.transfer import pump
from regproxy.fill.unsized import bring_rest
from regproxy.fill.watch import Watch
from regproxy.interfaces import IBody, ISpool
from regproxy.singleflight import Waiters

_log = Logger()


def _nothing() -> None:
    """It was not looked at."""


class Ranges:
    """One transfer of ``tail``, whose first connection is open, into ``spool``.

    ``landed`` is told each new front. ``source`` says how to read on, and whether more than one
    connection is wanted at all; ``another`` gives the source to go on from when it has failed for good,
    ``faster`` the one when it is slow;
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
        faster: Callable[[Source], Source | None] = lambda source: None,
        awaited: Callable[[], bool] = lambda: True,
    ) -> None:
        left = spool.left
        self.there = Extents(() if left is None else left.there)
        """What is on disk and may be read, behind the front too."""
        self.mixed = left is not None
        """Whether the bytes came over more than one connection."""
        self._local = source.local
        self._began_from = source.repository
        self._supply = Supply(source, tail, lines, clock, another, faster)
        self._upstream = self._supply.upstream
        self._tail = tail
        self._size = tail.size
        self._shares = Shares(tail.size, () if left is None else left.there)
        self._spool = spool
        self._whole = First(tail, spool, self._shares, self.there, clock)
        self._lines = lines
        self._clock = clock
        self._tell = landed
        self._beside: set[Deferred[None]] = set()
        self._over = False
        self._enough = False
        """Whether one connection was too many: none is added."""
        self._refusal: BaseException | None = None
        self._broke: UpstreamError | None = None
        """What the first connection died of, where nobody tells the size."""
        self._news: Waiters[None] = Waiters()
        self._brought = 0
        self._may_leave = not source.plain and source.resume is not None and tail.size is not None
        self._watch = Watch(clock, self._upstream, self._supply.has_faster, self._supply.leave)
        self._pace = Pace(self, self._upstream, lines, clock, awaited)

    def __repr__(self) -> str:
        return f"<Ranges of {self._tail} beside={len(self._beside)} {self._shares}>"

    async def run(self) -> None:
        """Bring all bytes; raises what ended it: StorageFailed, or why nobody could go on."""
        if self._local:
            await pump(self._tail, self._spool.append, self._clock, self._landed)
            return
        self._lines.first(self._upstream)
        try:
            self._begin_hashing()
            if self._supply.by_pieces and (self._size or 0) > self._lines.ranges_above_bytes:
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
        looked_at = _nothing
        try:
            looked_at = self._look_at(self._tail.line(), lambda: self._whole.room() or 0)
            await self._whole.bring(self._landed)
        except UpstreamTrouble as error:
            if isinstance(error, ContentMismatch) or not self._supply.goes_on:
                raise
            _log.info(
                "{error}; what {server} began to send of {repository} is asked for anew from byte {front} on",
                error=str(error),
                server=self._tail.endpoint or self._upstream,
                repository=str(self._began_from),
                front=self._spool.front,
            )
            if self._size is None:
                self._broke, self.mixed = error, True
            else:
                self._shares.give_up(self._whole.reached)
        except TransferStopped:
            if self._refusal is None:
                raise
        finally:
            looked_at()
            self._whole.runs = False
        if self._tail.offset != self._size:
            self._tail.close()

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
        return bool(self._shares.missing)

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
        return self._shares.split(self._tail.offset, len(self._beside) + 2, self._pace.bytes_s)

    async def _work(self, goes_on: Callable[[], bool]) -> None:
        """Bring what readers wait for, and the rest too while it ``goes_on``."""
        breaks = 0
        while (piece := self._next(goes_on())) is not None:
            errand = Errand.of(piece)
            try:
                await self._bring(errand)
            except UpstreamSlow:
                if not self._supply.by_pieces:
                    return  # another source gives all that is left to one that asks for it
            except UpstreamTrouble as error:
                breaks += 1
                wait_s = errand.again_after_s(error, breaks)
                _log.info(
                    "{error}; a piece is asked on from {offset}", error=str(error), offset=errand.offset
                )
                if wait_s:
                    await deferLater(self._clock, wait_s)
                self._shares.ask(errand.offset, errand.stop)  # a reader may wait for it
            else:
                breaks = 0

    def _next(self, goes_on: bool = True) -> Extent | None:
        piece = self._shares.take_urgent() if self._supply.by_pieces else None
        if piece is not None or not goes_on:
            return piece
        if self._is_alone():
            return self._shares.take_all()
        return self._shares.take_next(self.connections, self._pace.bytes_s)

    def _is_alone(self) -> bool:
        """Whether no other connection will bring any of what is missing: then it is one piece."""
        few = self._enough or self._lines.most(self._upstream) == 1
        return not self._supply.by_pieces or (few and not self._beside)

    # a reader far ahead

    def want(self, start: int, stop: int) -> None:
        """A reader waits for bytes from ``start`` on, up to ``stop`` at most: they get a connection of
        their own, unless they come soon or on another one."""
        size = self._size
        if not self._supply.by_pieces or size is None or self._over or size <= self._lines.ranges_above_bytes:
            return
        full = self._enough or len(self._beside) >= pieces.MAX_BESIDE
        if (
            not full
            and self._whole.runs
            and pieces.far(start, self._tail.offset, self._pace.bytes_s)
            and start < (self._shares.border or 0)
        ):
            self._shares.give_up(start)
        if self._shares.missing.reach(start) == start:
            return
        self._shares.ask(start, stop)
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
        self._supply.learn(failure.value or failure)
        if not failure.check(UpstreamError, TransferStopped):
            self._refusal = failure.value
        if self._whole.runs:
            self._shares.give_back()

    # what all of them do

    async def _bring(self, errand: Errand) -> None:
        """The bytes of ``errand``; what it could not bring is missing again."""
        try:
            body = await self._supply.open(errand.offset, errand.stop)
            looked_at = self._look_at(body, lambda: errand.left)
            try:
                await errand.carry(body, self._spool, self._clock, self._placed)
            finally:
                looked_at()
                body.close()
            if errand.left:
                raise UpstreamUnreachable(self._upstream, f"it ended a blob {errand.left} bytes too early")
        finally:
            self._shares.put_back(errand.offset, errand.stop)

    def _placed(self, start: int, stop: int, front: int) -> None:
        if self._over:  # a cancellation that came in the very turn of this result
            raise TransferStopped("the transfer has ended")
        self.there.add(start, stop)
        self._brought += stop - start
        self._landed(front)

    def _look_at(self, body: IBody, left: Callable[[], int]) -> Callable[[], None]:
        """Leave it when it is slow; to be called when it ends."""
        return self._watch.begin(body, left) if self._may_leave else _nothing

    def _landed(self, front: int) -> None:
        self.there.add(0, front)
        self._tail.landed(self._whole.reached)
        self._tell(front)

    # the end

    async def _rest(self) -> None:
        """Bring what nobody brings, wait for the others; then all is there, and hashed."""
        if self._broke is not None:
            await bring_rest(self._broke, self._supply, self._spool, self._clock, self._landed)
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
                await self._bring(Errand.of(piece))
            except UpstreamError as error:
                failures = 1 if self._brought > brought else failures + 1
                failures = await self._supply.recover(error, failures)
            else:
                failures = 0
        if self._refusal is not None:
            raise self._refusal
        await self._catch_up()

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
