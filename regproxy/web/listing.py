"""Pages of listings, our own: sorted, ``n`` and ``last``, a Link to the next one (R94); pure."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from urllib.parse import urlencode

import attrs

from regproxy.web.routing import MAX_PAGE, CatalogRoute, TagsRoute

CATALOG_PAGE = 1000
"""The largest page of a catalog, and the usual one: each name costs a look at the disk."""


@attrs.frozen(slots=True)
class Page:
    """The document of one page, and the value of its Link when more follow."""

    content: bytes
    link: str | None


def tag_page(route: TagsRoute, tags: Sequence[str]) -> Page:
    """The page of ``tags`` (sorted) that ``route`` asks for.

    The Link has the path and the ``ns`` that the client used (R94). ``n=0`` is an empty page, no Link.
    """
    size = MAX_PAGE if route.n is None else route.n
    start = 0 if route.last is None else bisect_right(tags, route.last)
    shown = tags[start : start + size]
    content = json.dumps({"name": route.place.name, "tags": list(shown)}).encode("ascii")
    more = bool(shown) and start + size < len(tags)
    return Page(content, _link(route, shown[-1], size) if more else None)


def catalog_size(route: CatalogRoute) -> int:
    """How many names the page that ``route`` asks for has at most."""
    return CATALOG_PAGE if route.n is None else min(route.n, CATALOG_PAGE)


def catalog_page(route: CatalogRoute, names: Sequence[str]) -> Page:
    """The page of ``names``: those behind ``last``, one more than fit where more follow (R95)."""
    size = catalog_size(route)
    content = json.dumps({"repositories": list(names[:size])}).encode("ascii")
    if not 0 < size < len(names):
        return Page(content, None)
    path = "_catalog" if route.prefix is None else f"{route.prefix}/_catalog"
    return Page(content, _next(route.before, path, names[size - 1], size, route.namespace))


def _link(route: TagsRoute, last: str, size: int) -> str:
    place = route.place
    return _next(place.before, f"{place.name}/tags/list", last, size, place.namespace)


def _next(before: str, path: str, last: str, size: int, namespace: str | None) -> str:
    """Relative, so that it is right whatever host and scheme a proxy in front is asked by."""
    query = [("last", last), ("n", str(size))]
    if namespace is not None:
        query.append(("ns", namespace))
    return f'<{before}/v2/{path}?{urlencode(query)}>; rel="next"'
