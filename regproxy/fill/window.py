"""The last bytes of a transfer that is kept nowhere, in memory, and the hash states between them.

Law: what it holds is at most WINDOW_BYTES and one piece, whatever passes through.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import attrs

from regproxy.oci.digest import Digest

if TYPE_CHECKING:
    from hashlib import _Hash

WINDOW_BYTES = 4 * 1024 * 1024
SMALL_BYTES = 32 * 1024
"""Pieces are joined up to here, so that a slow line does not make thousands of them."""


@attrs.frozen(slots=True)
class Point:
    """A place in a blob from where reading may go on: ``hasher`` has taken in all bytes before
    ``offset``, and is never updated; None: they are not known, so the end cannot be checked."""

    offset: int
    hasher: _Hash | None

    @classmethod
    def beginning(cls, digest: Digest) -> Point:
        """Of the blob that is to become ``digest``."""
        return cls(0, digest.hasher())

    def after(self, content: bytes) -> Point:
        """The place behind ``content``."""
        if self.hasher is None:
            return Point(self.offset + len(content), None)
        hasher = self.hasher.copy()
        hasher.update(content)
        return Point(self.offset + len(content), hasher)


@attrs.frozen(slots=True)
class Piece:
    """Bytes, and where they begin."""

    point: Point
    content: bytes

    @property
    def stop(self) -> int:
        """The offset behind them."""
        return self.point.offset + len(self.content)

    def upto(self, offset: int) -> Point:
        """The place at ``offset``, which is within it or its end."""
        return self.point.after(self.content[: offset - self.point.offset])


class Window:
    """Pieces without a gap, from ``start`` up to ``end``."""

    def __init__(self, point: Point) -> None:
        self.end = point
        self._pieces: list[Piece] = []

    def __repr__(self) -> str:
        return f"<Window {self.start}-{self.front}>"

    @property
    def front(self) -> int:
        """The offset behind the last byte."""
        return self.end.offset

    @property
    def start(self) -> int:
        """The offset of the first byte that is here."""
        return self._pieces[0].point.offset if self._pieces else self.front

    def start_after(self, more_bytes: int) -> int:
        """What ``start`` will be once ``more_bytes`` are added."""
        spare = self.front - self.start + more_bytes - WINDOW_BYTES
        for piece in self._pieces:
            if spare < len(piece.content):
                return piece.point.offset
            spare -= len(piece.content)
        return self.front

    def add(self, content: bytes) -> None:
        """Bytes behind the last; the first go while there are more than WINDOW_BYTES without them."""
        start = self.start_after(len(content))
        point, self.end = self.end, self.end.after(content)
        if self._pieces and len(self._pieces[-1].content) + len(content) <= SMALL_BYTES:
            last = self._pieces.pop()
            point, content = last.point, last.content + content
        self._pieces.append(Piece(point, content))
        while self.start < start:
            del self._pieces[0]

    def forget(self, offset: int) -> None:
        """Nobody needs bytes before ``offset``: whole pieces of them go."""
        while self._pieces and self._pieces[0].stop <= offset:
            del self._pieces[0]

    def agrees(self, place: Point) -> bool:
        """Whether the bytes before ``place`` were the same here; False where it is not here."""
        if not self.start <= place.offset <= self.front:
            return False
        here = self.end if place.offset == self.front else self.at(place.offset).upto(place.offset)
        both = here.hasher, place.hasher
        return None not in both and len({hasher.digest() for hasher in both if hasher is not None}) == 1

    def at(self, offset: int) -> Piece:
        """The piece with the byte at ``offset``, which must be here."""
        return self._pieces[bisect_right(self._pieces, offset, key=lambda piece: piece.point.offset) - 1]
