"""When the state is written: within seconds of a change, and soon after a clock was set."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from regproxy.expiry.entries import upstream_of
from regproxy.expiry.saving import Saver
from regproxy.expiry.timeline import Timeline
from regproxy.expiry.works import Works

_log = Logger()

SAVING = "saving"
FLUSH_S = 5.0
"""So much of "last used" a kill may lose at most, and never more than a quarter of a life."""
LOOK_S = 60.0
"""A clock that was set while nobody used anything is noticed that soon."""


class Flushing:
    """Has ``saver`` write what changed, from :meth:`begin`, when the state was read, to :meth:`stop`."""

    def __init__(
        self,
        saver: Saver,
        timeline: Timeline,
        works: Works,
        clock: IReactorTime,
        ttl_s: Callable[[str], float | None],
    ) -> None:
        self._saver = saver
        self._timeline = timeline
        self._works = works
        self._clock = clock
        self._ttl_s = ttl_s
        self._open = self._stopped = False
        self._flush: IDelayedCall | None = None
        self._look_again: IDelayedCall | None = None

    def begin(self) -> None:
        """The state was read: from now on it is written, and the clocks are looked at. Not after a stop."""
        if not self._stopped:
            self._open = True
            self._look()

    def stop(self) -> None:
        """Nothing is written by itself any more."""
        self.check_clocks()
        self._open, self._stopped = False, True
        for call in (self._flush, self._look_again):
            if call is not None and call.active():
                call.cancel()

    def note(self, key: str) -> None:
        """The entry under ``key`` is new, changed or gone."""
        self._saver.note(key)
        ttl_s = self._ttl_s(upstream_of(key))
        self.later(FLUSH_S if ttl_s is None else min(FLUSH_S, ttl_s / 4))

    def later(self, pause_s: float = FLUSH_S) -> None:
        """Write within ``pause_s``."""
        if not self._open:
            return
        if self._flush is None or not self._flush.active():
            self._flush = self._clock.callLater(pause_s, self.now)
        elif self._flush.getTime() > self._clock.seconds() + pause_s:
            self._flush.reset(pause_s)

    def now(self) -> None:
        """Write, unless that is under way."""
        self._works.begin(SAVING, self._save)

    async def _save(self) -> None:
        self.check_clocks()
        await self._saver.save()
        if self._saver.pending:
            self.later()

    def check_clocks(self) -> None:
        """Whether a clock was set since the last look: then what is written is of another time."""
        jump_s = self._timeline.check()
        if jump_s:
            _log.warn("The clock jumped by {jump} s: nothing expires by that", jump=int(jump_s))
            self._saver.want_fold()
            self.later()

    def _look(self) -> None:
        self.check_clocks()
        self._look_again = self._clock.callLater(LOOK_S, self._look)
