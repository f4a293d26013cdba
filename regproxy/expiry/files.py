"""The state's files, in blocking steps that a power cut cannot tear; run in a thread of their own.

    scheduler-state.json            the last fold: names the first journal that it lacks
    scheduler-state.journal.<n>     changes since, appended
    scheduler-state.json.damaged    what could not be read, the last one

Law: the state's name appears only by rename, after its bytes were fsynced.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

CHUNK_BYTES = 128 * 1024
MODE = 0o640
_JOURNAL = re.compile(r"scheduler-state\.journal\.([1-9][0-9]{0,9})", re.ASCII)


class StateFiles:
    """The files in ``folder``. Each method is one step and raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.state = folder / "scheduler-state.json"
        self._temporary = folder / ".scheduler-state.json.tmp"
        self._damaged = folder / "scheduler-state.json.damaged"
        self._journal: int | None = None
        self._saving: int | None = None
        self._torn = False

    def journal(self, number: int) -> Path:
        """The path of a journal."""
        return self._folder / f"scheduler-state.journal.{number}"

    def journals(self) -> list[int]:
        """The numbers of the journals that are there, in order."""
        found = map(_JOURNAL.fullmatch, os.listdir(self._folder))
        return sorted(int(match[1]) for match in found if match)

    # reading

    def open(self, path: Path) -> int | None:
        """A descriptor to read from; None when there is no such file."""
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        return None

    def read(self, descriptor: int) -> bytes:
        """The next bytes; empty at the end."""
        return os.read(descriptor, CHUNK_BYTES)

    def close(self, descriptor: int) -> None:
        """Done with reading."""
        os.close(descriptor)

    def set_aside(self) -> None:
        """Keep a state that cannot be read for a person to look at."""
        os.replace(self.state, self._damaged)

    # the journal

    def begin_journal(self, number: int, header: bytes) -> None:
        """From now on changes go to journal ``number``, which must not be there yet.

        OSError leaves the one before in use.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW
        descriptor = os.open(self.journal(number), flags, MODE)
        try:
            self._write(descriptor, header)
        except OSError:
            os.close(descriptor)
            os.unlink(self.journal(number))
            raise
        before, self._journal, self._torn = self._journal, descriptor, False
        if before is not None:
            os.close(before)

    def append(self, lines: bytes) -> None:
        """Write whole lines; after one that the disk cut, the next begins anew."""
        if self._journal is None:
            raise FileNotFoundError("no journal is open")
        content = b"\n" + lines if self._torn else lines
        self._torn = True
        self._write(self._journal, content)
        self._torn = False

    def close_journal(self) -> None:
        """No journal is open any more; idempotent."""
        descriptor, self._journal = self._journal, None
        if descriptor is not None:
            os.close(descriptor)

    # the fold

    def begin_state(self) -> None:
        """A new state, beside the old one."""
        self.abandon_state()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        self._saving = os.open(self._temporary, flags, MODE)

    def write_state(self, content: bytes) -> None:
        """The next bytes of the new state."""
        if self._saving is None:
            raise FileNotFoundError("no state is being written")
        self._write(self._saving, content)

    def sync_state(self) -> None:
        """fsync, and close."""
        descriptor, self._saving = self._saving, None
        if descriptor is None:
            raise FileNotFoundError("no state is being written")
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def name_state(self) -> None:
        """The new state takes the old one's place, durably."""
        os.replace(self._temporary, self.state)
        self._sync_folder()

    def abandon_state(self) -> None:
        """Give up a state that could not be written whole; idempotent."""
        descriptor, self._saving = self._saving, None
        if descriptor is not None:
            os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary)

    def remove_journal(self, number: int) -> None:
        """A journal that the state has taken in."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.journal(number))

    def _write(self, descriptor: int, content: bytes) -> None:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
