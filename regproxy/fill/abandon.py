"""When nobody reads a fill any more: it goes on to its end, or pauses for the next who asks.

Laws: a client that comes back soon finds its fill running. What was begun ahead and nobody asked for yet is
wanted as long as clients read other blobs of its repository: those who do are about to ask for it.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

GRACE_S = 5.0
"""Clients try again after a second or two."""
AHEAD_GRACE_S = 30.0
"""Between two layers a client may read others from the disk, or unpack what it has."""
LOOK_S = 5.0
"""How often it is looked whether what was begun ahead is still wanted."""


@attrs.frozen(slots=True)
class Attendance:
    """Who needs a fill. ``alone_s``: for how long nobody has wanted it."""

    followed: bool
    asked_for: bool
    """Whether a client has ever asked for it."""
    attended: bool
    """Whether clients follow other blobs of its repository."""
    alone_s: float = 0.0

    @property
    def wanted(self) -> bool:
        """Whether somebody reads it, or is about to ask for it."""
        return self.followed or (self.attended and not self.asked_for)


def pause_in_s(seen: Attendance) -> float | None:
    """How long until it is paused, or looked at again, if nothing changes; None: not before it does."""
    if seen.followed:
        return None
    if seen.wanted:
        return LOOK_S
    return max(0.0, (GRACE_S if seen.asked_for else AHEAD_GRACE_S) - seen.alone_s)


class Attention:
    """Looks after one fill: ``look`` tells who needs it now, ``pause`` is called once nobody does."""

    def __init__(
        self, clock: IReactorTime, look: Callable[[], Attendance], pause: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._look = look
        self._pause = pause
        self._alone_since_s = clock.seconds()
        self._timer: IDelayedCall | None = None

    def changed(self) -> None:
        """It has begun, or somebody has left it."""
        self.stop()
        self._alone_since_s = self._clock.seconds()
        self._wait(pause_in_s(self._look()))

    def stop(self) -> None:
        """It needs no looking after any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, wait_s: float | None) -> None:
        if wait_s is not None:
            self._timer = self._clock.callLater(wait_s, self._again)

    def _again(self) -> None:
        self._timer = None
        seen, now_s = self._look(), self._clock.seconds()
        if seen.wanted:
            self._alone_since_s = now_s
        wait_s = pause_in_s(attrs.evolve(seen, alone_s=now_s - self._alone_since_s))
        if wait_s == 0.0:
            self._pause()
        else:
            self._wait(wait_s)
