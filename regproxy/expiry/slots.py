"""Slots: entries that are due in the same second, or minute, share one delayed call.

A use does not move an entry: whoever empties a slot files again what was used since.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from regproxy.expiry.entries import Entry
from regproxy.expiry.slices import Slices

FINE_S, COARSE_S = 1, 60
FINE_TTL_S = 3600.0


def slot_of(due_s: float, ttl_s: float) -> int:
    """The second at which an entry due at ``due_s`` is looked at, never before it."""
    width = FINE_S if ttl_s < FINE_TTL_S else COARSE_S
    return ceil(due_s / width) * width


class Slots:
    """Keys by the second in which they are looked at; ``fire`` gets the keys of a slot that is due."""

    def __init__(
        self, clock: IReactorTime, now: Callable[[], float], fire: Callable[[int, list[str]], None]
    ) -> None:
        self._clock = clock
        self._now = now
        self._fire = fire
        self._keys: dict[int, list[str]] = {}
        self._calls: dict[int, IDelayedCall] = {}
        self._stopped = False

    def __len__(self) -> int:
        return len(self._calls)

    def file(self, key: str, entry: Entry, slot: int) -> None:
        """Look at ``key`` at ``slot``; a slot that it was filed in before is left as it is."""
        entry.slot = slot
        if slot not in self._calls:
            self._keys[slot] = []
            self._calls[slot] = self._clock.callLater(max(0.0, slot - self._now()), self._due, slot)
        self._keys[slot].append(key)

    async def stop(self, slices: Slices) -> None:
        """Look at nothing any more."""
        self._stopped = True
        slices.restart()
        while self._calls:
            slot, call = self._calls.popitem()
            call.cancel()
            del self._keys[slot]
            if slices.over:
                await slices.give_way()

    def _due(self, slot: int) -> None:
        del self._calls[slot]
        if self._stopped:
            return
        self._fire(slot, self._keys.pop(slot))
