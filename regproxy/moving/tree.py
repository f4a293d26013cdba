"""A folder that others filled: read below its own name only, no symbolic link followed, nothing changed.

Law: what the operator names may be a link; below it a link is no file and no folder.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import attrs

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@attrs.define
class Opened:
    """Some bytes of an open file: ``size_bytes`` from ``offset`` on. Whoever opened it closes it."""

    descriptor: int
    offset: int
    size_bytes: int
    mtime_s: float
    whole: bool = True
    """Whether they are all of the file, so that it may be cloned."""

    def read(self, start: int, max_bytes: int) -> bytes:
        """Bytes from ``start`` on, counted from their own beginning; none at the end. OSError."""
        wanted = min(max_bytes, self.size_bytes - start)
        return os.pread(self.descriptor, wanted, self.offset + start) if wanted > 0 else b""

    def close(self) -> None:
        """Let go of the file; idempotent."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class Place(Protocol):
    """Files by name, in a folder or in a tar."""

    def open(self, *parts: str) -> Opened | None:
        """The regular file of that name; None where there is none. OSError where it cannot be had."""

    def close(self) -> None:
        """Let go of it."""


def read_small(place: Place, max_bytes: int, *parts: str) -> bytes | None:
    """All of a small file; None where there is none, or it is larger. OSError."""
    opened = place.open(*parts)
    if opened is None:
        return None
    try:
        content = opened.read(0, max_bytes + 1)
        return content if opened.size_bytes <= max_bytes else None
    finally:
        opened.close()


class Tree:
    """The folder at ``root``. OSError where there is none."""

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of it; idempotent."""
        root, self._root = self._root, -1
        if root >= 0:
            os.close(root)

    def open(self, *parts: str) -> Opened | None:
        """As :meth:`Place.open`."""
        folder = self._folder(parts[:-1])
        if folder is None:
            return None
        try:
            return _regular(parts[-1], folder)
        finally:
            os.close(folder)

    def folders(self, *parts: str) -> list[str]:
        """The names of the folders in a folder, sorted; none where it is none. OSError."""
        return self._names(parts, lambda entry: entry.is_dir(follow_symlinks=False))

    def has(self, *parts: str) -> bool:
        """Whether there is such a folder. OSError."""
        found = self._folder(parts)
        if found is None:
            return False
        os.close(found)
        return True

    def _names(self, parts: Sequence[str], wanted: Callable[[os.DirEntry[str]], bool]) -> list[str]:
        folder = self._folder(parts)
        if folder is None:
            return []
        try:
            with os.scandir(folder) as entries:
                return sorted(entry.name for entry in entries if wanted(entry))
        finally:
            os.close(folder)

    def _folder(self, parts: Sequence[str]) -> int | None:
        """A descriptor of it, gone to step by step, since only the last step would refuse a link."""
        current = os.dup(self._root)
        for part in parts:
            try:
                below = os.open(part, _FOLDER, dir_fd=current)
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                if _is_link(error):
                    return None
                raise
            finally:
                os.close(current)
            current = below
        return current


def open_file(path: Path) -> Opened | None:
    """The regular file that the operator named, by a link or not; None where there is none. OSError."""
    try:
        return _judged(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _regular(name: str, folder: int) -> Opened | None:
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if _is_link(error):
            return None
        raise
    return _judged(descriptor)


def _judged(descriptor: int) -> Opened | None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        return None
    return Opened(descriptor, 0, found.st_size, found.st_mtime)


def _is_link(error: OSError) -> bool:
    """A link, a socket, or a name that no file can have."""
    return error.errno in (errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG, errno.ENOTDIR)
