"""The first connection of a transfer: it asked for the whole, and brings it up to its border.

Its border may move while it runs: others bring what is behind.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from regproxy.extents import Extents
from regproxy.fill.shares import Shares
from regproxy.fill.tail import Tail
from regproxy.fill.transfer import pump
from regproxy.interfaces import ISpool


class First:
    """Moves ``tail`` into ``spool``; ``there`` is what may be read of that, behind the front too."""

    def __init__(
        self, tail: Tail, spool: ISpool, shares: Shares, there: Extents, clock: IReactorTime
    ) -> None:
        self.runs = True
        self._tail = tail
        self._spool = spool
        self._shares = shares
        self._there = there
        self._clock = clock
        self._written = tail.start

    def __repr__(self) -> str:
        return f"<First {self._tail} runs={self.runs}>"

    async def bring(self, landed: Callable[[int], None]) -> None:
        """Up to the border, which may move while the last bytes before it go to the disk."""
        more = True
        while more:
            before = self._tail.offset
            await pump(self._tail, self._write, self._clock, landed, self.room)
            more = before < self._tail.offset < (self._shares.border or 0)

    def _write(self, batch: list[bytes]) -> Deferred[int]:
        if not self._tail.start:
            return self._spool.append(batch)
        start = self._written
        self._written += sum(map(len, batch))
        return self._spool.place(start, batch).addCallback(self._came, start, self._written)

    def _came(self, front: int, start: int, stop: int) -> int:
        self._there.add(start, stop)
        return front

    @property
    def reached(self) -> int:
        """Up to where its bytes are on disk."""
        front = self._spool.front
        return max(front, self._there.reach(self._tail.start)) if self._tail.start else front

    def room(self) -> int | None:
        """How many bytes more it is to bring; None: all that come."""
        border = self._shares.border
        return None if border is None else border - self._tail.offset
