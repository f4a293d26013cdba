"""The values that labels may have: what clients and upstreams say is mapped to words of ours, so that
nobody can make a series."""

from __future__ import annotations

from collections.abc import Mapping

TYPES = ("blob", "manifest", "tags", "other")
"""What a client asks for."""
HOWS = ("hit", "miss", "joined", "revalidated", "stale", "denied", "none")
"""Where an answer came from; ``none``: nowhere, it is an error or a word of the mirror's own."""
METHODS = ("GET", "HEAD", "POST", "other")
KINDS = ("blob", "manifest", "tags", "token", "base")
"""What an upstream, or its token server, is asked for."""

_STATUSES = (200, 206, 304, 307, 400, 401, 403, 404, 405, 416, 429, 499, 500, 502, 503, 504)
NO_ANSWER = 0
"""The status where none came."""
_STATUS_NAMES: Mapping[int, str] = {NO_ANSWER: "none", **{status: str(status) for status in _STATUSES}}
STATUSES = (*_STATUS_NAMES.values(), "1xx", "2xx", "3xx", "4xx", "5xx", "other")


def status_word(status: int) -> str:
    """A status, or the class of one that is seldom seen."""
    name = _STATUS_NAMES.get(status)
    if name is not None:
        return name
    return f"{status // 100}xx" if 100 <= status < 600 else "other"


def one_of(words: tuple[str, ...], word: str | None) -> str:
    """``word`` where it is one of ``words``, else the last of these."""
    return word if word in words else words[-1]
