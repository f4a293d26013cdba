"""TTLExpirationScheduler: content goes a while after its last use, and never by accident.

Laws: the store says what there is and what went, clients say what is used; the scheduler alone owns
``used`` and ``pulls``. Deadlines are computed from ``used``, so a changed ttl applies to old entries.
A jump of the wall clock removes nothing. No piece of work holds the reactor for more than 5 ms.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from regproxy.expiry.entries import Entries, Entry, key_of, upstream_of
from regproxy.expiry.files import StateFiles
from regproxy.expiry.lines import Line
from regproxy.expiry.loading import InThread, Loader
from regproxy.expiry.pulse import Pulse
from regproxy.expiry.removing import Removing
from regproxy.expiry.saving import Saver
from regproxy.expiry.slices import Slices
from regproxy.expiry.slots import Slots, slot_of
from regproxy.expiry.spreading import Spreading, spread_every_s
from regproxy.expiry.timeline import Timeline, shift_at_start
from regproxy.interfaces import Held, IHoldings, IRemovals, IUses, Kind
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference

_log = Logger()

FLUSH_S = 5.0
"""So much of "last used" a kill may lose at most, and never more than a quarter of a life."""
END_S = 0.8
"""A clean stop takes no longer to write the whole state; the journal has it all anyway."""
MANY_JOURNALS = 4
LOOK_S = 60.0
"""A clock that was set while nobody used anything is noticed that soon."""
MAX_EARLY = 100_000
FREEZE_EVERY = 5000


@implementer(IUses, IHoldings)
class TTLExpirationScheduler:
    """Expires what ``store`` holds. ``ttl_s`` gives the life by upstream, None: never by age.

    ``clock`` runs the slots, ``monotonic`` measures, ``wall`` gives seconds since the epoch.
    ``removed`` is told the type of each thing that expired.
    """

    def __init__(
        self,
        store: IRemovals,
        files: StateFiles,
        in_thread: InThread,
        pulse: Pulse,
        ttl_s: Callable[[str], float | None],
        clock: IReactorTime,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
        removed: Callable[[str], None] = lambda kind: None,
        freeze: Callable[[], None] = gc.freeze,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._files = files
        self._in_thread = in_thread
        self._ttl_s = ttl_s
        self._freeze = freeze
        self._entries = entries = Entries()
        self._timeline = timeline = Timeline(wall, monotonic)
        self._slots = Slots(clock, timeline.now, self._fire)
        self._saver = Saver(files, in_thread, entries, timeline, Slices(clock), monotonic)
        self._removing = Removing(
            store,
            entries,
            pulse,
            Slices(clock),
            self._overdue,
            self._file,
            self._forget,
            self._remove,
            removed,
        )
        self._spreading = Spreading(store, entries, Slices(clock), self._touch, self._spread_every_s)
        self._early: dict[str, float] | None = {}
        self._early_gone: set[str] = set()
        self._filing = False
        self._unfrozen = 0
        self._surveyed = False
        self._flushing: IDelayedCall | None = None
        self._looking: IDelayedCall | None = None
        self._busy: dict[str, Deferred[None]] = {}
        self._stopped = False

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        state = "loading" if self._early is not None else "stopped" if self._stopped else "running"
        return f"<TTLExpirationScheduler {state} entries={len(self)} slots={len(self._slots)}>"

    def count(self, type: str) -> int:
        """How many entries there are of a type: ``blob``, ``manifest`` or ``tag``."""
        return self._entries.count(type)

    @property
    def loaded(self) -> bool:
        """Whether the state was read, so that entries are complete but for what a survey finds."""
        return self._early is None

    def entry(self, repository: Repository, reference: Reference) -> tuple[float, int] | None:
        """When it was last used, in seconds since the epoch, and how often; None without an entry."""
        entry = self._entries.get(key_of(repository, reference))
        return None if entry is None else (self._timeline.to_wall(entry.used_s), entry.pulls)

    # what others tell

    def used(self, repository: Repository, reference: Reference) -> None:
        """A client was given it: its life begins again. What is not on disk is not remembered."""
        key, now_s = key_of(repository, reference), self._timeline.now()
        entry = self._entries.get(key)
        if entry is None or entry.slot == _UNFILED:
            if self._early is not None and len(self._early) < MAX_EARLY:
                self._early[key] = now_s
            return
        entry.pulls += 1
        self._touch(key, now_s)
        if entry.type != "blob" and self._spreading.used(key, repository, reference, now_s):
            self._work("spreading", self._spreading.work)

    def added(self, held: Held) -> None:
        """It is on disk now, or again."""
        key = key_of(held.repository, held.reference)
        entry = self._entries.get(key)
        if entry is None:
            self._early_gone.discard(key)
            pulls = 1 if held.kind is Kind.BLOB else 0  # a blob is given to its first client before that
            self._enter(key, Entry(_type(held), self._timeline.now(), held.size_bytes, pulls))
        elif (entry.type, entry.size_bytes) != (_type(held), held.size_bytes):
            self._entries.retype(entry, _type(held))
            entry.size_bytes = held.size_bytes
            self._note(key)

    def gone(self, repository: Repository, reference: Reference) -> None:
        """It is off the disk."""
        key = key_of(repository, reference)
        if self._early is not None:
            self._early.pop(key, None)
            self._early_gone.add(key)
        self._forget(key)

    def found(self, held: Sequence[Held]) -> None:
        """A survey sees it: without an entry it gets one, with a full life from now."""
        if not self._surveyed:
            self._grown(len(held))  # what the store keeps of each
        for one in held:
            key = key_of(one.repository, one.reference)
            entry = self._entries.get(key)
            if entry is None:
                self._enter(key, Entry(_type(one), self._timeline.now(), one.size_bytes))
            elif one.size_bytes and not entry.size_bytes:
                entry.size_bytes = one.size_bytes

    def surveyed(self) -> None:
        """All that is on disk has an entry now: worth a state that says so."""
        if not self._surveyed:
            self._surveyed = True
            self._freeze()
        if self._early is None:
            self._work("saving", self._save)

    # begin and end

    def start(self) -> Deferred[None]:
        """Read the state behind the serving daemon; fires when that is done. Never fails."""
        return self._work("loading", self._load)

    def stop(self) -> Deferred[None]:
        """Look at nothing any more, write the state; fires when it is on disk."""
        if self._stopped:
            return succeed(None)
        self._check_clocks()
        self._stopped = True
        self._removing.stop()
        self._saver.hurry(END_S)
        for call in (self._flushing, self._looking):
            if call is not None and call.active():
                call.cancel()
        return Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        await self._slots.stop(Slices(self._clock))
        for name, working in list(self._busy.items()):
            if name != "saving":
                working.cancel()
        while self._busy:
            await next(iter(self._busy.values()))
        if self._early is None:
            await self._saver.end()

    async def _load(self) -> None:
        self._timeline.check()
        loader = Loader(self._files, self._in_thread, Slices(self._clock), self._take, self._wall())
        loaded = await loader.load()
        shift_s = shift_at_start(self._wall(), loaded.saved_s, loaded.seen_s)
        await self._adopt(shift_s)
        self._early = None
        self._early_gone.clear()
        self._freeze()
        # what was written by another clock must not be read once more, beside what this one writes
        tidy = loaded.sound and not shift_s and loaded.journals <= MANY_JOURNALS
        self._look()
        await self._saver.begin(loaded.last_journal, loaded.journal_lines, tidy, shift_s)
        self._flush_later()

    def _take(self, line: Line) -> None:
        """An entry as a file says, under those that came since the start; ``used`` is wall time still."""
        current = self._entries.get(line.key)
        if current is not None and current.slot != _UNFILED:
            if line.entry is not None:
                current.pulls = max(current.pulls, line.entry.pulls + 1)
            return
        if line.key in self._early_gone:
            self._saver.note(line.key)
        elif line.entry is None:
            self._entries.pop(line.key)
        else:
            line.entry.slot = _UNFILED
            self._put(line.key, line.entry)

    async def _adopt(self, shift_s: float) -> None:
        """Move what was read onto the time line, and file it."""
        if shift_s:
            _log.warn(
                "The clock is {shift} s off the saved state: what is cached keeps the time it had left",
                shift=int(shift_s),
            )
        slices, now_s = Slices(self._clock), self._timeline.now()
        early = {} if self._early is None else self._early
        self._filing = True
        for key in self._entries:
            entry = self._entries.get(key)
            if entry is not None and entry.slot == _UNFILED:
                entry.used_s = min(now_s, self._timeline.from_wall(entry.used_s + shift_s))
                if key in early:
                    entry.used_s, entry.pulls = max(entry.used_s, early[key]), entry.pulls + 1
                    self._saver.note(key)
                self._file(key, entry, 0.0)
            elif entry is not None and entry.slot == _WAITING:
                self._file(key, entry, 0.0)
            if slices.over:
                await slices.give_way()

    # entries and slots

    def _put(self, key: str, entry: Entry) -> None:
        self._entries.put(key, entry)
        self._grown(1)

    def _grown(self, more: int) -> None:
        """What stays is not looked through by the garbage collector: a hundred thousand cost it 50 ms."""
        self._unfrozen += more
        if self._unfrozen >= FREEZE_EVERY:
            self._unfrozen = 0
            self._freeze()

    def _enter(self, key: str, entry: Entry) -> None:
        self._put(key, entry)
        self._file(key, entry, 0.0)
        self._note(key)

    def _forget(self, key: str) -> None:
        if self._entries.pop(key) is not None:
            self._note(key)
        self._spreading.forget(key)
        self._removing.drop(key)

    def _touch(self, key: str, time_s: float) -> None:
        entry = self._entries.get(key)
        if entry is not None and time_s > entry.used_s:
            entry.used_s = time_s
            self._note(key)

    def _note(self, key: str) -> None:
        self._saver.note(key)
        self._flush_later(self._flush_s(key))

    def _flush_s(self, key: str) -> float:
        ttl_s = self._ttl_s(upstream_of(key))
        return FLUSH_S if ttl_s is None else min(FLUSH_S, ttl_s / 4)

    def _overdue(self, key: str, entry: Entry) -> float:
        ttl_s = self._ttl_s(upstream_of(key))
        return -1.0 if ttl_s is None else self._timeline.now() - entry.used_s - ttl_s

    def _file(self, key: str, entry: Entry, pause_s: float) -> None:
        """Look at the entry when its time is over, but not before ``pause_s`` from now."""
        entry.slot = None if self._filing else _WAITING
        ttl_s = self._ttl_s(upstream_of(key))
        if ttl_s is None or self._stopped or not self._filing:
            return
        due_s = max(entry.used_s + ttl_s, self._timeline.now() + pause_s)
        self._slots.file(key, entry, slot_of(due_s, ttl_s))

    def _spread_every_s(self, upstream: str) -> float:
        return spread_every_s(self._ttl_s(upstream))

    def _fire(self, slot: int, keys: list[str]) -> None:
        self._check_clocks()
        self._removing.add(slot, keys)
        self._remove()

    def _remove(self) -> None:
        self._work("removing", self._removing.work)

    def _look(self) -> None:
        self._check_clocks()
        if not self._stopped:
            self._looking = self._clock.callLater(LOOK_S, self._look)

    def _check_clocks(self) -> None:
        jump_s = self._timeline.check()
        if jump_s:
            _log.warn("The clock jumped by {jump} s: nothing expires by that", jump=int(jump_s))
            self._saver.want_fold()
            self._flush_later()

    # what runs behind

    def _flush_later(self, pause_s: float = FLUSH_S) -> None:
        if self._stopped or self._early is not None:
            return
        if self._flushing is None or not self._flushing.active():
            self._flushing = self._clock.callLater(pause_s, self._work, "saving", self._save)
        elif self._flushing.getTime() > self._clock.seconds() + pause_s:
            self._flushing.reset(pause_s)

    async def _save(self) -> None:
        self._check_clocks()
        await self._saver.save()
        if self._saver.pending:
            self._flush_later()

    def _work(self, name: str, job: Callable[[], Awaitable[None]]) -> Deferred[None]:
        """Run ``job`` unless one of that name runs, which takes up what is new."""
        if name in self._busy or self._stopped:
            return self._busy.get(name) or succeed(None)
        working: Deferred[None] = Deferred.fromCoroutine(_awaited(job()))
        if not working.called:
            self._busy[name] = working

        def over(result: Failure | None) -> None:
            self._busy.pop(name, None)
            if isinstance(result, Failure) and not result.check(CancelledError):
                _log.failure("The scheduler's {name} failed", failure=result, name=name)

        return working.addBoth(over)


_UNFILED = -1
"""The slot of an entry that was read and is not on the time line yet."""
_WAITING = -2
"""The slot of an entry that came before the state was read."""


def _type(held: Held) -> str:
    return "tag" if held.kind is None else held.kind.value


async def _awaited(job: Awaitable[None]) -> None:
    await job
