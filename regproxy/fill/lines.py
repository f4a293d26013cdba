"""The connections of fills to each upstream, and what is known of how many are worth having.

Laws: a first connection is never refused, it only counts; limits are for those beside it, and so is the
quiet that an upstream asks for (429). What was learned is forgotten after a while: lines and upstreams
change.
"""

from __future__ import annotations

import attrs
from twisted.internet.interfaces import IReactorTime

from regproxy.settings import FillSettings

REMEMBER_S = 600.0
REFUSED_S = 3600.0
QUIET_S = 30.0
SLOW_S = 300.0


@attrs.define
class _Line:
    open: int = 0
    worth: int = 1
    bytes_s: float = 0.0
    learned_s: float = float("-inf")
    refused_s: float = float("-inf")
    quiet_until_s: float = float("-inf")
    slow_s: float = float("-inf")


class Lines:
    """By upstream: how many connections are open, how many for one blob were worth it."""

    def __init__(self, clock: IReactorTime, limits: FillSettings) -> None:
        self._clock = clock
        self._limits = limits
        self._lines: dict[str, _Line] = {}

    def __repr__(self) -> str:
        return f"<Lines {self._lines}>"

    def _of(self, upstream: str) -> _Line:
        return self._lines.setdefault(upstream, _Line())

    @property
    def ranges_above_bytes(self) -> int:
        """Up to which size a blob comes over one connection."""
        return self._limits.ranges_above_bytes

    def most(self, upstream: str) -> int:
        """How many connections one blob may have; 1 where the upstream serves no ranges."""
        return 1 if self.refused(upstream) else self._limits.connections_per_blob

    def refused(self, server: str) -> bool:
        """Whether it, an upstream or one of its several endpoints, is believed to serve no ranges."""
        return self._clock.seconds() - self._of(server).refused_s < REFUSED_S

    def worth(self, upstream: str) -> tuple[int, float] | None:
        """How many were worth it for a blob not long ago, and their bytes a second; None: not known."""
        line = self._of(upstream)
        if self._clock.seconds() - line.learned_s >= REMEMBER_S:
            return None
        return min(line.worth, self.most(upstream)), line.bytes_s

    def learn(self, upstream: str, connections: int, bytes_s: float) -> None:
        """So many brought so much, and one more nothing more."""
        line = self._of(upstream)
        line.worth, line.bytes_s, line.learned_s = connections, bytes_s, self._clock.seconds()

    def refuse(self, server: str) -> None:
        """It, an upstream or one of its several endpoints, was asked for a range, and sent something else."""
        self._of(server).refused_s = self._clock.seconds()

    def first(self, upstream: str) -> None:
        """The connection that a client waits for; give it back by :meth:`close`."""
        self._of(upstream).open += 1

    def another(self, upstream: str) -> bool:
        """One more beside a first one, if the upstream's limit allows; give it back by :meth:`close`."""
        line = self._of(upstream)
        if not self.within(upstream, 1) or self._is_left_alone(upstream):
            return False
        line.open += 1
        return True

    def within(self, upstream: str, more: int = 0) -> bool:
        """Whether the upstream's limit would allow ``more`` than there are."""
        return self._of(upstream).open + more <= self._limits.connections_per_upstream

    def quiet(self, upstream: str, ahead: int) -> bool:
        """Whether a connection that nobody waits for is within the limit, of which these get half at most;
        ``ahead`` of them are under way, open yet or not."""
        share = max(1, self._limits.connections_per_upstream // 2)
        within = self.within(upstream, 1) and ahead < share
        return within and not self._is_left_alone(upstream)

    def leave_alone(self, upstream: str, retry_after_s: int | None) -> None:
        """It allows no more requests for now: none is made that no client needs."""
        self._of(upstream).quiet_until_s = self._clock.seconds() + (retry_after_s or QUIET_S)

    def _is_left_alone(self, upstream: str) -> bool:
        return self._clock.seconds() < self._of(upstream).quiet_until_s

    def slow(self, upstream: str) -> None:
        """A blob was too slow to be waited for."""
        self._of(upstream).slow_s = self._clock.seconds()

    def is_slow(self, upstream: str) -> bool:
        """Whether it was found slow not long ago: others are asked first."""
        return self._clock.seconds() - self._of(upstream).slow_s < SLOW_S

    def close(self, upstream: str) -> None:
        """A connection is not used any more."""
        self._of(upstream).open -= 1
