"""How fast a survey walks: so many files a second, in small steps, so that clients have the disk too."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

LEAST_REST_S = 0.02
"""Shorter rests are put together."""


def rest_s(files: int, gone_by_s: float, files_s: float) -> float:
    """How long to rest when ``files`` were looked at in that time. Pure."""
    return max(0.0, files / files_s - gone_by_s)


class Footfall:
    """One survey's pace; ``files_s`` None: as fast as it goes."""

    def __init__(self, clock: IReactorTime, files_s: float | None) -> None:
        self._clock = clock
        self._files_s = files_s
        self._began_s = clock.seconds()
        self._files = 0
        self._timer: IDelayedCall | None = None
        self._resting: Deferred[None] | None = None

    async def went(self, files: int) -> None:
        """So many more were looked at: rest as long as that is too fast."""
        self._files += files
        if self._files_s is None:
            return
        pause_s = rest_s(self._files, self._clock.seconds() - self._began_s, self._files_s)
        if pause_s >= LEAST_REST_S:
            resting = self._resting = Deferred()
            self._timer = self._clock.callLater(pause_s, self.hurry)
            await resting
        elif not pause_s:  # the time that was lost to others is not made good in a rush
            self._began_s, self._files = self._clock.seconds(), 0

    def hurry(self) -> None:
        """Rest no longer."""
        resting, self._resting = self._resting, None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if resting is not None:
            resting.callback(None)
