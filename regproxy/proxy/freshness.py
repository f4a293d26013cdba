"""How long a tag is believed, what is done about it, and what follows from an upstream's answer. Pure.

Times are seconds since the epoch. From the moment that a tag was last confirmed:

    |-- fresh --|---- grace ----|                        |
    |  served   | served, asked |  asked, then served,   |  asked; nothing is
    |           | about behind  |  stale if it must be   |  served in its place
    |           |-------- stale_if_error ----------------|

Nothing is asked of an upstream that is down, nor, for what is cached, of one whose rate limit is used up.
A record of the future (a clock was set back) is never fresh, and no less stale than it is far away.
"""

from __future__ import annotations

import enum
import math
from datetime import datetime, timezone
from typing import Protocol

import attrs

from regproxy.errors import Denied, NotFound, Throttled, UpstreamDown, UpstreamError, UpstreamTrouble
from regproxy.interfaces import Allowance, Circuit, Standing, Thrift
from regproxy.settings import TagRule

STRETCH = 10
"""So many times ``fresh`` a tag is believed while the rate limit runs low (Thrift.LONGER and beyond)."""


class Act(enum.Enum):
    """What is to be done about a tag."""

    SERVE = "serve what is cached, ask nobody"
    REFRESH = "serve what is cached, ask behind"
    ASK = "ask whether it changed; serve what is cached where no answer comes in time"
    STALE = "serve what is cached with a warning, ask nobody"
    FETCH = "ask, nothing may be served in place of the answer"
    REFUSE = "serve nothing, ask nobody"


class Why(enum.Enum):
    """What speaks for it."""

    FRESH = "it was confirmed within 'fresh'"
    SPARED = "it was confirmed within ten times 'fresh', which counts while the rate limit runs low"
    GRACE = "it was confirmed within 'fresh' and 'grace'"
    EXPIRED = "it was confirmed longer ago than 'fresh' and 'grace'"
    FORCED = "the client wants it confirmed (Cache-Control: no-cache)"
    DOWN = "the upstream is not asked now"
    THRIFT = "what is left of the upstream's rate limit is kept for what is not cached"
    UNKNOWN = "nothing is known of the tag"
    VOID = "its repository was revoked since: the upstream denied us access, or our credential was changed"
    NOT_HELD = "its manifest is not on disk, or not by this repository's right"
    TOO_OLD = "it was confirmed longer ago than 'fresh' and 'stale_if_error'"


@attrs.frozen(slots=True)
class Plan:
    """What is done, why, and by which rule. ``wait_s``: how long a client waits for the answer; None: as long
    as the upstream may take."""

    act: Act
    why: Why
    rule: TagRule
    wait_s: float | None = None


class Confirmed(Protocol):
    """What is known of a tag, or a list of them."""

    @property
    def checked_s(self) -> float:
        """When the upstream last confirmed it."""


def is_fresh(record: Confirmed, rule: TagRule, now_s: float) -> bool:
    """Whether ``record`` is believed without looking at anything else (R50)."""
    return 0.0 <= now_s - record.checked_s < rule.fresh_s


def may_serve(record: Confirmed, rule: TagRule, now_s: float) -> bool:
    """Whether it is young enough to be served, stale, in place of an answer (R52)."""
    return abs(now_s - record.checked_s) <= rule.fresh_s + rule.stale_if_error_s


def decide(
    record: Confirmed | None,
    rule: TagRule,
    standing: Standing,
    allowance: Allowance,
    now_s: float,
    *,
    forced: bool = False,
    servable: bool = True,
    void: bool = False,
) -> Plan:
    """What to do about a tag of which ``record`` is known.

    ``forced``: a client wants it confirmed, and may. ``servable``: its manifest is on disk by a right that
    holds; it needs to be so only where the record is not fresh. ``void``: the repository was revoked since.
    """
    if record is None:
        return _ask(standing, Why.UNKNOWN, rule)
    if void:
        return _ask(standing, Why.VOID, rule)
    served = _without_asking(record, rule, allowance, now_s)
    asks = standing.asked and allowance.thrift < Thrift.STALE
    if served is not None and not (forced and (asks or servable)):
        return Plan(Act.REFRESH if served is Why.GRACE and asks else Act.SERVE, served, rule)
    if not servable:
        return _ask(standing, Why.NOT_HELD, rule)
    if not may_serve(record, rule, now_s):
        return _ask(standing, Why.TOO_OLD, rule)
    if not asks:
        return Plan(Act.STALE, Why.THRIFT if standing.asked else Why.DOWN, rule)
    return Plan(Act.ASK, Why.EXPIRED if served is None else Why.FORCED, rule, rule.revalidate_wait_s)


def _without_asking(record: Confirmed, rule: TagRule, allowance: Allowance, now_s: float) -> Why | None:
    """Why it is served without waiting for its upstream; None: it is not."""
    age_s = now_s - record.checked_s
    if age_s < 0.0:
        return None
    if age_s < rule.fresh_s:
        return Why.FRESH
    if not may_serve(record, rule, now_s):
        return None
    fresh_s = rule.fresh_s * (STRETCH if allowance.thrift >= Thrift.LONGER else 1)
    if age_s < fresh_s:
        return Why.SPARED
    return Why.GRACE if age_s < fresh_s + rule.grace_s else None


def _ask(standing: Standing, why: Why, rule: TagRule) -> Plan:
    return Plan(Act.FETCH if standing.asked else Act.REFUSE, why, rule)


class Outcome(enum.Enum):
    """What came of a question about a tag."""

    SAME = "it means what it meant"
    CHANGED = "it means something else, which is on disk now"
    MISSING = "the upstream has it no more (404, 410)"
    DENIED = "the upstream denies us access (401, 403)"
    THROTTLED = "the upstream's rate limit is used up (429)"
    TROUBLE = "the upstream failed"
    LATE = "no answer came in the time that a client waits"


class Then(enum.Enum):
    """What a client gets that waited for it."""

    ANSWER = "what the upstream says"
    STALE = "what is cached, with a warning"
    ERROR = "what the upstream said, as an error"
    WAIT = "what the upstream will say: there is nothing else"


@attrs.frozen(slots=True)
class Verdict:
    """``forget``: what is known of the tag; ``revoke``: the rights of its repository."""

    then: Then
    forget: bool = False
    revoke: bool = False


def outcome_of(error: UpstreamError | None) -> Outcome:
    """The kind of a failure; None: no answer in time."""
    if error is None:
        return Outcome.LATE
    for kind, outcome in _OUTCOMES:
        if isinstance(error, kind):
            return outcome
    return Outcome.TROUBLE


_OUTCOMES: tuple[tuple[type[UpstreamError], Outcome], ...] = (
    (NotFound, Outcome.MISSING),
    (Denied, Outcome.DENIED),
    (Throttled, Outcome.THROTTLED),
    (UpstreamTrouble, Outcome.TROUBLE),
)


def follow(outcome: Outcome, rule: TagRule, *, servable: bool, pinned: bool = False) -> Verdict:
    """What follows from the answer to a question (R52, R53).

    ``servable``: what is cached may be served in its place: it is on disk by right, and :func:`may_serve`.
    ``pinned``: the tag stays, whatever its rule says, since its content is kept by what it means.
    """
    stale = Then.STALE if servable else Then.ERROR
    if outcome in (Outcome.SAME, Outcome.CHANGED):
        return Verdict(Then.ANSWER)
    if outcome is Outcome.MISSING:
        kept = (rule.keep_missing or pinned) and servable
        return Verdict(Then.STALE) if kept else Verdict(Then.ERROR, forget=not pinned)
    if outcome is Outcome.DENIED:
        return Verdict(stale) if rule.serve_denied else Verdict(Then.ERROR, revoke=True)
    if outcome is Outcome.LATE:
        return Verdict(Then.STALE if servable else Then.WAIT)
    return Verdict(stale)


def confirmed_s(stamp_s: float, now_s: float, revoked_s: float) -> float:
    """The date of what is asked for at ``now_s``; the store's ``stamp_s`` is never before an earlier one.

    A clock that was ahead for a moment is in every stamp from then on, for ever: no tag would be fresh again,
    nor young enough for an outage. The clock's own time does as long as it is after the last revocation.
    """
    return min(stamp_s, now_s) if now_s > revoked_s else stamp_s


def age_s(record: Confirmed, now_s: float) -> float:
    """Seconds since the upstream last confirmed it; never below zero."""
    return max(0.0, now_s - record.checked_s)


def stale_warning(upstream: str, cause: str, checked_s: float) -> str:
    """The sentence for the person who pulls: why it is stale, and since when (R52)."""
    return f"stale: {upstream}: {cause}; last confirmed {timestamp(checked_s)}"


def cause_of(plan: Plan, standing: Standing, error: UpstreamError | None) -> str:
    """Why a tag is served stale, as a clause: what its upstream did, or why it was not asked."""
    if error is not None:
        return error.reason
    if plan.act in (Act.ASK, Act.FETCH):
        return "has not answered in time"
    if plan.why is Why.THRIFT:
        return "its rate limit is used up but for what is not cached"
    since = "" if standing.since_s is None else f" since {timestamp(standing.since_s)}"
    return f"not asked{since}: {standing.reason or standing.circuit.value}"


def refusal(upstream: str, standing: Standing) -> UpstreamDown:
    """Why an upstream is not asked now, and when it will be."""
    retry_s = None if standing.retry_s is None else max(1, math.ceil(standing.retry_s))
    reason = standing.reason or standing.circuit.value
    if standing.circuit is not Circuit.OFFLINE:
        reason = f"not asked now: {reason}"
    return UpstreamDown(upstream, reason, standing.since_s, retry_s)


def timestamp(when_s: float) -> str:
    """RFC 3339, whole seconds, UTC."""
    return datetime.fromtimestamp(int(when_s), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
