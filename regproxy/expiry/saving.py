"""Writing the state: changes go to a journal within seconds, the journal is folded now and then.

A fold first opens journal n+1, so that no change is without a place; then it writes the state, which
names n+1, renames it, and removes the journals up to n. A kill at any step leaves the old state with
its journals, or the new one. A disk that refuses loses nothing: what is to be written waits.
A journal speaks of the clock that its state was written by, also after that clock has jumped.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from twisted.logger import Logger

from regproxy.errors import StorageFailed
from regproxy.expiry.entries import Entries
from regproxy.expiry.files import StateFiles
from regproxy.expiry.lines import FOOTER, journal_header, journal_line, member, state_header
from regproxy.expiry.loading import InThread
from regproxy.expiry.slices import Slices
from regproxy.expiry.timeline import Timeline

_log = Logger()

FOLD_LINES = 20_000
FOLD_EVERY_S = 86_400.0
RETRY_S = 600.0
_BATCH = 40
_JOURNAL_LINES = 2000
_WRITE_BYTES = 256 * 1024


class Saver:
    """Keeps the files in step with ``entries``. One call at a time: the scheduler's loop sees to it."""

    def __init__(
        self,
        files: StateFiles,
        in_thread: InThread,
        entries: Entries,
        timeline: Timeline,
        slices: Slices,
        monotonic: Callable[[], float],
    ) -> None:
        self._files = files
        self._in_thread = in_thread
        self._entries = entries
        self._timeline = timeline
        self._slices = slices
        self._monotonic = monotonic
        self._changed: set[str] = set()
        self._number = 0
        self._lines = 0
        self._folded_s = monotonic()
        self._wanted = False
        self._refused = False
        self._open = False
        self._fresh = False
        self._fold_from_s = 0.0
        self._fold_until_s: float | None = None
        self._skew_s = timeline.skew_s

    def note(self, key: str) -> None:
        """The entry under ``key`` is new, changed or gone."""
        self._changed.add(key)

    @property
    def pending(self) -> bool:
        """Whether there is something to write."""
        return bool(self._changed) or self._wanted

    def want_fold(self) -> None:
        """Fold at the next occasion: what was written so far is of another time."""
        self._wanted = True

    async def begin(self, last_journal: int, lines: int, tidy: bool, shift_s: float = 0.0) -> None:
        """After loading: go on in a new journal, with a new state where things were not in order.

        ``shift_s``: what was read was moved by that, and is not moved on disk before the next fold.
        """
        self._number = last_journal
        self._skew_s = self._timeline.skew_s - shift_s
        self._lines = lines
        self._wanted = self._wanted or not tidy
        await self.save()

    def hurry(self, seconds: float) -> None:
        """A fold, also one under way, has so long from now: what it was to take in is in the journal."""
        self._fold_until_s = self._monotonic() + seconds

    async def save(self, final: bool = False) -> bool:
        """Write what changed; fold when it is time, or at the end. Whether the disk took it."""
        self._slices.restart()
        try:
            if not self._open:
                await self._next_journal()
            await self._flush()
            if final or self._time_to_fold():
                await self._fold()
        except StorageFailed as error:
            if not self._refused:
                _log.error("the state of the scheduler is not saved: {error}", error=error.message)
            self._refused = True
            return False
        if self._refused:
            _log.info("the state of the scheduler is saved again")
        self._refused = False
        return True

    def _time_to_fold(self) -> bool:
        many = self._lines > max(FOLD_LINES, 2 * len(self._entries))
        old = self._lines > 0 and self._monotonic() - self._folded_s > FOLD_EVERY_S
        return (self._wanted or many or old) and self._monotonic() >= self._fold_from_s

    async def _next_journal(self) -> None:
        self._number += 1  # one that fails, or whose making is cancelled, is not used again
        await self._in_thread(self._files.begin_journal, self._number, journal_header(self._number))
        self._open = self._fresh = True

    async def _flush(self) -> None:
        while self._changed:
            taken: list[str] = []
            lines: list[str] = []
            while self._changed and len(taken) < _JOURNAL_LINES:
                key = self._changed.pop()
                entry = self._entries.get(key)
                taken.append(key)
                lines.append(
                    journal_line(key, entry, _since_epoch(entry.used_s + self._skew_s if entry else 0.0))
                )
                if self._slices.over:
                    break
            try:
                await self._in_thread(self._files.append, "".join(lines).encode())
            except StorageFailed:
                self._changed.update(taken)
                raise
            self._lines += len(taken)
            self._fresh = False
            await self._slices.give_way()

    async def _fold(self) -> None:
        self._wanted, skew_s = False, self._timeline.skew_s
        try:
            if not self._fresh:
                await self._next_journal()
            await self._in_thread(self._files.begin_state)
            saved_s = _since_epoch(self._timeline.now() + skew_s)
            await self._in_thread(self._files.write_state, state_header(self._number, saved_s))
            await self._members(skew_s)
            await self._in_thread(self._files.write_state, FOOTER)
            await self._in_thread(self._files.sync_state)
            await self._in_thread(self._files.name_state)
        except StorageFailed:
            self._wanted = True
            self._fold_from_s = self._monotonic() + RETRY_S
            await self._abandon()
            raise
        except _NoTime:
            await self._abandon()
            return
        self._lines, self._folded_s, self._skew_s = 0, self._monotonic(), skew_s
        for number in await self._in_thread(self._files.journals):
            if number < self._number:
                await self._in_thread(self._files.remove_journal, number)

    async def _abandon(self) -> None:
        with suppress(StorageFailed):
            await self._in_thread(self._files.abandon_state)

    async def _members(self, skew_s: float) -> None:
        before, text, size = "\n", [], 0
        for count, key in enumerate(self._entries):
            entry = self._entries.get(key)
            if entry is not None:
                text.append(before + member(key, entry, _since_epoch(entry.used_s + skew_s)))
                size += len(text[-1])
                before = ",\n"
            if size >= _WRITE_BYTES:
                await self._in_thread(self._files.write_state, "".join(text).encode())
                text, size = [], 0
            if count % _BATCH == 0 and self._slices.over:
                await self._slices.give_way()
                if self._fold_until_s is not None and self._monotonic() > self._fold_until_s:
                    raise _NoTime
        if text:
            await self._in_thread(self._files.write_state, "".join(text).encode())

    async def end(self) -> None:
        """Write what changed, and the whole state where there is time; let go of the files."""
        try:
            await self.save(final=True)
        finally:
            self._open = False
            with suppress(StorageFailed):
                await self._in_thread(self._files.close_journal)


def _since_epoch(wall_s: float) -> float:
    return max(0.0, wall_s)


class _NoTime(Exception):
    """A fold at the end takes too long."""
