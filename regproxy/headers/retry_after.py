"""``Retry-After`` (RFC 9110 section 10.2.3): a number of seconds, or a date; whatever it says, at most
an hour (R91)."""

from __future__ import annotations

import re
from datetime import timezone
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_S = 3600
"""A registry that means longer says so again then: one question an hour harms nobody."""

MAX_LENGTH = 64

_SECONDS = re.compile(r"([0-9]{1,18})(?:\.[0-9]{0,18})?", re.ASCII)


def retry_after_s(header: str | None, wall_s: float) -> int | None:
    """Seconds from ``wall_s`` (epoch), from 0 to MAX_RETRY_AFTER_S; None for what is neither number nor
    date. Never raises."""
    text = (header or "").strip()[:MAX_LENGTH]
    seconds = _SECONDS.fullmatch(text)
    if seconds is not None:
        return min(int(seconds[1]), MAX_RETRY_AFTER_S)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    when_s = (date if date.tzinfo else date.replace(tzinfo=timezone.utc)).timestamp()
    return max(0, min(round(when_s - wall_s), MAX_RETRY_AFTER_S))
