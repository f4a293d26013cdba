"""Conditional requests (RFC 9110 section 13): a digest in quotes is the entity tag (R12, R33)."""

from __future__ import annotations

import re

from regproxy.oci.digest import Digest

_TAGS = re.compile(r'(?:W/)?"([^"]*)"|([^\s,"]+)', re.ASCII)

_NO_CACHE = re.compile(
    r'(?:^|,)[ \t]*(?:no-cache|max-age[ \t]*=[ \t]*"?0{1,9}"?)[ \t]*(?:,|$)', re.ASCII | re.IGNORECASE
)


def entity_tag(digest: Digest) -> str:
    """The ETag of content: its digest in quotes (R10, R30)."""
    return f'"{digest}"'


def none_match_hits(header: str | None, digest: Digest) -> bool:
    """Whether If-None-Match names ``digest``, so that 304 is the answer.

    Quoted, unquoted, weak, in a list, or ``*`` (R12).
    """
    if header is None:
        return False
    wanted = str(digest)
    return any((quoted or bare) in (wanted, "*") for quoted, bare in _TAGS.findall(header))


def range_holds(header: str | None, digest: Digest) -> bool:
    """Whether If-Range allows a 206: it is absent, or names ``digest`` strongly (R33)."""
    return header is None or header.strip() == entity_tag(digest)


def wants_confirmed(cache_control: str | None, pragma: str | None) -> bool:
    """Whether a client wants no answer that is not confirmed now: ``no-cache`` or ``max-age=0`` (R54).

    Pragma counts where there is no Cache-Control (RFC 9111 5.4).
    """
    if cache_control is None:
        return pragma is not None and _NO_CACHE.search(pragma) is not None
    return _NO_CACHE.search(cache_control) is not None
