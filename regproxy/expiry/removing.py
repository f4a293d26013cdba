"""The vacuum's loop: what is due goes, one thing at a time, the link first, the bytes with the last.

Laws: an entry is looked at again before it goes, and once more under the digest's serialisation. A
removal that the disk refuses is tried again, later each time. What an upstream that does not answer
holds is left for ten minutes more; while it is asked, what others hold goes on going.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from twisted.logger import Logger

from regproxy.errors import StorageFailed
from regproxy.expiry.entries import Entries, Entry, parse_key, upstream_of
from regproxy.expiry.pulse import BELIEVED_S, Pulse
from regproxy.expiry.slices import Slices
from regproxy.expiry.works import Works
from regproxy.interfaces import IRemovals

_log = Logger()

FIRST_RETRY_S = 60.0
LAST_RETRY_S = 3600.0


class Removing:
    """Works through slots that fired.

    ``overdue`` says by how many seconds an entry is past its time (below zero: not yet);
    ``file_later`` files it again, not before so many seconds; ``forget`` takes it out; ``works`` is
    where the loop runs, and beside it what asks an upstream.
    """

    def __init__(
        self,
        store: IRemovals,
        entries: Entries,
        pulse: Pulse,
        slices: Slices,
        overdue: Callable[[str, Entry], float],
        file_later: Callable[[str, Entry, float], None],
        forget: Callable[[str], None],
        works: Works,
        removed: Callable[[str], None] = lambda kind: None,
    ) -> None:
        self._store = store
        self._entries = entries
        self._pulse = pulse
        self._slices = slices
        self._overdue = overdue
        self._file_later = file_later
        self._forget = forget
        self._works = works
        self._removed = removed
        self._fired: deque[tuple[int, deque[str]]] = deque()
        self._waiting: dict[str, dict[int, deque[str]]] = {}
        self._failures: dict[str, int] = {}
        self._refused = False

    def __len__(self) -> int:
        waiting = (keys for slots in self._waiting.values() for keys in slots.values())
        return sum(len(keys) for _, keys in self._fired) + sum(map(len, waiting))

    def add(self, slot: int, keys: list[str]) -> None:
        """A slot has fired."""
        self._fired.append((slot, deque(keys)))
        self._begin()

    def drop(self, key: str) -> None:
        """The entry is gone; nothing is left of its failures."""
        self._failures.pop(key, None)

    def stop(self) -> None:
        """End after the removal under way."""
        self._fired.clear()
        self._waiting.clear()

    def _begin(self) -> None:
        self._works.begin("removing", self._work)

    async def _work(self) -> None:
        """Until no slot is left: file again what was used, remove the rest."""
        self._slices.restart()
        while self._fired:
            slot, keys = self._fired[0]
            if not keys:
                self._fired.popleft()
                continue
            key = keys.popleft()
            entry = self._entries.get(key)
            if entry is not None and entry.slot == slot:
                await self._judge_or_file(key, entry)
            if self._slices.over:
                await self._slices.give_way()

    async def _judge_or_file(self, key: str, entry: Entry) -> None:
        """A fault of ours, which ends this round, does not take the entry from the next one."""
        try:
            await self._judge(key, entry)
        except Exception:
            if self._entries.get(key) is entry:
                self._file_later(key, entry, FIRST_RETRY_S)
            raise

    async def _judge(self, key: str, entry: Entry) -> None:
        if self._overdue(key, entry) < 0:
            self._file_later(key, entry, 0.0)
            return
        alive = self._pulse.alive(upstream_of(key))
        if alive is None:
            self._wait(key, entry)
        elif not alive:
            self._file_later(key, entry, BELIEVED_S)
        else:
            await self._remove(key, entry)

    def _wait(self, key: str, entry: Entry) -> None:
        """Its upstream is asked first; what waits with it is looked at again after that."""
        upstream, slot = upstream_of(key), entry.slot
        assert slot is not None, "it was taken from a slot"
        first = upstream not in self._waiting
        waiting = self._waiting.setdefault(upstream, {})
        waiting.setdefault(slot, deque()).append(key)
        if first:
            asking = self._works.begin(f"asking of {upstream}", partial(self._pulse.probe, upstream))
            asking.addCallback(self._asked, upstream)

    def _asked(self, _: None, upstream: str) -> None:
        self._fired.extend(self._waiting.pop(upstream, {}).items())
        self._begin()

    async def _remove(self, key: str, entry: Entry) -> None:
        """In the writer thread the entry's use is read again; the store tells us what went."""
        named = parse_key(key)
        assert named is not None, "keys are made of names"
        try:
            gone = await self._store.expire(*named, lambda: self._overdue(key, entry) >= 0)
        except StorageFailed as error:
            self._try_later(key, entry, error)
            return
        self._refused = False
        if gone:
            self._removed(entry.type)
            if self._entries.get(key) is entry:
                self._forget(key)
        elif self._entries.get(key) is entry:
            self._file_later(key, entry, 0.0)

    def _try_later(self, key: str, entry: Entry, error: StorageFailed) -> None:
        if not self._refused:
            _log.error("what expired cannot be removed: {error}; tried again later", error=error.message)
        self._refused = True
        if self._entries.get(key) is not entry:
            return
        tries = self._failures[key] = self._failures.get(key, 0) + 1
        self._file_later(key, entry, min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(tries - 1, 10)))
