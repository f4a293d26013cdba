"""A small file that is read again when it changes; what it said before holds while it cannot be used."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from twisted.logger import Logger

from regproxy.errors import RegproxyError

T = TypeVar("T")
Marks: TypeAlias = tuple[int, int, int] | None

MAX_FILE_BYTES = 1024 * 1024
LOOK_S = 1.0
"""How often at most it is looked at: so long at most does an old version hold."""


class Unusable(RegproxyError):
    """A file of the settings that cannot be used; the message says why, in one line."""


def marks_of(path: Path) -> Marks:
    """What tells one version of a file from another; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def read_small(path: Path) -> bytes:
    """All of a regular file of at most MAX_FILE_BYTES; :exc:`Unusable`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Unusable("it is not a regular file")
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise Unusable(error.strerror or "system error") from None
    if len(content) > MAX_FILE_BYTES:
        raise Unusable(f"it has more than {MAX_FILE_BYTES} bytes")
    return content


class Reread(Generic[T]):
    """What ``parse`` makes of the file ``path``, made anew when the file changes.

    Made by :meth:`open`. ``now`` gives monotonic seconds. ``parse`` raises :exc:`Unusable`.
    """

    log = Logger()

    def __init__(
        self, path: Path, parse: Callable[[bytes], T], now: Callable[[], float], marks: Marks, first: T
    ) -> None:
        self._path = path
        self._parse = parse
        self._now = now
        self._marks = marks
        self._content = first
        self._look_again_s = now() + LOOK_S

    @classmethod
    def open(cls, path: Path, parse: Callable[[bytes], T], now: Callable[[], float]) -> Reread[T]:
        """Read it for the first time; :exc:`Unusable`, which names the file."""
        marks = marks_of(path)
        try:
            return cls(path, parse, now, marks, parse(read_small(path)))
        except Unusable as error:
            raise Unusable(f"{path}: {error}") from None

    def current(self) -> T:
        """The newest version that can be used; costs a ``stat`` once in LOOK_S."""
        if self._now() >= self._look_again_s:
            self._look_again_s = self._now() + LOOK_S
            marks = marks_of(self._path)
            if marks != self._marks:
                self._marks = marks
                self._read()
        return self._content

    def _read(self) -> None:
        """One line for each version, whichever way it goes."""
        try:
            self._content = self._parse(read_small(self._path))
        except Unusable as error:
            self.log.error(
                "{path} cannot be used, what it said before holds: {error}",
                path=str(self._path),
                error=str(error),
            )
        else:
            self.log.info("{path} was changed and is read again", path=str(self._path))
