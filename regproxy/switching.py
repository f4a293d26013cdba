"""How long one thread may keep Python's lock while others wait for it."""

from __future__ import annotations

import sys

SWITCH_S = 0.001


def switch_soon() -> None:
    """The reactor gives the lock away at each system call that takes a while. Where a thread plans an
    eviction, or lists all that is cached, it would wait 5 ms each time to have it back, several times in a
    turn."""
    sys.setswitchinterval(SWITCH_S)
