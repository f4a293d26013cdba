"""What anybody can bring about, said so seldom that it does not fill the log. Pure."""

from __future__ import annotations

from collections import deque

MINUTE_S = 60.0


class Seldom:
    """``most`` times in any ``period_s``; what is not said counts for nothing."""

    def __init__(self, most: int = 1, period_s: float = MINUTE_S) -> None:
        self._period_s = period_s
        self._said_s: deque[float] = deque(maxlen=most)

    def __repr__(self) -> str:
        return f"<Seldom {len(self._said_s)} of {self._said_s.maxlen}>"

    def may(self, now_s: float) -> bool:
        """Whether to say it now, by a clock that never goes back; if so, it counts as said."""
        said_s = self._said_s
        if len(said_s) == said_s.maxlen and now_s - said_s[0] < self._period_s:
            return False
        said_s.append(now_s)
        return True
