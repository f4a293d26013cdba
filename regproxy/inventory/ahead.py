"""The pages behind the one that was asked for: a long list is not worked out again for each of its pages.

Laws: the first page of a list is always new. What is kept is one list, of AHEAD_COUNT rows at most, for
KEPT_S seconds; it is let go of with its last page. Without it a page costs more time, and is the same.
"""

from __future__ import annotations

from bisect import bisect_right

import attrs

from regproxy.inventory.images import Row, Wanted
from regproxy.inventory.listing import SORTS, Page, Place

AHEAD_COUNT = 10_000
"""Rows, of some 400 bytes each."""
KEPT_S = 30.0


@attrs.frozen(slots=True)
class _Kept:
    wanted: Wanted
    sort: str
    after: Place
    """All of ``rows`` are behind it, and nothing else is before their last one."""
    rows: Page[Row]
    at_s: float


class Ahead:
    """What was worked out beyond a page. Times are seconds, as the caller measures them."""

    def __init__(self) -> None:
        self._kept: _Kept | None = None

    def __repr__(self) -> str:
        return f"<Ahead {0 if self._kept is None else len(self._kept.rows.found)} rows>"

    def keep(self, wanted: Wanted, sort: str, found: Page[Row], count: int, now_s: float) -> Page[Row]:
        """The first ``count`` of ``found``; the rest is kept, in the place of what was."""
        place, rows = SORTS[sort], found.found
        self._kept = None
        if len(rows) <= count:
            return found
        after = place(rows[count - 1])
        self._kept = _Kept(wanted, sort, after, Page(rows[count:], found.more), now_s)
        return Page(rows[:count], after)

    def take(
        self, wanted: Wanted, sort: str, after: Place | None, count: int, now_s: float
    ) -> Page[Row] | None:
        """The ``count`` behind ``after``; None where they have to be looked for."""
        kept = self._kept
        if kept is None or after is None or (kept.wanted, kept.sort) != (wanted, sort):
            return None
        if after < kept.after or not 0 <= now_s - kept.at_s <= KEPT_S:
            return None
        place, rows = SORTS[sort], kept.rows
        first = bisect_right(rows.found, after, key=place)
        found = rows.found[first : first + count]
        if first + count < len(rows.found):
            return Page(found, place(found[-1]))
        if rows.more is not None and len(found) < count:
            return None
        self._kept = None
        return Page(found, rows.more)
