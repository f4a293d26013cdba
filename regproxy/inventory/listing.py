"""A page of a list that may be long: sorted, begun behind a place, bounded. Pure.

A place is what the last one of a page is sorted by, so that what comes and goes meanwhile repeats nothing
and skips nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import nsmallest
from typing import Generic, TypeAlias, TypeVar

import attrs

from regproxy.inventory.images import Row

T = TypeVar("T")

Place: TypeAlias = tuple[float, str]
"""A number, the smaller the earlier, then a name."""

MAX_COUNT = 500
"""So many on one page: half a MiB of JSON at most."""

SORTS: dict[str, Callable[[Row], Place]] = {
    "name": lambda row: (0.0, row.key),
    "size": lambda row: (-row.disk_bytes, row.key),
    "used": lambda row: (-row.used_s, row.key),
    "pulls": lambda row: (-row.pulls, row.key),
    "bytes": lambda row: (-row.sent_bytes, row.key),
}
"""By what images are sorted: the most of it first, names by the alphabet."""


@attrs.frozen(slots=True)
class Page(Generic[T]):
    """``more`` is behind which place the next page begins; None: that was the last."""

    found: tuple[T, ...]
    more: Place | None


def page(
    items: Iterable[T],
    place: Callable[[T], Place],
    after: Place | None,
    count: int,
    most: int = MAX_COUNT,
) -> Page[T]:
    """The first ``count`` behind ``after``; never more than ``most``, whatever is asked for."""
    count = max(1, min(count, most))
    behind = items if after is None else (item for item in items if place(item) > after)
    found = nsmallest(count + 1, behind, key=place)
    last = place(found[count - 1]) if len(found) > count else None
    return Page(tuple(found[:count]), last)
