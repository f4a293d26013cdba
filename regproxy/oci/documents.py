"""JSON from strangers: its structure is counted before it is parsed.

A parser holds the interpreter from the first byte to the last, in whatever thread it runs, and what
it costs is not the bytes but the values: 4 MiB of ``[],`` take a hundred times as long as one string
of 4 MiB. Counting takes 1 ms a MiB.
"""

from __future__ import annotations

import json
from typing import Any

MAX_DIGITS = 511
"""In a row: the time for a whole number grows with the square of its length."""
_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER = b"0" * (MAX_DIGITS + 1)
_OPENINGS = b"[{"
_PARTS = b'[{",'


class BadDocument(ValueError):
    """No JSON, or more of it than anybody needs; the message is a clause about "it"."""


def read_document(content: bytes, max_openings: int, max_parts: int) -> Any:
    """The JSON value in ``content``; BadDocument.

    ``max_openings`` bounds arrays and objects, ``max_parts`` these, quotes and commas together;
    those inside strings count as well, and so do more than ``MAX_DIGITS`` digits in a row.
    """
    if _LONG_NUMBER in content.translate(_DIGITS):
        raise BadDocument("it has a number that nothing can have")
    if _count(content, _PARTS) > max_parts or _count(content, _OPENINGS) > max_openings:
        raise BadDocument("it holds more values than it may")
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise BadDocument("it is not JSON") from None


def _count(content: bytes, wanted: bytes) -> int:
    return len(content) - len(content.translate(None, wanted))
