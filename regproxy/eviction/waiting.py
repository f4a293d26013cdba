"""Transfers that wait for room: who waits longest has it first, and nobody waits longer than WAIT_S.

Law: room is given in the turn in which it was found, so that who asks next finds it taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from regproxy.eviction.limits import Reason

WAIT_S = 3.0
LOOK_S = 0.1
"""How often it is looked whether a reader has closed what takes room, while somebody waits for it."""


@attrs.define(eq=False)
class Waiter:
    """``why`` there was no room when it came."""

    size_bytes: int
    why: Reason
    given: Deferred[None]
    until_s: float


class Waiting:
    """``fits`` says whether there is room for so many bytes; ``turn_away`` ends a wait that was in vain."""

    def __init__(
        self, clock: IReactorTime, fits: Callable[[int], bool], turn_away: Callable[[Waiter], None]
    ) -> None:
        self._clock = clock
        self._fits = fits
        self._turn_away = turn_away
        self._waiters: deque[Waiter] = deque()
        self._timer: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._waiters)

    @property
    def size_bytes(self) -> int:
        """What all of them want."""
        return sum(waiter.size_bytes for waiter in self._waiters)

    def add(self, size_bytes: int, why: Reason) -> Deferred[None]:
        """One more. Cancelling takes it off."""
        given: Deferred[None] = Deferred(lambda _: self._waiters.remove(waiter))
        waiter = Waiter(size_bytes, why, given, self._clock.seconds() + WAIT_S)
        self._waiters.append(waiter)
        if self._timer is None:
            self._timer = self._clock.callLater(LOOK_S, self._look)
        return given

    def serve(self) -> None:
        """Give what room there is."""
        while self._waiters and self._fits(self._waiters[0].size_bytes):
            self._waiters.popleft().given.callback(None)

    def end(self) -> None:
        """Nobody waits any longer."""
        while self._waiters:
            self._turn_away(self._waiters.popleft())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        self.serve()
        now_s = self._clock.seconds()
        while self._waiters and self._waiters[0].until_s <= now_s:
            self._turn_away(self._waiters.popleft())
        if self._waiters and self._timer is None:
            self._timer = self._clock.callLater(LOOK_S, self._look)
