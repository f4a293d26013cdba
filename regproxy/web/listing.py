"""Pages of a tag list, our own: sorted, ``n`` and ``last``, a Link to the next one (R94); pure."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from urllib.parse import urlencode

import attrs

from regproxy.web.routing import MAX_PAGE, TagsRoute


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


def _link(route: TagsRoute, last: str, size: int) -> str:
    query = [("last", last), ("n", str(size))]
    if route.place.namespace is not None:
        query.append(("ns", route.place.namespace))
    return f'<{route.place.before}/v2/{route.place.name}/tags/list?{urlencode(query)}>; rel="next"'
