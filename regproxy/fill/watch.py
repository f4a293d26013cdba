"""Looks at the connections of one transfer, and ends those that are too slow to be waited for.

Laws: what has come over a connection that is ended here is handed out first, so no byte is asked for
twice. An upstream, or one of its endpoints, that is left is remembered as slow for a while. One delayed
call at most, none while no connection is looked at.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from regproxy.errors import UpstreamSlow
from regproxy.fill.slowness import (
    LAGS_FOR_S,
    LOOK_S,
    SLOW_BYTES_S,
    SLOW_FOR_S,
    Meter,
    lags,
    too_slow,
)
from regproxy.interfaces import IBody, IRemoteBody


@attrs.define(eq=False)
class _Line:
    body: IRemoteBody
    left: Callable[[], int]
    meter: Meter


class Watch:
    """``leave`` goes over to another source for all that is asked from then on, and tells whether there is
    one; ``has_other`` only tells."""

    def __init__(
        self, clock: IReactorTime, upstream: str, has_other: Callable[[], bool], leave: Callable[[], bool]
    ) -> None:
        self._clock = clock
        self._upstream = upstream
        self._has_other = has_other
        self._leave = leave
        self._lines: list[_Line] = []
        self._ended_came = 0
        self._meter = Meter(0.0, 0)
        self._looking: IDelayedCall | None = None

    def __repr__(self) -> str:
        return f"<Watch over {len(self._lines)}: {self._meter}>"

    def begin(self, body: IBody, left: Callable[[], int]) -> Callable[[], None]:
        """Look at ``body``, of which ``left`` bytes are still wanted, until what is returned is called."""
        if not IRemoteBody.providedBy(body):
            return lambda: None
        if not self._lines:
            self._meter = Meter(self._clock.seconds(), self._came())
            self._looking = self._clock.callLater(LOOK_S, self._look)
        line = _Line(body, left, Meter(self._clock.seconds(), body.came))
        self._lines.append(line)
        return lambda: self._end(line)

    def _end(self, line: _Line) -> None:
        if line in self._lines:
            self._lines.remove(line)
            self._ended_came += line.body.came
        if not self._lines and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _came(self) -> int:
        return self._ended_came + sum(line.body.came for line in self._lines)

    def _look(self) -> None:
        self._looking = self._clock.callLater(LOOK_S, self._look)
        now_s, any_held = self._clock.seconds(), False
        for line in self._lines:
            held = line.body.held()
            any_held |= held
            line.meter.look(now_s, line.body.came, held)
        self._meter.look(now_s, self._came(), any_held)
        if not self._leave_the_slow():
            self._leave_laggards()

    def _leave_the_slow(self) -> bool:
        """All of them, where together they are too slow."""
        lines = list(self._lines)
        moving = [line for line in lines if line.body.elsewhere()]
        bytes_s = self._meter.bytes_s(SLOW_FOR_S)
        if not too_slow(bytes_s, bool(moving) or self._has_other()):
            return False
        if not moving and self._leave():
            moving = lines
        reason = f"it sent less than {SLOW_BYTES_S >> 10} KiB a second for {SLOW_FOR_S:g} s"
        for line in moving:
            line.body.give_up(UpstreamSlow(self._upstream, reason), slow=True)
        return True

    def _leave_laggards(self) -> None:
        """Each that is far slower than the others; they bring its rest, or it goes on over a new one."""
        speeds = [(line, line.meter.bytes_s(LAGS_FOR_S)) for line in self._lines]
        for line, bytes_s in speeds:
            others = [speed for other, speed in speeds if other is not line and speed is not None]
            if lags(bytes_s, others, line.left()):
                reason = "one connection is far slower than the others"
                line.body.give_up(UpstreamSlow(self._upstream, reason), slow=False)
