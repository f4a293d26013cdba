"""What is left of an upstream's rate limit, as an account. Pure: times are seconds of one steady clock.

What its answers say is believed; between two of them our own requests that count are taken off. Windows
roll: the end of one is what the upstream says, else a window's length after there was last more than
before. From then on nothing is known to be used, until it says so.

======  =================================================
thrift  what is left of the limit
======  =================================================
free    half of it, or nobody speaks of a limit
longer  less
stale   less than a tenth: the reserve, for what is not cached at all
empty   nothing
======  =================================================

A level ends a twentieth of the limit above where it began, so that none flaps.
"""

from __future__ import annotations

import attrs

from regproxy.headers.ratelimits import LimitReport
from regproxy.interfaces import Thrift

LONGER_PERCENT = 50
RESERVE_PERCENT = 10
"""The last part of the limit, that nothing is taken from for what is cached."""
BACK_PERCENT = 5
BELIEVED_S = 3600.0
"""For how long a report counts that says nothing of a window or of its end."""
ROLLED_PERCENT = 5
"""So much more than before means that a window has ended; less may be answers that overtook each other."""
RATE_OVER_S = 600.0
"""The present rate is that of so long at least."""


@attrs.frozen(slots=True)
class Ledger:
    """``remaining`` of ``limit`` at ``reported_s``, less what ``spent`` has counted since.

    ``opened_s`` and ``opened_with``: since when, and from how much on, it has only become less: the rate.
    ``level`` is the thrift of then, which the next one depends on. Nothing is known of an empty one.
    """

    limit: int | None = None
    remaining: int | None = None
    window_s: float | None = None
    resets_s: float = 0.0
    reported_s: float = 0.0
    spent: int = 0
    opened_s: float = 0.0
    opened_with: int = 0
    level: Thrift = Thrift.FREE
    source: str | None = attrs.field(default=None, repr=False)

    def left(self, now_s: float) -> int | None:
        """How many are left; None: nobody told, or it is too long ago."""
        if self.remaining is None or now_s >= self.resets_s:
            return None
        return max(0, self.remaining - self.spent)

    def per_hour(self, now_s: float) -> float | None:
        """How many are used in an hour, of late, by whoever shares the limit; None: not known."""
        left = self.left(now_s)
        if left is None:
            return None
        return max(0, self.opened_with - left) * 3600.0 / max(RATE_OVER_S, now_s - self.opened_s)

    def hours_left(self, now_s: float) -> float | None:
        """For how long it lasts at that rate, infinite where nothing is used; None: not known."""
        left, rate = self.left(now_s), self.per_hour(now_s)
        if left is None or rate is None:
            return None
        return left / rate if rate else float("inf")


def thrift(ledger: Ledger, now_s: float) -> Thrift:
    """How sparing to be at ``now_s``."""
    left = ledger.left(now_s)
    if left is None:
        return Thrift.FREE
    if left == 0:
        return Thrift.EMPTY
    if ledger.limit is None:
        return Thrift.FREE
    for level, below in ((Thrift.STALE, RESERVE_PERCENT), (Thrift.LONGER, LONGER_PERCENT)):
        percent = below + (BACK_PERCENT if ledger.level >= level else 0)
        if left * 100 < ledger.limit * percent:
            return level
    return Thrift.FREE


def reported(ledger: Ledger, report: LimitReport, now_s: float, under_way: int = 0) -> Ledger:
    """After an answer that says ``report``; ``under_way`` requests that count have no answer yet."""
    if report.remaining is None:
        return ledger
    if report.source != ledger.source and report.source is not None:
        ledger = Ledger(source=report.source)  # another account, or address, has its own window
    more = _has_rolled(ledger, report.remaining, now_s, under_way)
    resets_s = _end(ledger, report, now_s, more)
    found = attrs.evolve(
        ledger,
        limit=report.limit if report.limit is not None else ledger.limit,
        remaining=report.remaining,
        window_s=report.window_s or ledger.window_s,
        resets_s=resets_s,
        reported_s=now_s,
        spent=under_way,
        opened_s=now_s if more else ledger.opened_s,
        opened_with=report.remaining if more else ledger.opened_with,
        level=Thrift.FREE if ledger.left(now_s) is None else ledger.level,
    )
    return attrs.evolve(found, level=thrift(found, now_s))


def _has_rolled(ledger: Ledger, remaining: int, now_s: float, under_way: int) -> bool:
    if ledger.remaining is None or now_s >= ledger.resets_s:
        return True
    return remaining > ledger.remaining + max(under_way, ROLLED_PERCENT * (ledger.limit or 0) / 100)


def _end(ledger: Ledger, report: LimitReport, now_s: float, more: bool) -> float:
    """When the window ends: at the latest, where only its length is told."""
    if report.reset_s is not None:
        return now_s + report.reset_s
    length_s = report.window_s or ledger.window_s or BELIEVED_S
    return now_s + length_s if more else min(ledger.resets_s, now_s + length_s)


def unspent(ledger: Ledger) -> Ledger:
    """After one of them turned out not to count: nobody was asked, or it was not let in."""
    return attrs.evolve(ledger, spent=max(0, ledger.spent - 1))


def spent(ledger: Ledger, now_s: float) -> Ledger:
    """After one of our own requests that count was sent."""
    found = attrs.evolve(ledger, spent=ledger.spent + 1)
    return attrs.evolve(found, level=thrift(found, now_s))
