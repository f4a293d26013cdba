"""The vacuum's loop: what is due goes, one thing at a time, the link first, the bytes with the last.

Laws: an entry is looked at again before it goes, and once more under the digest's serialisation. A
removal that the disk refuses is tried again, later each time. What an upstream that does not answer
holds is left for ten minutes more; while it is asked, what others hold goes on going.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from regproxy.errors import StorageFailed
from regproxy.expiry.entries import Entries, Entry, parse_key, upstream_of
from regproxy.expiry.pulse import BELIEVED_S, Pulse
from regproxy.expiry.slices import Slices
from regproxy.interfaces import IRemovals

_log = Logger()

FIRST_RETRY_S = 60.0
LAST_RETRY_S = 3600.0


class Removing:
    """Works through slots that fired.

    ``overdue`` says by how many seconds an entry is past its time (below zero: not yet);
    ``file_later`` files it again, not before so many seconds; ``forget`` takes it out; ``go_on``
    has :meth:`work` called when an upstream that was asked has answered.
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
        go_on: Callable[[], object],
        removed: Callable[[str], None] = lambda kind: None,
    ) -> None:
        self._store = store
        self._entries = entries
        self._pulse = pulse
        self._slices = slices
        self._overdue = overdue
        self._file_later = file_later
        self._forget = forget
        self._go_on = go_on
        self._removed = removed
        self._fired: deque[tuple[int, deque[str]]] = deque()
        self._waiting: dict[str, dict[int, deque[str]]] = {}
        self._asking: dict[str, Deferred[None]] = {}
        self._failures: dict[str, int] = {}
        self._refused = False
        self._working = False

    def __len__(self) -> int:
        waiting = (keys for slots in self._waiting.values() for keys in slots.values())
        return sum(len(keys) for _, keys in self._fired) + sum(map(len, waiting))

    def add(self, slot: int, keys: list[str]) -> None:
        """A slot has fired."""
        self._fired.append((slot, deque(keys)))

    def drop(self, key: str) -> None:
        """The entry is gone; nothing is left of its failures."""
        self._failures.pop(key, None)

    def stop(self) -> None:
        """End after the removal under way."""
        self._fired.clear()
        self._waiting.clear()
        for asking in list(self._asking.values()):
            asking.cancel()

    async def work(self) -> None:
        """Until no slot is left: file again what was used, remove the rest."""
        self._slices.restart()
        self._working = True
        try:
            await self._work()
        finally:
            self._working = False

    async def _work(self) -> None:
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
        except CancelledError:
            raise
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
        waiting = self._waiting.setdefault(upstream, {})
        waiting.setdefault(slot, deque()).append(key)
        if upstream not in self._asking:
            asking = Deferred.fromCoroutine(self._ask(upstream))
            if not asking.called:
                self._asking[upstream] = asking

    async def _ask(self, upstream: str) -> None:
        try:
            await self._pulse.probe(upstream)
        except CancelledError:
            return
        except Exception as error:  # noqa: BLE001  whatever it is: what waits is looked at later
            self._pulse.unasked(upstream)
            _log.failure("{upstream} could not be asked", Failure(error), upstream=upstream)
        finally:
            self._asking.pop(upstream, None)
        self._fired.extend(self._waiting.pop(upstream, {}).items())
        if not self._working:
            self._go_on()

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
