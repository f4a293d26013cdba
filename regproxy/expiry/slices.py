"""Long work in the reactor, a few milliseconds at a time."""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

SLICE_S = 0.005


class Slices:
    """Lets a coroutine go on for at most ``slice_s`` before others get their turn.

    Time that it waits for something else counts too: then it gives way once more than it needs to.
    """

    def __init__(
        self,
        clock: IReactorTime,
        slice_s: float = SLICE_S,
        measure: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock = clock
        self._slice_s = slice_s
        self._measure = measure
        self.restart()

    def restart(self) -> None:
        """A new slice begins here."""
        self._began = self._measure()

    @property
    def over(self) -> bool:
        """Whether the slice's time is used up."""
        return self._measure() - self._began >= self._slice_s

    async def give_way(self) -> None:
        """Let everything else run, then begin a new slice.

        Twice: after what a thread handed over, a call without delay still runs in the same turn.
        """
        await self._turn()
        await self._turn()
        self.restart()

    def _turn(self) -> Deferred[None]:
        turn: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self._clock.callLater(0, turn.callback, None)
        return turn
