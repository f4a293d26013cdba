"""Request targets, taken apart: raw bytes in, checked text out; decoded exactly once (R7).

Every check is linear in the length of its input, and the length is bounded first.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import attrs

from regproxy.errors import InvalidTarget

MAX_PATH_BYTES = 2048
"""More than the longest name with the longest reference, every byte percent-encoded."""
MAX_QUERY_BYTES = 2048

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_UNPRINTABLE = re.compile(rb"[^\x21-\x7e]")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f/\\]")
_ABSOLUTE = re.compile(rb"http(s?)://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


@attrs.frozen(slots=True)
class Target:
    """A request target: raw path and query, and the authority where it was in absolute form.

    ``secure``: the absolute form was that of https.
    """

    path: bytes
    query: bytes
    authority: bytes | None = None
    secure: bool = False


def split_target(raw: bytes) -> Target:
    """Origin form or absolute form (RFC 9112 3.2); :exc:`InvalidTarget` for the others."""
    absolute = _ABSOLUTE.fullmatch(raw)
    authority, secure = None, False
    if absolute is not None:
        secure, authority, raw = bool(absolute[1]), absolute[2], absolute[3]
        if not raw.startswith(b"/"):
            raw = b"/" + raw
    path, _, query = raw.partition(b"?")
    if not path.startswith(b"/"):
        raise InvalidTarget("a request target is a path that begins with '/'")
    return Target(path, query, authority, secure)


def check_host(values: list[bytes], *, required: bool) -> str | None:
    """The one Host that a request names (RFC 9112 3.2), lower case; None where none is needed.

    :exc:`InvalidTarget` when HTTP/1.1 has none, when there are two, and when it is no host.
    """
    if not values and not required:
        return None
    if len(values) != 1:
        raise InvalidTarget("an HTTP/1.1 request needs exactly one Host header")
    if values[0] and _HOST.fullmatch(values[0]) is None:
        raise InvalidTarget("the Host header is not a host name or address, with a port or without")
    return values[0].decode("ascii").lower()


def split_authority(authority: bytes, secure: bool) -> tuple[str, int]:
    """The host of an absolute form, in lower case with its port as it was written, and the port.

    It stands for the Host (RFC 9112 3.2.2). :exc:`InvalidTarget` for user names and all that is no host.
    """
    if _HOST.fullmatch(authority) is None:
        raise InvalidTarget("the target names no host, or more than a host and a port")
    host = authority.decode("ascii").lower()
    _, colon, port = host.rpartition(":")
    return host, int(port) if colon and port.isdigit() else 443 if secure else 80


def split_path(raw: bytes) -> list[str]:
    """The decoded components of a path, without the one before the first slash.

    Only the last one may be empty. Raises :exc:`InvalidTarget` for broken escapes, bytes that
    are not UTF-8, NUL, backslash, an encoded slash, ``.``, ``..`` and ``//``.
    """
    if len(raw) > MAX_PATH_BYTES:
        raise InvalidTarget(f"a path has at most {MAX_PATH_BYTES} bytes")
    if _UNPRINTABLE.search(raw) or _BAD_ESCAPE.search(raw):
        raise InvalidTarget("the path holds bytes that are not allowed there, or a broken %-escape")
    parts = [_decode(part) for part in raw.split(b"/")[1:]]
    if "" in parts[:-1]:
        raise InvalidTarget("the path has an empty component ('//')")
    return parts


def _decode(part: bytes) -> str:
    try:
        text = unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidTarget("the path is not UTF-8") from None
    if _FORBIDDEN.search(text) or text in (".", ".."):
        raise InvalidTarget("the path holds an encoded slash, a backslash, a control character, '.' or '..'")
    return text


def parse_query(raw: bytes, wanted: frozenset[str]) -> dict[str, str]:
    """The ``wanted`` parameters of a query, decoded once; all others are ignored.

    :exc:`InvalidTarget` for one that is given twice with different values, or is not UTF-8.
    """
    if len(raw) > MAX_QUERY_BYTES:
        raise InvalidTarget(f"a query has at most {MAX_QUERY_BYTES} bytes")
    found: dict[str, str] = {}
    for field in raw.split(b"&"):
        name, _, value = field.partition(b"=")
        key = name.decode("ascii", "replace")
        if key in wanted:
            text = _decode_value(value)
            if found.setdefault(key, text) != text:
                raise InvalidTarget("a query parameter is given twice")
    return found


def _decode_value(value: bytes) -> str:
    if _BAD_ESCAPE.search(value):
        raise InvalidTarget("a query parameter holds a broken %-escape")
    try:
        return unquote_to_bytes(value.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidTarget("a query parameter is not UTF-8") from None
