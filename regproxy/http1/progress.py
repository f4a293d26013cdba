"""Whether a client takes what it asked for: pure; looked at every WINDOW_S while an answer is under way.

Twisted's idle timer is off meanwhile. What counts is what the client's machine has confirmed, by
whatever way the bytes went out. A client is only judged by bytes that were on their way to it all the
time, so that a slow upstream is nobody's fault here.
"""

from __future__ import annotations

import attrs

WINDOW_S = 120.0


@attrs.frozen(slots=True)
class Sight:
    """One look: ``taken_bytes`` on this connection so far (None where the system does not tell),
    ``pending_bytes`` handed over and not taken yet."""

    taken_bytes: int | None
    pending_bytes: int


def is_stuck(before: Sight, now: Sight, least_bytes: int) -> bool:
    """Whether, between two looks, the client took less than it could and had to.

    It had to take ``least_bytes``, or what was pending if that is less; where nobody knows how much it
    took, anything will do.
    """
    if not before.pending_bytes or not now.pending_bytes:
        return False
    if before.taken_bytes is None or now.taken_bytes is None:
        return before.pending_bytes == now.pending_bytes
    taken = now.taken_bytes - before.taken_bytes
    return taken < min(before.pending_bytes, max(1, least_bytes))
