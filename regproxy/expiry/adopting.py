"""What the files tell becomes entries, beside what comes, goes and is used while they are read.

Law: what happened since the start counts more than what is read.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from regproxy.expiry.entries import Entries, Entry
from regproxy.expiry.lines import Line
from regproxy.expiry.slices import Slices
from regproxy.expiry.timeline import Timeline

_log = Logger()

MAX_EARLY = 100_000
UNFILED = -1
"""The slot of an entry that was read and is not on the time line yet."""
WAITING = -2
"""The slot of an entry that came before the state was read."""


class Adopting:
    """Once for each start. ``put`` adds an entry, ``file`` gives it its slot, ``note`` has it written."""

    def __init__(
        self,
        entries: Entries,
        timeline: Timeline,
        put: Callable[[str, Entry], None],
        file: Callable[[str, Entry, float], None],
        note: Callable[[str], None],
    ) -> None:
        self._entries = entries
        self._timeline = timeline
        self._put = put
        self._file = file
        self._note = note
        self._used: dict[str, float] = {}
        self._gone: set[str] = set()
        self.filing = False
        """Whether the time line is known, so that entries may have slots."""
        self.done = False

    def used(self, key: str, now_s: float) -> None:
        """Of something that has no entry yet: it may be read still."""
        if not self.done and len(self._used) < MAX_EARLY:
            self._used[key] = now_s

    def added(self, key: str) -> None:
        """It is there, whatever was said before."""
        self._gone.discard(key)

    def gone(self, key: str) -> None:
        """What will be read of it is of the past."""
        if not self.done:
            self._used.pop(key, None)
            self._gone.add(key)

    def take(self, line: Line) -> None:
        """An entry as a file says, under those that came since the start; ``used`` is wall time still."""
        current = self._entries.get(line.key)
        if current is not None and current.slot != UNFILED:
            if line.entry is not None:
                current.pulls = max(current.pulls, line.entry.pulls + 1)
                current.sent_bytes = max(current.sent_bytes, line.entry.sent_bytes)
            return
        if line.key in self._gone:
            self._note(line.key)
        elif line.entry is None:
            self._entries.pop(line.key)
        else:
            line.entry.slot = UNFILED
            self._put(line.key, line.entry)

    async def adopt(self, shift_s: float, slices: Slices) -> None:
        """Move what was read onto the time line, by ``shift_s`` too, and file it."""
        if shift_s:
            _log.warn(
                "The clock is {shift} s off the saved state: what is cached keeps the time it had left",
                shift=int(shift_s),
            )
        now_s = self._timeline.now()
        self.filing = True
        for key in self._entries:
            entry = self._entries.get(key)
            if entry is not None and entry.slot == UNFILED:
                entry.used_s = min(now_s, self._timeline.from_wall(entry.used_s + shift_s))
                if key in self._used:
                    entry.used_s, entry.pulls = max(entry.used_s, self._used[key]), entry.pulls + 1
                    self._note(key)
                self._file(key, entry, 0.0)
            elif entry is not None and entry.slot == WAITING:
                self._file(key, entry, 0.0)
            if slices.over:
                await slices.give_way()
        self.done = True
        self._used.clear()
        self._gone.clear()
