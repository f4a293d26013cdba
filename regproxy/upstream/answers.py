"""What an upstream's status and headers mean: go on, or which error (R60). Pure."""

from __future__ import annotations

import re

from regproxy.errors import Denied, NotFound, Throttled, UpstreamError, UpstreamFailed
from regproxy.headers.retry_after import retry_after_s
from regproxy.oci import media_type as types

REDIRECTS = frozenset({301, 302, 303, 307, 308})
GONE = frozenset({404, 410})
DENIED = frozenset({401, 403})
RANGE_REFUSED = 416
"""Of bytes that the blob has: such an upstream serves no ranges, whatever it says."""
HEAD_UNSUPPORTED = frozenset({405, 501})
"""The only answers that make a HEAD of a manifest a GET (R51)."""
HEAD_REFUSED = frozenset({401, 403, 404, 405, 501})
"""The answers to a HEAD of a blob that a GET, closed after its headers, may contradict (R36)."""

MAX_BLOB_BYTES = 16 << 40
"""The longest blob that an upstream may announce: 16 TiB, what one file of ext4 holds."""

_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)
_STRONG_ETAG = re.compile(r'"[!#-~]{0,200}"', re.ASCII)


def judge(
    upstream: str,
    host: str,
    what: str,
    status: int,
    retry_after: str | None = None,
    wall_s: float = 0.0,
    *,
    anonymous: bool = False,
) -> UpstreamError | None:
    """The error for ``status``, which it holds; None for exactly 200. ``what`` was asked of ``host``.

    ``anonymous``: of the upstream itself, and the settings have no credentials for it.
    """
    if status == 200:
        return None
    found = _meaning(upstream, host, what, status, retry_after_s(retry_after, wall_s), anonymous)
    found.status = status
    return found


def _meaning(
    upstream: str, host: str, what: str, status: int, wait_s: int | None, anonymous: bool
) -> UpstreamError:
    if status in GONE:
        return NotFound(upstream, f"{host} has no {what} ({status})")
    if status in DENIED:
        hint = f"; it is not there, or private: then add 'credentials' for {upstream}" if anonymous else ""
        return Denied(upstream, f"{host} gives no access to {what} ({status}){hint}")
    if status == 429:
        return Throttled(upstream, f"{host} allows no more requests for now (429)", wait_s)
    if status >= 500:
        return UpstreamFailed(upstream, f"{host} failed with {status} when asked for {what}")
    return UpstreamFailed(upstream, f"{host} answered {status}, which means nothing for {what}")


def judge_form(
    upstream: str, host: str, what: str, content_type: str | None, coding: str | None
) -> UpstreamError | None:
    """The error for a 200 that is a web page or encoded; None when it may be what was asked for."""
    if coding is not None and coding.lower() != "identity":
        return UpstreamFailed(upstream, f"{host} sent {what} encoded, though asked for it as it is (R89)")
    if types.essence(content_type or "") in ("text/html", "application/xhtml+xml"):
        return UpstreamFailed(upstream, f"{host} sent a web page instead of {what}")
    return None


def serves_ranges(accept_ranges: str | None) -> bool:
    """Whether an Accept-Ranges says that bytes may be asked for by Range."""
    return "bytes" in [unit.strip().lower() for unit in (accept_ranges or "").split(",")]


def strong_validator(etag: str | None) -> str | None:
    """An ETag that If-Range may carry: a weak one says nothing of bytes (RFC 9110 section 13.1.5)."""
    text = (etag or "").strip()
    return text if _STRONG_ETAG.fullmatch(text) else None


def content_length(header: str | None) -> int | None:
    """A Content-Length as a number; None when it is absent or is none."""
    text = (header or "").strip()
    return int(text) if _DIGITS.fullmatch(text) else None


def is_absurd_length(header: str) -> bool:
    """Whether a Content-Length is a number of more than MAX_BLOB_BYTES, however long it is written."""
    digits = header.strip().lstrip("0")
    if not digits.isascii() or not digits.isdigit():
        return False
    return len(digits) > len(str(MAX_BLOB_BYTES)) or int(digits) > MAX_BLOB_BYTES
