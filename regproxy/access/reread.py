"""A small file that is read again when it changes; what it said before holds while it cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from twisted.logger import Logger

from regproxy.smallfile import Marks, Unusable, marks_of, read_small

T = TypeVar("T")

LOOK_S = 1.0
"""How often at most it is looked at: so long at most does an old version hold."""


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
