"""A piece of a blob on its way over one connection, from a body to the spool."""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime

from regproxy.errors import UpstreamTrouble
from regproxy.extents import Extent
from regproxy.fill.retries import piece_again_after_s
from regproxy.fill.transfer import next_batch
from regproxy.interfaces import IBody, ISpool


@attrs.define(eq=False)
class Errand:
    """The bytes from ``offset`` up to ``stop`` are still to come; it began at ``start``."""

    start: int
    offset: int
    stop: int

    @classmethod
    def of(cls, piece: Extent) -> Errand:
        """Nothing of it has come."""
        start, stop = piece
        return cls(start, start, stop)

    @property
    def left(self) -> int:
        """How many are to come."""
        return self.stop - self.offset

    async def carry(
        self, body: IBody, spool: ISpool, clock: IReactorTime, placed: Callable[[int, int, int], None]
    ) -> None:
        """Bring them, until ``body`` ends; ``placed`` is told of each batch from where to where it goes, and
        the new front. Raises what body or spool raise; the caller closes both."""
        while batch := await next_batch(body, clock, self.left):
            front = await spool.place(self.offset, batch)
            stop = self.offset + sum(map(len, batch))
            placed(self.offset, stop, front)
            self.offset = stop

    def again_after_s(self, error: UpstreamTrouble, failures: int) -> float:
        """How long to wait before the rest is asked for, after so many failures in a row; raises ``error``
        where this was one connection too many."""
        wait_s = piece_again_after_s(error, self.offset > self.start, failures, random.random())
        if wait_s is None:
            raise error
        return wait_s
