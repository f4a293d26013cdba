"""What small files say, read and decoded once, for as long as they are the same files.

Laws: the disk stays the database. Each look asks lstat, and what is remembered counts only while
inode, size and change time are those of the open file that was read. A file that changed a moment
ago is read again each time, since two changes within one tick of the clock look the same. Used in
the reactor's thread only; bounded.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import attrs

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

TICK_NS = 20_000_000
"""Longer than any kernel's tick for file times."""

Read: TypeAlias = Callable[[Path], tuple[T, os.stat_result | None]]
"""The value of a file, and what fstat said of it; None: the value is not to be remembered."""


@attrs.frozen(slots=True)
class _Known(Generic[T]):
    path: str
    mark: tuple[int, int, int] | None
    """None: there was no file, or none that may be remembered."""
    value: T
    weight: int


class Remembered(Generic[K, T]):
    """Values by key. ``missing`` is the value of no file; ``weigh`` gives the size of a value in the
    unit of ``limit``. ``now_ns`` is the wall clock, by which the kernel dates changes."""

    def __init__(
        self,
        path: Callable[[K], Path],
        read: Read[T],
        missing: T,
        limit: int,
        weigh: Callable[[T], int] = lambda value: 1,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._path = path
        self._read = read
        self._missing = missing
        self._limit = limit
        self._weigh = weigh
        self._now_ns = now_ns
        self._known: dict[K, _Known[T]] = {}
        self._weight = 0

    def __len__(self) -> int:
        return len(self._known)

    def __repr__(self) -> str:
        return f"<Remembered {len(self._known)} files, {self._weight} of {self._limit}>"

    def get(self, key: K) -> T:
        """The value of the file as it is now. Raises what reading it raises."""
        return self._get(key, self._keep)

    def peek(self, key: K) -> T:
        """The same, for who looks at many files: nothing is remembered that was not, or forgotten."""
        return self._get(key, lambda key, known: None)

    def _get(self, key: K, keep: Callable[[K, _Known[T]], None]) -> T:
        known = self._known.get(key)
        path = known.path if known is not None else str(self._path(key))
        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            if known is None or known.mark is not None:
                keep(key, self._absent(path))
            return self._missing
        except OSError:
            return self._read(Path(path))[0]
        if known is not None and known.mark == _mark(found):
            return known.value
        return self._look(key, path, keep)

    def _look(self, key: K, path: str, keep: Callable[[K, _Known[T]], None]) -> T:
        value, found = self._read(Path(path))
        if found is None or self._now_ns() - found.st_ctime_ns < TICK_NS:
            keep(key, self._absent(path))
        else:
            keep(key, _Known(path, _mark(found), value, self._weigh(value)))
        return value

    def _absent(self, path: str) -> _Known[T]:
        """Only the path is kept."""
        return _Known(path, None, self._missing, self._weigh(self._missing))

    def _keep(self, key: K, known: _Known[T]) -> None:
        """The newest goes to the end; those longest there leave first."""
        former = self._known.pop(key, None)
        self._weight += known.weight - (former.weight if former is not None else 0)
        self._known[key] = known
        while self._weight > self._limit and len(self._known) > 1:
            self._weight -= self._known.pop(next(iter(self._known))).weight


def _mark(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_ctime_ns, found.st_size
