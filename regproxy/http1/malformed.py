"""What is wrong with a line that is no HTTP, for a person; pure. Nothing of the line is repeated."""

from __future__ import annotations

import re

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00\r\n]")


def is_folded(line: bytes) -> bool:
    """Whether a line of a header goes on with the one before (obs-fold, RFC 9112 5.2): proxies disagree."""
    return line[:1] in (b" ", b"\t")


def fault_in_request_line(line: bytes) -> str:
    """Why it is none."""
    if _CONTROL.search(line):
        return "a line ends with CR LF: a bare CR, LF or NUL stands in the request line"
    parts = line.split(b" ")
    if len(parts) != 3:
        return "the request line is not METHOD, target and HTTP/1.1 with one space between them"
    if _TOKEN.fullmatch(parts[0]) is None:
        return "the method is no word of HTTP"
    if parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        return "HTTP/1.1 and HTTP/1.0 are spoken here, no other version"
    return "the request target holds bytes that must be percent-encoded"


def fault_in_header(line: bytes) -> str:
    """Why it is none."""
    if _CONTROL.search(line):
        return "a line ends with CR LF: a bare CR, LF or NUL stands in a header"
    name, colon, _ = line.partition(b":")
    if not colon:
        return "a header is a name, a colon and a value"
    if _TOKEN.fullmatch(name) is None:
        return "the name of a header is one word with its colon right behind it"
    if name.lower() == b"content-length":
        return "there is one Content-Length at most, a plain number, and no Transfer-Encoding beside it"
    return "there is one Transfer-Encoding at most, 'chunked', and no Content-Length beside it"
