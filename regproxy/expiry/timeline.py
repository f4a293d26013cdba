"""The scheduler's own time: it runs as the monotonic clock does, and follows the wall clock.

Laws: a wall clock that jumps by more than a minute, either way, moves nothing on this line: every
entry keeps the time it has left. Smaller steps are followed. What goes to disk is wall time.
"""

from __future__ import annotations

from collections.abc import Callable

JUMP_S = 60.0
LONG_DOWN_S = 30 * 86_400.0


class Timeline:
    """Seconds, equal to the wall clock's until that jumps."""

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._ahead_s = wall() - monotonic()
        self._skew_s = 0.0

    def now(self) -> float:
        """Now, on this line."""
        return self._monotonic() + self._ahead_s

    @property
    def skew_s(self) -> float:
        """By how much the wall clock is ahead of this line, by all of its jumps."""
        return self._skew_s

    def to_wall(self, time_s: float) -> float:
        """A time on this line as the wall clock would show it today."""
        return time_s + self._skew_s

    def from_wall(self, wall_s: float) -> float:
        """A wall time on this line."""
        return wall_s - self._skew_s

    def check(self) -> float:
        """Compare the clocks: follow a small step, leave a jump out; the jump in seconds, or 0."""
        step_s = self._wall() - self.to_wall(self.now())
        if abs(step_s) <= JUMP_S:
            self._ahead_s += step_s
            return 0.0
        self._skew_s += step_s
        return step_s


def shift_at_start(now_s: float, saved_s: float, seen_s: float) -> float:
    """By how much every ``used`` that was read is moved. All are wall times.

    ``saved_s`` is 0 where no header tells it; ``seen_s`` is the latest moment, 0 for none, that the
    files tell of. A clock before ``saved_s``, or more than 30 days after both, is no measure of how
    long the daemon was down: entries keep the time that they had left.
    """
    latest_s = max(saved_s, seen_s)
    if not latest_s:
        return 0.0
    if now_s < saved_s or now_s > latest_s + LONG_DOWN_S:
        return now_s - latest_s
    return 0.0
