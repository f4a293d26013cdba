"""An answer as bytes, in one piece: Twisted's way, a header at a time, costs more than the rest of a hit."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from twisted.web.http import datetimeToString

SERVER = ("Server", "regproxy")


def head_block(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """Status line, Server and ``headers``; what :func:`whole_answer` puts before the rest.

    The words are the standard's: Twisted calls 429 and others "Unknown Status", which clients show.
    """
    lines = [f"{name}: {value}\r\n" for name, value in (SERVER, *headers)]
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{''.join(lines)}".encode("ascii", "replace")


def whole_answer(block: bytes, body: bytes, *, close: bool) -> bytes:
    """All of an answer: ``block``, today's Date, whether the connection ends with it, ``body``."""
    ending = b"Connection: close\r\n" if close else b""
    return b"%sDate: %s\r\n%s\r\n%s" % (block, datetimeToString(), ending, body)
