"""Byte ranges (RFC 9110 section 14): one range is honoured, anything odd is ignored (R32)."""

from __future__ import annotations

import re
from typing import TypeAlias

import attrs

_ONE_RANGE = re.compile(r"bytes[ \t]*=[ \t]*([0-9]{0,20})-([0-9]{0,20})[ \t]*", re.ASCII | re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,20})-([0-9]{1,20})/([0-9]{1,20}|\*)", re.ASCII | re.IGNORECASE)


@attrs.frozen(slots=True)
class Span:
    """Bytes ``start`` up to, not including, ``stop``."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """How many bytes it holds."""
        return self.stop - self.start

    def content_range(self, size_bytes: int) -> str:
        """The Content-Range of a 206 with these bytes of ``size_bytes``."""
        return f"bytes {self.start}-{self.stop - 1}/{size_bytes}"


@attrs.frozen(slots=True)
class Everything:
    """No range, or one that is to be ignored: the whole body, as a 200."""


@attrs.frozen(slots=True)
class Unsatisfiable:
    """A well-formed range with nothing in it: 416."""


Wanted: TypeAlias = Span | Everything | Unsatisfiable


def choose_range(header: str | None, size_bytes: int | None) -> Wanted:
    """What a Range header asks of a body of ``size_bytes`` (None: not known yet, so all of it).

    Several ranges, an unknown unit and malformed text mean everything, as RFC 9110 allows.
    """
    match = _ONE_RANGE.fullmatch(header) if header is not None else None
    if match is None or size_bytes is None or match[1] == match[2] == "":
        return Everything()
    if match[1] == "":
        return _suffix(int(match[2]), size_bytes)
    start = int(match[1])
    last = int(match[2]) if match[2] else size_bytes - 1
    if match[2] and last < start:
        return Everything()
    if start >= size_bytes:
        return Unsatisfiable()
    return Span(start, min(last + 1, size_bytes))


def _suffix(length: int, size_bytes: int) -> Wanted:
    if length == 0 or size_bytes == 0:
        return Unsatisfiable()
    return Span(max(0, size_bytes - length), size_bytes)


def parse_content_range(header: str) -> tuple[Span, int | None] | None:
    """What a 206's Content-Range says: the span and the total (None for ``*``); None when malformed."""
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if match is None:
        return None
    span = Span(int(match[1]), int(match[2]) + 1)
    total = None if match[3] == "*" else int(match[3])
    if span.length <= 0 or (total is not None and span.stop > total):
        return None
    return span, total
