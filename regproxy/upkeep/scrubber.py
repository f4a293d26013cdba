"""The scrub: every blob is hashed again in time, behind everything else, and goes on after a restart.

Laws: one blob at a time, one pass at a time; a pass that somebody asked for goes before the usual one, at
full pace, and changes nothing of its schedule. Memory is that of one folder's names. A blob that is bad is
out of the way before anybody is told of it. One that cannot be looked at is tried twice, and does not keep
the others from their turn. Progress is written once a minute: a kill costs that minute.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from regproxy.errors import StorageFailed
from regproxy.interfaces import Examined, IScrubbed, Kind, Verdict
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.upkeep.record import Bad, Ended, Pass, Record, RecordFile
from regproxy.upkeep.schedule import Period, place, rest_s

_log = Logger()

InThread = Callable[..., Deferred[Any]]
"""Runs what blocks in a thread; its OSError becomes StorageFailed."""
FoundBad = Callable[[Digest, tuple[tuple[Repository, Kind], ...]], object]
"""Told of each bad blob, and who holds it."""

SAVE_S = 60.0
LOOK_S = 60.0
"""How long it sleeps at most: clocks are set."""
RELIST_S = 600.0
BUSY_S = 5.0
AGAIN_S = 600.0
"""How long a disk that cannot be read is left alone."""
MAX_UNREADABLE = 8
"""So many unreadable blobs one after the other are no bad blobs but a bad disk."""


@attrs.frozen(slots=True)
class ScrubState:
    """The scrub at one moment. ``every_s`` None: only when asked for. ``share`` of the pass is done."""

    every_s: float | None
    full: bool
    began_s: float | None
    share: float | None
    blobs: int
    bytes: int
    bad: int
    total_bytes: int
    last: Ended | None
    found: tuple[Bad, ...]
    surveyed_s: float | None


class Scrubber:
    """Over ``store``. ``busy`` says whether clients need the disk more; ``wall`` and ``monotonic`` are
    seconds; ``counted`` is told of each verdict and its bytes."""

    def __init__(
        self,
        store: IScrubbed,
        every_s: float | None,
        file: RecordFile,
        in_thread: InThread,
        clock: IReactorTime,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
        busy: Callable[[], bool] = lambda: False,
        found_bad: FoundBad = lambda digest, holders: None,
        counted: Callable[[str, int], object] = lambda verdict, size_bytes: None,
    ) -> None:
        self._store = store
        self._period = None if every_s is None else Period(every_s)
        self._file = file
        self._in_thread = in_thread
        self._clock = clock
        self._wall = wall
        self._monotonic = monotonic
        self._busy = busy
        self._found_bad = found_bad
        self._counted = counted
        self.record = Record()
        self._loaded = False
        self._next: deque[Digest] = deque()
        self._next_after: str | None = None
        self._listed_s = 0.0
        self._unreadable = 0
        self._failed: Digest | None = None
        """What could not be looked at, the last time."""
        self._pieced_s = 0.0
        self._saved_s = float("-inf")
        self._told = False
        self._timer: IDelayedCall | None = None
        self._sleeping: Deferred[None] | None = None
        self._working: Deferred[None] | None = None
        self._stopped = False

    def __repr__(self) -> str:
        state = "stopped" if self._stopped else "asleep" if self._sleeping else "busy"
        return f"<Scrubber {state} usual={self.record.usual} full={self.record.full}>"

    # begin and end

    async def load(self) -> None:
        """Read how far it was. What cannot be read begins anew, and the log says so."""
        try:
            found = await self._in_thread(self._file.read, True)
        except StorageFailed as error:
            _log.error("{file} cannot be read: {error}", file=str(self._file.path), error=str(error))
            found = Record()
        if found is None:
            _log.warn("{file} is damaged: the scrub begins anew", file=str(self._file.path))
            found = Record()
        asked = self.record.full
        self.record = found if asked is None else attrs.evolve(found, full=asked)
        self._loaded = True

    def begin(self) -> None:
        """Work from now on; before it what :meth:`now` asks for waits. Idempotent."""
        if self._working is None and not self._stopped:
            self._working = Deferred.fromCoroutine(self._work())
            self._working.addErrback(self._broke)

    def _broke(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            _log.failure("The scrub ended by a fault, and begins again with the next survey", failure)
        self._working = None

    async def stop(self) -> None:
        """Let go of the blob under way, write how far it came."""
        self._stopped = True
        if self._working is not None:
            self._working.cancel()
        if self._loaded:
            await self._save()

    # what others ask and tell

    def state(self) -> ScrubState:
        """As it is now."""
        record, full = self.record, self.record.full
        running = full or record.usual
        return ScrubState(
            every_s=None if self._period is None else self._period.every_s,
            full=full is not None,
            began_s=None if running is None else running.began_s,
            share=None if running is None else place(running.cursor),
            blobs=0 if running is None else running.blobs,
            bytes=0 if running is None else running.bytes,
            bad=0 if running is None else running.bad,
            total_bytes=self._store.held_bytes(),
            last=record.last,
            found=record.bad,
            surveyed_s=record.surveyed_s,
        )

    def now(self) -> bool:
        """Begin a pass over everything at full pace; False: one runs already."""
        if self.record.full is not None:
            return False
        self.record = attrs.evolve(self.record, full=Pass(self._wall()))
        self._saved_s = float("-inf")
        self._wake()
        return True

    async def surveyed(self) -> None:
        """A survey has seen everything now."""
        self.record = attrs.evolve(self.record, surveyed_s=self._wall())
        await self._save()

    def noted(self, digest: Digest, why: str) -> None:
        """A blob turned out bad elsewhere, and was set aside."""
        self.record = self.record.with_bad(Bad(digest, self._wall(), why))

    # the work

    async def _work(self) -> None:
        while not self._stopped:
            try:
                await self._step()
            except StorageFailed as error:
                if not self._told:
                    _log.error("The scrub waits: {error}", error=str(error))
                self._told = True
                await self._sleep(AGAIN_S)

    async def _step(self) -> None:
        """Hash one blob, end a pass, or sleep until something is due."""
        full = self.record.full
        if full is not None:
            await self._one(full, full=True)
        elif self._period is not None:
            await self._usual(self._period)
        else:
            await self._sleep(LOOK_S)

    async def _usual(self, period: Period) -> None:
        now_s = self._wall()
        usual = self.record.usual or Pass(now_s)
        usual = attrs.evolve(usual, began_s=period.began_s(usual.began_s, usual.cursor, now_s))
        self.record = attrs.evolve(self.record, usual=usual)
        digest = await self._peek(usual.cursor)
        due_s = period.due_s(usual.began_s, "f" * 12 if digest is None else digest.hex)
        if due_s > now_s:
            await self._save_at_times()
            await self._sleep(min(due_s - now_s, LOOK_S))
        elif not await self._disturbs(period, usual):
            await self._one(usual, full=False)

    async def _disturbs(self, period: Period, usual: Pass) -> bool:
        """Whether clients come first: then a while has passed."""
        late_s = period.late_s(usual.began_s, usual.cursor, self._wall())
        if not self._busy() or period.too_late(late_s):
            return False
        await self._sleep(BUSY_S)
        return True

    async def _one(self, running: Pass, full: bool) -> None:
        digest = await self._peek(running.cursor)
        if digest is None:
            await self._end(running, full)
            return
        examined = await self._examined(digest, full)
        self._told = False
        if self._next and self._next[0] == digest:
            self._next.popleft()
            self._next_after = digest.hex
        await self._note(digest, examined, full)

    async def _examined(self, digest: Digest, full: bool) -> Examined:
        """What is made of it; what fails twice is left for the next pass. StorageFailed the first time."""
        self._pieced_s = self._monotonic()
        try:
            return await self._store.examine(
                digest, lambda mtime_s: full or self._is_due(mtime_s), lambda count: self._rest(count, full)
            )
        except StorageFailed as error:
            again, self._failed = self._failed == digest, digest
            if not again:
                raise
            _log.error(
                "{digest} could not be looked at: {error}; the scrub goes on without it",
                digest=str(digest),
                error=str(error),
            )
            return Examined(Verdict.GONE)

    def _is_due(self, mtime_s: float) -> bool:
        """What was written, or hashed for somebody, a short while ago has time until the next pass."""
        if self._period is None:
            return True
        last = self.record.last
        hashed_s = last.began_s if last is not None and last.full else mtime_s
        return not self._period.may_wait(max(mtime_s, hashed_s), self._wall())

    async def _peek(self, cursor: str) -> Digest | None:
        """The next blob behind ``cursor``; what came since they were listed is seen within RELIST_S."""
        now_s = self._monotonic()
        if not self._next or self._next_after != cursor or now_s - self._listed_s > RELIST_S:
            self._next = deque(await self._store.blobs_after(cursor))
            self._next_after, self._listed_s = cursor, now_s
        return self._next[0] if self._next else None

    def _rest(self, count: int, full: bool) -> Deferred[None]:
        """After each piece, as long as the pace and the clients want."""
        now_s = self._monotonic()
        took_s, self._pieced_s = now_s - self._pieced_s, now_s
        usual, period = self.record.usual, self._period
        if full or self.record.full is not None or usual is None or period is None:
            return succeed(None)
        late_s = period.late_s(usual.began_s, usual.cursor, self._wall())
        idle_s = rest_s(count, took_s, period.pace_bytes_s(self._store.held_bytes(), late_s))
        if self._busy() and not period.too_late(late_s):
            idle_s = max(idle_s, BUSY_S)
        if idle_s <= 0:
            return succeed(None)

        def rested(_: None) -> None:
            self._pieced_s = self._monotonic()

        return self._sleep(idle_s).addCallback(rested)

    async def _note(self, digest: Digest, examined: Examined, full: bool) -> None:
        verdict = examined.verdict
        bad = verdict in (Verdict.WRONG, Verdict.UNREADABLE)
        hashed = bad or verdict is Verdict.RIGHT
        running = self.record.full if full else self.record.usual
        if running is not None:
            running = attrs.evolve(
                running,
                cursor=digest.hex,
                blobs=running.blobs + hashed,
                bytes=running.bytes + (examined.size_bytes if hashed else 0),
                bad=running.bad + bad,
            )
            if full:
                self.record = attrs.evolve(self.record, full=running)
            else:
                self.record = attrs.evolve(self.record, usual=running)
        if hashed:
            self._counted(verdict.value, examined.size_bytes)
        if bad:
            self.record = self.record.with_bad(Bad(digest, self._wall(), verdict.value))
            self._found_bad(digest, examined.holders)
            await self._save()
        await self._save_at_times()
        await self._look_at_the_disk(verdict)

    async def _look_at_the_disk(self, verdict: Verdict) -> None:
        if verdict is Verdict.RIGHT:
            self._unreadable = 0
        self._unreadable += verdict is Verdict.UNREADABLE
        if self._unreadable >= MAX_UNREADABLE:
            self._unreadable = 0
            _log.error(
                "{count} blobs one after the other cannot be read: the disk fails, and the scrub leaves it "
                "alone for {minutes} minutes; the kernel's log says more",
                count=MAX_UNREADABLE,
                minutes=int(AGAIN_S / 60),
            )
            await self._sleep(AGAIN_S)

    async def _end(self, running: Pass, full: bool) -> None:
        now_s = self._wall()
        ended = Ended(running.began_s, now_s, running.blobs, running.bytes, running.bad, full)
        if full:
            self.record = attrs.evolve(self.record, full=None, last=ended)
        else:
            assert self._period is not None
            following = Pass(self._period.next_s(running.began_s, now_s))
            self.record = attrs.evolve(self.record, usual=following, last=ended)
        self._next_after = None
        _log.info(
            "The scrub has hashed {blobs} blobs ({bytes} bytes) again; {bad} were bad",
            blobs=running.blobs,
            bytes=running.bytes,
            bad=running.bad,
        )
        await self._save()

    # small things

    def _sleep(self, seconds: float) -> Deferred[None]:
        """Until then, or until it is woken."""

        def cancelled(_: Deferred[None]) -> None:
            self._awake()

        sleeping = self._sleeping = Deferred(cancelled)
        self._timer = self._clock.callLater(seconds, self._wake)
        return sleeping

    def _awake(self) -> Deferred[None] | None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        sleeping, self._sleeping = self._sleeping, None
        return sleeping

    def _wake(self) -> None:
        sleeping = self._awake()
        if sleeping is not None:
            sleeping.callback(None)

    async def _save_at_times(self) -> None:
        if self._monotonic() - self._saved_s >= SAVE_S:
            await self._save()

    async def _save(self) -> None:
        """Write it down; a disk that refuses costs a part of a pass after the next start."""
        self._saved_s = self._monotonic()
        try:
            await self._in_thread(self._file.write, self.record)
        except StorageFailed as error:
            _log.debug("How far the scrub is cannot be written: {error}", error=str(error))
