"""Tells many readers that there is news, without holding the reactor for all of them at once.

Law: a reader that was added while it waits for its turn is told once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

SLICE_S = 0.005
"""How long one turn may take (invariant 8); telling a reader may make it send a piece."""


class Pokable(Protocol):
    """Who wants to know."""

    def poke(self) -> None:
        """There is news."""


class Pokes:
    """A queue of readers to tell. ``spent`` gives seconds for measuring a turn."""

    def __init__(self, clock: IReactorTime, spent: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._spent = spent
        self._waiting: dict[Pokable, None] = {}
        self._running = False

    def add(self, *readers: Pokable) -> None:
        """Tell them, at once as far as a turn allows."""
        self._waiting.update(dict.fromkeys(readers))
        if not self._running:
            self._turn()

    def _turn(self) -> None:
        self._running = True
        began = self._spent()
        while self._waiting:
            if self._spent() - began > SLICE_S:
                self._clock.callLater(0, self._turn)
                return
            reader = next(iter(self._waiting))
            del self._waiting[reader]
            try:
                reader.poke()
            except BaseException:
                self._clock.callLater(0, self._turn)  # a fault of one is not the silence of all
                raise
        self._running = False
