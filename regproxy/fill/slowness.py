"""When a connection, or a whole transfer, is too slow to be waited for: pure.

Laws: what we hold back ourselves is not slow. Nothing is left for its slowness unless there is somewhere
else to go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from statistics import median

SLOW_BYTES_S = 64 * 1024
SLOW_FOR_S = 10.0

LAGS_BY = 8
"""One of several connections lags that brings less than this part of what the others bring each."""
LAGS_FOR_S = 5.0
LAGS_LEFT_S = 2.0
"""What comes within that time is waited for."""

LOOK_S = 1.0


class Meter:
    """What has come over a line lately, while nothing of ours held it back."""

    def __init__(self, now_s: float, came: int) -> None:
        self._marks = deque([(now_s, came)])

    def __repr__(self) -> str:
        return f"<Meter {self.bytes_s(0.0)} bytes/s>"

    def look(self, now_s: float, came: int, held: bool) -> None:
        """So many bytes have come until now; ``held``: since the last look it was held back."""
        marks = self._marks
        if held:
            marks.clear()
        marks.append((now_s, came))
        while len(marks) > 1 and now_s - marks[1][0] >= SLOW_FOR_S:
            marks.popleft()

    def bytes_s(self, for_s: float) -> float | None:
        """What came a second, over the last ``for_s``, SLOW_FOR_S at most, or a little more; None: it was
        not looked at for so long."""
        now_s, came = self._marks[-1]
        for at_s, before in reversed(self._marks):
            if now_s - at_s >= for_s and now_s > at_s:
                return (came - before) / (now_s - at_s)
        return None


def too_slow(bytes_s: float | None, elsewhere: bool) -> bool:
    """Whether a transfer that brought so much a second for SLOW_FOR_S (None: it is not so old) is left,
    there being somewhere ``elsewhere`` to get the rest from."""
    return elsewhere and bytes_s is not None and bytes_s < SLOW_BYTES_S


def lags(bytes_s: float | None, others_bytes_s: Sequence[float], left_bytes: int) -> bool:
    """Whether one of several connections, that brought so much a second for LAGS_FOR_S, leaves its last
    ``left_bytes`` to the others."""
    if bytes_s is None or not others_bytes_s or left_bytes <= bytes_s * LAGS_LEFT_S:
        return False
    return bytes_s * LAGS_BY < median(others_bytes_s)
