"""Which bytes of a blob there are: intervals of offsets, as few as possible. Pure.

Law: intervals are half open, not empty, do not touch, and are in order.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import TypeAlias

Extent: TypeAlias = tuple[int, int]
"""``start`` and ``stop``: the bytes from the one up to, not including, the other."""


class Extents:
    """A set of offsets that is kept as intervals."""

    def __init__(self, extents: Iterable[Extent] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in extents:
            self.add(start, stop)

    def __iter__(self) -> Iterator[Extent]:
        return iter(list(zip(self._starts, self._stops, strict=True)))

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __repr__(self) -> str:
        return f"<Extents {list(self)}>"

    @property
    def total(self) -> int:
        """How many offsets are in it."""
        return sum(self._stops) - sum(self._starts)

    @property
    def first(self) -> Extent | None:
        """The interval with the lowest offsets."""
        return (self._starts[0], self._stops[0]) if self._starts else None

    def add(self, start: int, stop: int) -> None:
        """Take in the offsets from ``start`` up to ``stop``."""
        if start >= stop:
            return
        left = bisect_left(self._stops, start)
        right = bisect_right(self._starts, stop)
        if left < right:
            start, stop = min(start, self._starts[left]), max(stop, self._stops[right - 1])
        self._starts[left:right], self._stops[left:right] = [start], [stop]

    def remove(self, start: int, stop: int) -> None:
        """Take out the offsets from ``start`` up to ``stop``."""
        if start >= stop:
            return
        left = bisect_right(self._stops, start)
        right = bisect_left(self._starts, stop)
        if left >= right:
            return
        around = [(self._starts[left], start), (stop, self._stops[right - 1])]
        kept = [extent for extent in around if extent[0] < extent[1]]
        self._starts[left:right] = [extent[0] for extent in kept]
        self._stops[left:right] = [extent[1] for extent in kept]

    def reach(self, offset: int) -> int:
        """How far one comes from ``offset`` without a gap; ``offset`` itself when it is not in it."""
        place = bisect_right(self._starts, offset) - 1
        return max(offset, self._stops[place]) if place >= 0 else offset
