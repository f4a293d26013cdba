"""TTLExpirationScheduler: content goes a while after its last use, and never by accident.

Laws: the store says what there is and what went, clients say what is used; the scheduler alone owns
``used``, ``pulls`` and ``sent``. Deadlines are computed from ``used``, so a changed ttl applies to old
entries. A jump of the wall clock removes nothing. No piece of work holds the reactor for more than 5 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from regproxy.expiry.adopting import UNFILED, WAITING, Adopting
from regproxy.expiry.entries import Entries, Entry, key_of, upstream_of
from regproxy.expiry.files import StateFiles
from regproxy.expiry.flushing import SAVING, Flushing
from regproxy.expiry.freezing import freeze
from regproxy.expiry.loading import InThread, Loader
from regproxy.expiry.pulse import Pulse
from regproxy.expiry.recent import Recent
from regproxy.expiry.removing import Removing
from regproxy.expiry.saving import Saver
from regproxy.expiry.slices import Slices
from regproxy.expiry.slots import Slots, slot_of
from regproxy.expiry.spreading import Spreading, spread_every_s
from regproxy.expiry.timeline import Timeline, shift_at_start
from regproxy.expiry.works import Works
from regproxy.interfaces import Held, IHoldings, IRemovals, IUsage, IUses, Kind, Use
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference

_log = Logger()

END_S = 0.8
"""A clean stop takes no longer to write the whole state; the journal has it all anyway."""
MANY_JOURNALS = 4
FREEZE_EVERY = 5000
LOOK_EVERY = 32
KEPT_S = 3600.0
"""What is past its time and pinned is looked at again so often: it may be unpinned."""
MAX_EARLY = 1024
"""Of so many things it is remembered what was sent before they came to the disk."""


@implementer(IUses, IHoldings, IUsage)
class TTLExpirationScheduler:
    """Expires what ``store`` holds. ``ttl_s`` gives the life by upstream, None: never by age.

    ``clock`` runs the slots, ``monotonic`` measures, ``wall`` gives seconds since the epoch.
    ``removed`` is told the type of each thing that expired; ``kept`` says of a key, in any thread, whether
    it is pinned and stays; ``compared`` is told after a survey how many entries were of nothing, and how
    many things had none.
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
        freeze: Callable[[], None] = freeze,
        kept: Callable[[str], bool] = lambda key: False,
        compared: Callable[[int, int], object] = lambda dead, entered: None,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._files = files
        self._in_thread = in_thread
        self._ttl_s = ttl_s
        self._freeze = freeze
        self._kept = kept
        self._entries = entries = Entries()
        self._timeline = timeline = Timeline(wall, monotonic)
        self._slots = Slots(clock, timeline.now, self._fire)
        self._works = Works()
        self._saver = Saver(files, in_thread, entries, timeline, Slices(clock), monotonic)
        self._removing = Removing(
            store,
            entries,
            pulse,
            Slices(clock),
            self._overdue,
            self._file,
            self._forget,
            self._works,
            removed,
        )
        self._spreading = Spreading(store, entries, Slices(clock), self._touch, self._spread_every_s)
        self._adopting = Adopting(entries, timeline, self._put, self._file, self._saver.note)
        self._flushing = Flushing(self._saver, timeline, self._works, clock, ttl_s)
        self._compared = compared
        self._surveys = 1
        """The number of the survey that runs, or is to come."""
        self._entered = 0
        self._early: dict[str, int] = {}
        self._recent = Recent()
        self._unfrozen = 0
        self._surveyed = False
        self._stopped = False

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        state = "loading" if not self.loaded else "stopped" if self._stopped else "running"
        return f"<TTLExpirationScheduler {state} entries={len(self)} slots={len(self._slots)}>"

    def count(self, type: str) -> int:
        """How many entries there are of a type: ``blob``, ``manifest`` or ``tag``."""
        return self._entries.count(type)

    @property
    def loaded(self) -> bool:
        """Whether the state was read, so that entries are complete but for what a survey finds."""
        return self._adopting.done

    def entry(self, repository: Repository, reference: Reference) -> tuple[float, int] | None:
        """When it was last used, in seconds since the epoch, and how often; None without an entry."""
        entry = self._entries.get(key_of(repository, reference))
        return None if entry is None else (self._timeline.to_wall(entry.used_s), entry.pulls)

    # what others ask

    def now_s(self) -> float:
        """This moment on the time line that uses are on."""
        return self._timeline.now()

    def uses(self) -> Deferred[list[Use]]:
        """As :meth:`IUsage.uses`."""
        return Deferred.fromCoroutine(self._uses())

    async def _uses(self) -> list[Use]:
        slices = Slices(self._clock)
        uses: list[Use] = []
        for number, key in enumerate(self._entries):
            entry = self._entries.get(key)
            if entry is not None:
                known = key, entry.type, entry.used_s, entry.pulls, entry.size_bytes
                uses.append((*known, entry.sent_bytes))
            if not number % LOOK_EVERY and slices.over:
                await slices.give_way()
        return uses

    def unused_since(self, key: str, used_s: float) -> bool:
        """As :meth:`IUsage.unused_since`."""
        entry = self._entries.get(key)
        return entry is not None and entry.used_s <= used_s

    # what others tell

    def used(self, repository: Repository, reference: Reference) -> None:
        """A client was given it: its life begins again. What is not on disk is not remembered."""
        key, now_s = key_of(repository, reference), self._timeline.now()
        entry = self._entries.get(key)
        if entry is None or entry.slot == UNFILED:
            self._adopting.used(key, now_s)
            return
        entry.pulls += 1
        if entry.type == "tag":
            self._recent.note(key)
        self._touch(key, now_s)
        if entry.type != "blob" and self._spreading.used(key, repository, reference, now_s):
            self._works.begin("spreading", self._spreading.work)

    def sent(self, repository: Repository, reference: Reference, size_bytes: int) -> None:
        """As :meth:`IUses.sent`: what is on its way to the disk has it once it is there."""
        key = key_of(repository, reference)
        entry = self._entries.get(key)
        if entry is None:
            self._early[key] = self._early.pop(key, 0) + size_bytes
            if len(self._early) > MAX_EARLY:
                del self._early[next(iter(self._early))]
            return
        entry.sent_bytes += size_bytes
        self._flushing.note(key)

    def counts(self, repository: Repository, reference: Reference) -> tuple[float, int, int] | None:
        """When it was last used, in seconds since the epoch, how often, and bytes sent; None: no entry."""
        entry = self._entries.get(key_of(repository, reference))
        if entry is None:
            return None
        return self._timeline.to_wall(entry.used_s), entry.pulls, entry.sent_bytes

    def recent(self) -> list[str]:
        """The keys of the tags that were used last, the last one first."""
        return [key for key in self._recent.newest() if key in self._entries]

    def added(self, held: Held) -> None:
        """It is on disk now, or again."""
        key = key_of(held.repository, held.reference)
        entry = self._entries.get(key)
        if entry is None:
            self._adopting.added(key)
            pulls = 1 if held.kind is Kind.BLOB else 0  # a blob is given to its first client before that
            entry = Entry(_type(held), self._timeline.now(), held.size_bytes, pulls)
            entry.sent_bytes = self._early.pop(key, 0)
            self._enter(key, entry)
            return
        entry.seen = self._surveys
        if (entry.type, entry.size_bytes) != (_type(held), held.size_bytes):
            self._entries.retype(entry, _type(held))
            entry.size_bytes = held.size_bytes
            self._flushing.note(key)

    def gone(self, repository: Repository, reference: Reference) -> None:
        """It is off the disk."""
        key = key_of(repository, reference)
        self._adopting.gone(key)
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
                self._entered += 1
                continue
            entry.seen = self._surveys
            if one.size_bytes and not entry.size_bytes:
                entry.size_bytes = one.size_bytes

    def surveyed(self) -> None:
        """All that is on disk has an entry now: worth a state that says so."""
        if not self._surveyed:
            self._surveyed = True
            self._freeze()
        if self.loaded and not self._stopped:
            number, self._surveys = self._surveys, self._surveys + 1
            self._works.begin("comparing", lambda: self._compare(number))

    async def _compare(self, number: int) -> None:
        """What a survey that saw everything has not seen is not there: its entries go."""
        slices, dead = Slices(self._clock), 0
        for looked, key in enumerate(self._entries):
            entry = self._entries.get(key)
            if entry is not None and entry.seen < number:
                self._forget(key)
                dead += 1
            if not looked % LOOK_EVERY and slices.over:
                await slices.give_way()
        entered, self._entered = self._entered, 0
        if dead or entered:
            _log.info(
                "{dead} entries were of nothing that is on disk and are gone; {entered} things got one",
                dead=dead,
                entered=entered,
            )
        self._compared(dead, entered)
        await slices.give_way()  # writing has slices of its own
        self._flushing.now()

    # begin and end

    def start(self) -> Deferred[None]:
        """Read the state behind the serving daemon; fires when that is done. Never fails."""
        return self._works.begin("loading", self._load)

    def stop(self) -> Deferred[None]:
        """Look at nothing any more, write the state; fires when it is on disk."""
        if self._stopped:
            return succeed(None)
        self._flushing.stop()
        self._stopped = True
        self._works.stop()
        self._removing.stop()
        self._saver.hurry(END_S)
        return Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        await self._slots.stop(Slices(self._clock))
        await self._works.end(but=SAVING)
        if self.loaded:
            await self._saver.end()

    async def _load(self) -> None:
        self._timeline.check()
        loader = Loader(self._files, self._in_thread, Slices(self._clock), self._adopting.take, self._wall())
        loaded = await loader.load()
        shift_s = shift_at_start(self._wall(), loaded.saved_s, loaded.seen_s)
        await self._adopting.adopt(shift_s, Slices(self._clock))
        self._add_early()
        self._freeze()
        # what was written by another clock must not be read once more, beside what this one writes
        tidy = loaded.sound and not shift_s and loaded.journals <= MANY_JOURNALS
        self._flushing.begin()
        await self._saver.begin(loaded.last_journal, loaded.journal_lines, tidy, shift_s)
        self._flushing.later()

    def _add_early(self) -> None:
        """What was sent while the state was read."""
        for key, sent_bytes in list(self._early.items()):
            entry = self._entries.get(key)
            if entry is not None:
                entry.sent_bytes += sent_bytes
                self._flushing.note(key)
                del self._early[key]

    # entries and slots

    def _put(self, key: str, entry: Entry) -> None:
        self._entries.put(key, entry)
        self._grown(1)

    def _grown(self, more: int) -> None:
        """So many more entries, and what the store keeps of each."""
        self._unfrozen += more
        if self._unfrozen >= FREEZE_EVERY:
            self._unfrozen = 0
            self._freeze()

    def _enter(self, key: str, entry: Entry) -> None:
        entry.seen = self._surveys
        self._put(key, entry)
        self._file(key, entry, 0.0)
        self._flushing.note(key)

    def _forget(self, key: str) -> None:
        if self._entries.pop(key) is not None:
            self._flushing.note(key)
        self._spreading.forget(key)
        self._removing.drop(key)

    def _touch(self, key: str, time_s: float) -> None:
        entry = self._entries.get(key)
        if entry is not None and time_s > entry.used_s:
            entry.used_s = time_s
            self._flushing.note(key)

    def _overdue(self, key: str, entry: Entry) -> float:
        ttl_s = self._ttl_s(upstream_of(key))
        if ttl_s is None or self._kept(key):
            return -1.0
        return self._timeline.now() - entry.used_s - ttl_s

    def _file(self, key: str, entry: Entry, pause_s: float) -> None:
        """Look at the entry when its time is over, but not before ``pause_s`` from now."""
        entry.slot = None if self._adopting.filing else WAITING
        ttl_s = self._ttl_s(upstream_of(key))
        if ttl_s is None or self._stopped or not self._adopting.filing:
            return
        now_s, due_s = self._timeline.now(), entry.used_s + ttl_s
        if due_s <= now_s and self._kept(key):
            pause_s = max(pause_s, min(ttl_s, KEPT_S))
        due_s = max(due_s, now_s + pause_s)
        self._slots.file(key, entry, slot_of(due_s, ttl_s))

    def _spread_every_s(self, upstream: str) -> float:
        return spread_every_s(self._ttl_s(upstream))

    def _fire(self, slot: int, keys: list[str]) -> None:
        self._flushing.check_clocks()
        self._removing.add(slot, keys)


def _type(held: Held) -> str:
    return "tag" if held.kind is None else held.kind.value
