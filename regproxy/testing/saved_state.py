"""What the scheduler's files say: read by themselves, to hold them against what lies on disk."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import attrs

from regproxy.expiry.entries import key_of
from regproxy.expiry.lines import VERSION, parse_header, parse_line

__all__ = ["SavedEntry", "SavedState", "key_of", "read_state"]

_STATE = "scheduler-state.json"
_JOURNAL = re.compile(r"scheduler-state\.journal\.([1-9][0-9]{0,9})", re.ASCII)
_END = b"}}"


@attrs.frozen(slots=True)
class SavedEntry:
    """One entry as it was written down. ``used_s`` is seconds since the epoch."""

    type: str
    used_s: float
    size_bytes: int
    pulls: int


@attrs.define(slots=True)
class SavedState:
    """The state with its journals. ``rubbish`` are lines that cannot be read: file name and number;
    ``cut`` are files that have no end, or no header of this version."""

    entries: dict[str, SavedEntry] = attrs.field(factory=dict)
    rubbish: list[tuple[str, int]] = attrs.field(factory=list)
    cut: list[str] = attrs.field(factory=list)
    first_journal: int = 0

    def take(self, name: str, number: int, line: bytes) -> None:
        """One line of a state or journal; the later one counts."""
        parsed = parse_line(line)
        if parsed is None:
            self.rubbish.append((name, number))
        elif parsed.entry is None:
            self.entries.pop(parsed.key, None)
        else:
            entry = parsed.entry
            self.entries[parsed.key] = SavedEntry(entry.type, entry.used_s, entry.size_bytes, entry.pulls)


def read_state(root: Path) -> SavedState:
    """The state below ``root``; an empty one where there is none. A journal's torn last line is no
    finding: a kill does that."""
    read = SavedState()
    with contextlib.suppress(FileNotFoundError):
        _read_fold(read, (root / _STATE).read_bytes())
    numbers = sorted(int(match[1]) for path in root.iterdir() if (match := _JOURNAL.fullmatch(path.name)))
    for number in numbers:
        if number >= read.first_journal:
            _read_journal(read, root / f"scheduler-state.journal.{number}")
    return read


def _read_fold(read: SavedState, content: bytes) -> None:
    first, *lines = content.split(b"\n")
    header = parse_header(first)
    while lines and not lines[-1]:
        lines.pop()
    if header is None or header.version != VERSION or not lines or lines[-1] != _END:
        read.cut.append(_STATE)
    if header is not None:
        read.first_journal = header.journal
    for number, line in enumerate(lines, 2):
        if line != _END:
            read.take(_STATE, number, line)


def _read_journal(read: SavedState, path: Path) -> None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    first, *lines = content.split(b"\n")
    if not lines:
        return  # a kill tore the very header
    header = parse_header(first)
    if header is None or header.version != VERSION:
        read.cut.append(path.name)
    for number, line in enumerate(lines[:-1], 2):
        if line:
            read.take(path.name, number, line)
