"""Eviction: what has to go when space is needed goes, before a transfer takes it or behind it.

Laws: nothing goes before the store knows who holds what. What a round removes was planned in a thread;
each thing is looked at again before it goes, so that what was used since stays. No pull waits longer than
WAIT_S for room, nor fails for want of it: without room its copy is not kept. What is open is read to its
end, and what it takes counts until then. For a blob larger than half of what there may be nothing goes.
Where all that may go is too little, nobody waits for more, and it is not worked out again and again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from regproxy.errors import StorageFailed
from regproxy.eviction.gathering import Gathering, parse_key
from regproxy.eviction.limits import DiskRoom, Limits, Need, Reason
from regproxy.eviction.pinned import Pinned
from regproxy.eviction.pins import InThread, Pins, pinned_keys
from regproxy.eviction.plan import Removal, What, plan
from regproxy.eviction.waiting import Waiter, Waiting
from regproxy.interfaces import Held, IEvictable, IHoldings, IRoom, IUsage, Kind
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference

_log = Logger()

LOOK_S = 10.0
"""How often the disk is looked at behind everything else: others fill it too."""
FRESH_S = 1.0
"""How long what the file system said is believed before a transfer takes room."""
SHORT_S = 30.0
"""So long nothing is planned anew when all that may go was too little, unless something else may go now."""
TELL_EVERY_S = 60.0
MAX_GONE = 8192
MAX_ROUNDS = 3


@attrs.define
class Round:
    """What one round has removed."""

    reason: Reason
    images: int = 0
    blobs: int = 0
    spools: int = 0
    disk_bytes: int = 0
    began_s: float = 0.0
    kept: int = 0
    """So many were used since they were chosen, whole or in part."""


Told = Callable[[str, str, int], object]
"""Told of each removal: ``spool``, ``blob`` or ``image``, why, and bytes."""


@implementer(IRoom, IHoldings)
class Evictor:
    """Over ``store``. ``evicted`` is told of each removal, ``refused`` why a transfer got no room."""

    def __init__(
        self,
        store: IEvictable,
        usage: IUsage,
        limits: Limits,
        pins: Pins,
        in_thread: InThread,
        clock: IReactorTime,
        evicted: Told = lambda what, why, disk_bytes: None,
        refused: Callable[[str], object] = lambda why: None,
    ) -> None:
        self._store = store
        self._usage = usage
        self.limits = limits
        self._pins = pins
        self._clock = clock
        self._evicted = evicted
        self._refused = refused
        self._gone: OrderedDict[str, int] = OrderedDict()
        self.gathering = self._gathering = Gathering(usage, store.stock, in_thread, self._gone)
        self.pinned = Pinned(pins, self._gathering, usage, clock)
        self._disk: DiskRoom | None = None
        self._looked_s = float("-inf")
        self._waiting = Waiting(clock, self._fits, self._turn_away)
        self._working: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._told_s = float("-inf")
        self._untold = 0
        self._troubled = False
        self._in_vain = False
        self._short: tuple[float, int] | None = None
        """When all that may go was too little, and by which pins."""
        self._stopped = False

    def __repr__(self) -> str:
        state = "stopped" if self._stopped else "busy" if self._working else "idle"
        return f"<Evictor {state} {self._store.disk_use()} waiting={len(self._waiting)}>"

    # begin and end

    def start(self) -> Deferred[None]:
        """Look at the disk from now on; fires when it is known what is pinned."""
        self._look_again()
        return self._load_pins()

    def _load_pins(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._pins.load()).addErrback(self._broke)

    def stop(self) -> Deferred[None]:
        """Remove nothing any more; who waits for room is told that there is none. Fires when nothing runs."""
        self._stopped = True
        self.pinned.stop()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._waiting.end()
        over: Deferred[None] = Deferred()
        if self._working is None:
            return succeed(None)
        self._working.addBoth(lambda _: over.callback(None))
        return over

    # what the store tells

    def added(self, held: Held) -> None:
        """Something came, perhaps without asking for room."""
        self.pinned.added(held)
        if self._short is not None and held.kind is Kind.BLOB and not self.pinned.holds(_key(held)):
            self._short = None
        self.consider()

    def gone(self, repository: Repository, reference: Reference) -> None:
        """Something went."""
        self.pinned.gone(repository, reference)

    def found(self, held: Sequence[Held]) -> None:
        """A survey sees these."""
        self.pinned.found(held)

    def surveyed(self) -> None:
        """It has seen everything: from now on bytes go with their last link."""
        self.pinned.surveyed()
        self._short = None
        self.consider()

    # who wants room

    def reserve(self, size_bytes: int) -> Deferred[None]:
        """As :meth:`IRoom.reserve`."""
        if self._stopped:
            return fail(_no_room(Reason.MAX_SIZE))
        why = self._why_not(size_bytes)
        age_s = self._clock.seconds() - self._looked_s
        if age_s > (0.0 if why is Reason.MIN_FREE else FRESH_S):
            looking: Deferred[None] = Deferred.fromCoroutine(self._look())
            return looking.addCallback(self._judge, size_bytes)
        return self._judge(None, size_bytes)

    def _why_not(self, size_bytes: int) -> Reason | None:
        wanted = size_bytes + self._waiting.size_bytes
        return self.limits.refuses(self._store.disk_use(), self._disk, wanted)

    def capacity_bytes(self) -> int | None:
        """As :meth:`IRoom.capacity_bytes`."""
        return self.limits.capacity(self._store.disk_use(), self._disk)

    def consider(self, coming_bytes: int = 0) -> None:
        """Begin a round if one is due; costs some microseconds where none is."""
        self._begin_if_due(coming_bytes, begun=False)

    def _begin_if_due(self, coming_bytes: int, *, begun: bool) -> None:
        if self._working is None and not self._stopped and not self._is_short():
            need = self._need(coming_bytes, begun=begun)
            if need is not None:
                self._begin(need)

    def _is_short(self) -> bool:
        """Whether it is known that nothing more may go now."""
        if self._short is None:
            return False
        found_s, pins = self._short
        return pins == self._pins.changes and self._clock.seconds() - found_s < SHORT_S

    def _judge(self, _: None, size_bytes: int) -> Deferred[None]:
        use, waiting, why = self._store.disk_use(), self._waiting.size_bytes, self._why_not(size_bytes)
        if why is None:
            self.consider(size_bytes)
            return succeed(None)
        may_wait = (self._store.settled() or not use.counted) and not self._stopped
        hopeless = self._is_short() and not use.unlinked
        if may_wait and not hopeless and self.limits.worth_it(use, self._disk, size_bytes, waiting):
            given = self._waiting.add(size_bytes, why)
            self._begin_if_due(0, begun=True)
            return given
        given = Deferred()
        self._turn_away(Waiter(size_bytes, why, given, self._clock.seconds()))
        return given

    def _fits(self, size_bytes: int) -> bool:
        return self.limits.refuses(self._store.disk_use(), self._disk, size_bytes) is None

    def _turn_away(self, waiter: Waiter) -> None:
        """A disk that has not even the bytes says so itself, and why: that is its trouble, not ours."""
        disk, use = self._disk, self._store.disk_use()
        full = disk is not None and disk.free_now(use) < waiter.size_bytes
        if waiter.why is Reason.MIN_FREE and full and not self._stopped:
            waiter.given.callback(None)
            return
        self._tell_refusal(waiter.why)
        waiter.given.errback(_no_room(waiter.why))

    def _tell_refusal(self, why: Reason) -> None:
        """Once a minute, however many there are."""
        self._refused(why.value)
        self._untold += 1
        now_s = self._clock.seconds()
        if now_s - self._told_s < TELL_EVERY_S:
            return
        _log.warn(
            "{count} transfers passed through and were not kept: no room within storage.{setting} for them",
            count=self._untold,
            setting=why.value,
        )
        self._told_s, self._untold = now_s, 0

    # looking at the disk

    def _look_again(self) -> None:
        if self._stopped:
            return
        looking: Deferred[None] = Deferred.fromCoroutine(self._look())
        looking.addCallback(lambda _: self.consider()).addErrback(self._broke)
        if self._timer is not None and not self._pins.loaded:
            self._load_pins()
        self._timer = self._clock.callLater(LOOK_S, self._look_again)

    async def _look(self) -> None:
        """What the file system says; where it says nothing, only ``max_size`` counts."""
        self._looked_s = self._clock.seconds()
        use = self._store.disk_use()
        try:
            free_bytes, total_bytes = await self._store.room()
        except StorageFailed:
            self._disk = None
            return
        self._disk = DiskRoom(free_bytes, total_bytes, use)

    # rounds

    def _need(self, coming_bytes: int = 0, *, begun: bool) -> Need | None:
        if not self._store.settled():
            return None
        wanted = self._waiting.size_bytes + coming_bytes
        return self.limits.need(self._store.disk_use(), self._disk, wanted, begun=begun)

    def _begin(self, need: Need) -> None:
        working = self._working = Deferred()
        Deferred.fromCoroutine(self._work(need)).addErrback(self._broke).addCallback(self._end, working)

    def _end(self, _: None, working: Deferred[None]) -> None:
        self._working = None
        working.callback(None)

    async def _work(self, need: Need) -> None:
        """Rounds, as long as each takes something. What is gone cannot be brought back, so the disk is
        looked at first: whoever filled it may have made room again."""
        for number in range(MAX_ROUNDS):
            if need.reason is Reason.MIN_FREE:
                await self._look()
                again = self._need(begun=bool(number))
                if again is None:
                    self._waiting.serve()
                    return
                need = again
            if self._stopped or not await self._round(need):
                return
            more = self._need(begun=True)
            if more is None:
                return
            need = more

    async def _round(self, need: Need) -> bool:
        """Whether something went."""
        done, pins = Round(need.reason, began_s=self._clock.seconds()), self._pins.changes
        removals = await self._gathering.look(
            lambda held: plan(held, pinned_keys(held, self._pins), need.bytes)
        )
        enough = sum(removal.disk_bytes for removal in removals) >= need.bytes
        for removal in removals:
            if self._stopped or self._need(begun=True) is None:
                break
            if not await self._remove(removal, done):
                break
            self._waiting.serve()
        self._waiting.serve()
        self._short = None if enough else (self._clock.seconds(), pins)
        self._tell_round(done)
        return bool(done.images or done.blobs or done.spools)

    async def _remove(self, removal: Removal, done: Round) -> bool:
        """False where the disk refuses: then the round is over."""
        try:
            if removal.what is What.SPOOL:
                if await self._store.drop_spool(removal.keys[0]):
                    self._count(removal, done)
                return True
            parts = [*zip(removal.keys, removal.used_s, strict=True)]
            if not all(self._may_go(*part) for part in parts):
                done.kept += 1
                return True
            for part in parts:
                named = parse_key(part[0])
                if named is not None and not await self._store.expire(*named, partial(self._may_go, *part)):
                    done.kept += 1  # it needs what comes behind it
                    return True
        except StorageFailed as error:
            if not self._troubled and not error.told:
                _log.error("What has to go cannot be removed: {error}; tried again later", error=str(error))
            self._troubled = True
            return False
        self._troubled = False
        self._count(removal, done)
        self._remember(removal)
        return True

    def _may_go(self, key: str, used_s: float) -> bool:
        """In the writer thread too."""
        return self._usage.unused_since(key, used_s) and not self.pinned.holds(key)

    def _count(self, removal: Removal, done: Round) -> None:
        done.images += removal.what is What.IMAGE
        done.blobs += removal.what is What.BLOB
        done.spools += removal.what is What.SPOOL
        done.disk_bytes += removal.disk_bytes
        self._evicted(removal.what.value, done.reason.value, removal.disk_bytes)

    def _remember(self, removal: Removal) -> None:
        """How often it had been asked for counts when it comes back."""
        for key in removal.keys:
            if "@" in key:
                self._gone[key] = removal.pulls
                self._gone.move_to_end(key)
                break
        while len(self._gone) > MAX_GONE:
            self._gone.popitem(last=False)

    def _tell_round(self, done: Round) -> None:
        use = self._store.disk_use()
        if done.images or done.blobs or done.spools:
            self._in_vain = False
            _log.info(
                "Evicted for storage.{reason}: {images} images, {blobs} single blobs, {spools} broken "
                "transfers, {freed} bytes, in {seconds} s; content takes {taken} bytes now",
                reason=done.reason.value,
                images=done.images,
                blobs=done.blobs,
                spools=done.spools,
                freed=done.disk_bytes,
                seconds=round(self._clock.seconds() - done.began_s, 1),
                taken=use.all,
            )
        elif not self._in_vain and not done.kept and not self._troubled:
            self._in_vain = True
            _log.warn(
                "storage.{reason} asks for room, and there is nothing that may go: what is left is pinned or "
                "on its way ({taken} bytes)",
                reason=done.reason.value,
                taken=use.all,
            )

    def _broke(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if failure.check(StorageFailed):
            _log.debug("No eviction now: {error}", error=str(failure.value))
            return
        _log.failure("Eviction failed", failure)


def _key(held: Held) -> str:
    return f"{held.repository}@{held.reference}"


def _no_room(why: Reason) -> StorageFailed:
    error = StorageFailed(f"there is no room for it within storage.{why.value}")
    error.told = True
    return error
