"""When connections must have done something, with one delayed call for all of them.

Laws: whoever is watched has one time at most, and is looked at within TICK_S after it. A time that
is put off costs nothing: the connection stays where it was filed and is filed anew when that comes
up. Who leaves is forgotten at once. No turn ends more than TURN connections, nor files more than LOOKS
anew, since thousands may have come together.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from math import ceil

from twisted.internet.interfaces import IDelayedCall, IReactorTime

TICK_S = 0.125
ROUNDING_S = 1e-6
TURN = 100
"""So many connections are ended in one turn of the reactor, in some 10 ms."""
LOOKS = 10 * TURN
"""So many are looked at, in some 3 ms, where none is late."""


class Watched:
    """What :class:`Watch` keeps of a connection."""

    __slots__ = ("due_s", "slot", "then")

    def __init__(self) -> None:
        self.due_s: float | None = None
        self.then: Callable[[], object] | None = None
        self.slot: int | None = None


class Watch:
    """The times of all connections of a listener."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._slots: dict[int, set[Watched]] = {}
        self._order: list[int] = []
        self._filed = 0
        self._call: IDelayedCall | None = None
        self._call_slot = 0

    def __repr__(self) -> str:
        return f"<Watch {self._filed} filed in {len(self._slots)} slots>"

    def expect(self, one: Watched, within_s: float, then: Callable[[], object]) -> None:
        """Call ``then`` in ``within_s`` seconds, instead of what was expected before."""
        one.due_s = due_s = self._clock.seconds() + within_s
        one.then = then
        if one.slot is None or due_s < one.slot * TICK_S:
            self._file(one, ceil(due_s / TICK_S))

    def relax(self, one: Watched) -> None:
        """Expect nothing for now."""
        one.due_s = one.then = None

    def forget(self, one: Watched) -> None:
        """It has left."""
        self.relax(one)
        self._unfile(one)
        if not self._filed:
            self._sleep()
            self._slots.clear()
            self._order.clear()

    def _file(self, one: Watched, slot: int) -> None:
        if one.slot == slot:
            return
        self._unfile(one)
        one.slot = slot
        self._filed += 1
        if slot in self._slots:
            self._slots[slot].add(one)
            return
        self._slots[slot] = {one}
        heapq.heappush(self._order, slot)
        if self._call is None or slot < self._call_slot:
            self._wake_at(slot)

    def _unfile(self, one: Watched) -> None:
        if one.slot is not None:
            self._slots[one.slot].discard(one)
            self._filed -= 1
            one.slot = None

    def _wake_at(self, slot: int) -> None:
        self._sleep()
        self._call_slot = slot
        self._call = self._clock.callLater(max(0.0, slot * TICK_S - self._clock.seconds()), self._look)

    def _sleep(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _look(self) -> None:
        """End who is late, file the others anew; the rest of a crowd has its turn next."""
        self._call = None
        try:
            self._settle_slots(self._clock.seconds() + ROUNDING_S)
        finally:
            if self._order:
                self._wake_at(self._order[0])

    def _settle_slots(self, now_s: float) -> None:
        left = LOOKS
        while left > 0 and self._order and self._order[0] * TICK_S <= now_s:
            filed = self._slots[self._order[0]]
            if filed:
                one = filed.pop()  # next(iter(filed)) would pass over all that were there, each time
                one.slot = None
                self._filed -= 1
                left -= self._settle(one, now_s)
            else:
                del self._slots[heapq.heappop(self._order)]

    def _settle(self, one: Watched, now_s: float) -> int:
        """What it counts: ending one is as much work as filing ten anew."""
        due_s, then = one.due_s, one.then
        if due_s is None or then is None:
            return 1
        if due_s > now_s:
            self._file(one, ceil(due_s / TICK_S))
            return 1
        self.relax(one)
        then()
        return LOOKS // TURN
