"""How long a tag is believed, and what may be served when its upstream cannot be asked. Pure.

Times are seconds since the epoch. A clock that went back makes nothing fresh for ever: an age
below zero counts as unknown, so the upstream is asked.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from datetime import datetime, timezone

from regproxy.errors import Throttled, UpstreamError, UpstreamTrouble
from regproxy.interfaces import TagRecord
from regproxy.oci.tag import Tag
from regproxy.settings import TagRule


class Freshness(enum.Enum):
    """What is to be done about a tag."""

    UNKNOWN = "ask the upstream, there is nothing to fall back on"
    FRESH = "serve it, ask nobody"
    EXPIRED = "ask whether it changed"


def rule_for(tag: Tag, *lists: Sequence[TagRule]) -> TagRule:
    """The first rule that matches, an upstream's own list coming before the common one."""
    for rules in lists:
        for rule in rules:
            if rule.match in ("*", tag.name):
                return rule
    return TagRule()


def age_s(record: TagRecord, now_s: float) -> float:
    """Seconds since the upstream last confirmed it; never below zero."""
    return max(0.0, now_s - record.checked_s)


def judge(record: TagRecord | None, rule: TagRule, now_s: float) -> Freshness:
    """Whether ``record`` is believed at ``now_s`` (R50)."""
    if record is None:
        return Freshness.UNKNOWN
    if 0.0 <= now_s - record.checked_s < rule.fresh_s:
        return Freshness.FRESH
    return Freshness.EXPIRED


def may_serve_stale(record: TagRecord, rule: TagRule, now_s: float, error: BaseException | None) -> bool:
    """Whether the cached tag answers in place of ``error`` (None: no answer in time) (R52).

    Trouble and 429 do; 404, 401 and 403 are answers, and are believed (R53).
    """
    if age_s(record, now_s) > rule.fresh_s + rule.stale_if_error_s:
        return False
    return error is None or isinstance(error, UpstreamTrouble | Throttled)


def stale_warning(upstream: str, error: BaseException | None, record: TagRecord) -> str:
    """The sentence for the person who pulls: why it is stale, and since when (R52)."""
    reason = error.reason if isinstance(error, UpstreamError) else "has not answered in time"
    return f"stale: {upstream}: {reason}; last confirmed {timestamp(record.checked_s)}"


def timestamp(when_s: float) -> str:
    """RFC 3339, whole seconds, UTC."""
    return datetime.fromtimestamp(int(when_s), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
