"""What is done about a tag, and what follows from an answer: decisions, and what always holds of them."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import (
    Denied,
    NotFound,
    Throttled,
    UpstreamDown,
    UpstreamError,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from regproxy.interfaces import Allowance, Circuit, Standing, TagRecord, Thrift
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor
from regproxy.proxy.freshness import (
    STRETCH,
    Act,
    Outcome,
    Plan,
    Then,
    Why,
    age_s,
    cause_of,
    decide,
    follow,
    is_fresh,
    may_serve,
    outcome_of,
    refusal,
    stale_warning,
)
from regproxy.settings import TagRule

DESCRIPTOR = Descriptor(Digest.of(b"x"), 1, "application/vnd.oci.image.manifest.v1+json")
RULE = TagRule("*", fresh_s=60, grace_s=300, revalidate_wait_s=2, stale_if_error_s=3600)
UP, DOWN = Standing(), Standing(Circuit.OPEN, 1000.0, "connection refused", 7.2)
FREE = Allowance()

times = st.floats(0, 4e9, allow_nan=False)
spans = st.floats(0, 1e7, allow_nan=False)
standings = st.sampled_from([Standing(circuit) for circuit in Circuit])
allowances = st.sampled_from([Allowance(thrift) for thrift in Thrift])


@st.composite
def rules(draw: st.DrawFn) -> TagRule:
    """Rules that the settings let pass: no longer in grace than it may be stale."""
    stale_s = draw(spans)
    return TagRule(
        "*",
        draw(spans),
        draw(st.floats(0, 100)),
        stale_s,
        draw(st.floats(0, stale_s)),
        draw(st.booleans()) and stale_s > 0,
        draw(st.booleans()) and stale_s > 0,
    )


@st.composite
def ages(draw: st.DrawFn, rule: TagRule) -> float:
    """How old a record is: at the edges of its rule more often than not."""
    fresh_s, stale_s = rule.fresh_s, rule.fresh_s + rule.stale_if_error_s
    edges = (
        0.0,
        fresh_s,
        fresh_s + rule.grace_s,
        STRETCH * fresh_s,
        STRETCH * fresh_s + rule.grace_s,
        stale_s,
    )
    near = st.sampled_from([*edges, *(-edge for edge in edges)])
    return draw(st.builds(float.__add__, near, st.floats(-10, 10)) | st.floats(-1e8, 1e8))


@st.composite
def cases(draw: st.DrawFn) -> tuple[TagRecord, TagRule, float]:
    """What is known of a tag, its rule, and the time."""
    rule = draw(rules())
    checked_s = draw(st.floats(1e9, 2e9))
    return record(checked_s), rule, checked_s + draw(ages(rule))


def record(checked_s: float) -> TagRecord:
    return TagRecord(DESCRIPTOR, None, checked_s)


SERVED = (Act.SERVE, Act.REFRESH, Act.STALE)
ASKED = (Act.REFRESH, Act.ASK, Act.FETCH)


class TestDecided:
    """A record of 1000, under RULE, by its age."""

    @pytest.mark.parametrize(
        ("age", "act", "why"),
        [
            (0, Act.SERVE, Why.FRESH),
            (59.9, Act.SERVE, Why.FRESH),
            (60, Act.REFRESH, Why.GRACE),
            (359.9, Act.REFRESH, Why.GRACE),
            (360, Act.ASK, Why.EXPIRED),
            (3660, Act.ASK, Why.EXPIRED),
            (3661, Act.FETCH, Why.TOO_OLD),
            (-1, Act.ASK, Why.EXPIRED),
            (-4000, Act.FETCH, Why.TOO_OLD),
        ],
    )
    def test_by_age(self, age: float, act: Act, why: Why) -> None:
        found = decide(record(5000), RULE, UP, FREE, 5000 + age)
        assert (found.act, found.why, found.rule) == (act, why, RULE)
        assert found.wait_s == (2 if act is Act.ASK else None)

    @pytest.mark.parametrize("circuit", [Circuit.OPEN, Circuit.HALF_OPEN, Circuit.OFFLINE])
    @pytest.mark.parametrize(
        ("age", "act"),
        [(0, Act.SERVE), (60, Act.SERVE), (360, Act.STALE), (3660, Act.STALE), (3661, Act.REFUSE)],
    )
    def test_an_upstream_that_is_down_is_not_asked(self, circuit: Circuit, age: float, act: Act) -> None:
        assert decide(record(1000), RULE, Standing(circuit), FREE, 1000 + age).act is act

    @pytest.mark.parametrize(
        ("thrift", "age", "act", "why"),
        [
            (Thrift.LONGER, 599, Act.SERVE, Why.SPARED),
            (Thrift.LONGER, 600, Act.REFRESH, Why.GRACE),
            (Thrift.LONGER, 900, Act.ASK, Why.EXPIRED),
            (Thrift.STALE, 599, Act.SERVE, Why.SPARED),
            (Thrift.STALE, 600, Act.SERVE, Why.GRACE),
            (Thrift.STALE, 900, Act.STALE, Why.THRIFT),
            (Thrift.STALE, 3661, Act.FETCH, Why.TOO_OLD),
            (Thrift.EMPTY, 900, Act.STALE, Why.THRIFT),
            (Thrift.EMPTY, 3661, Act.FETCH, Why.TOO_OLD),
        ],
    )
    def test_a_rate_limit_that_runs_low_is_kept_for_what_is_not_cached(
        self, thrift: Thrift, age: float, act: Act, why: Why
    ) -> None:
        found = decide(record(1000), RULE, UP, Allowance(thrift), 1000 + age)
        assert (found.act, found.why) == (act, why)

    def test_without_a_record(self) -> None:
        assert decide(None, RULE, UP, FREE, 5.0) == Plan(Act.FETCH, Why.UNKNOWN, RULE)
        assert decide(None, RULE, UP, Allowance(Thrift.EMPTY), 5.0).act is Act.FETCH
        assert decide(None, RULE, DOWN, FREE, 5.0) == Plan(Act.REFUSE, Why.UNKNOWN, RULE)

    def test_without_the_manifest_a_fresh_one_is_believed_and_an_expired_one_is_no_fallback(self) -> None:
        assert decide(record(1000), RULE, UP, FREE, 1001, servable=False).act is Act.SERVE
        found = decide(record(1000), RULE, UP, FREE, 2000, servable=False)
        assert (found.act, found.why) == (Act.FETCH, Why.NOT_HELD)
        assert decide(record(1000), RULE, DOWN, FREE, 2000, servable=False).act is Act.REFUSE

    def test_of_before_a_revocation_it_is_nothing(self) -> None:
        found = decide(record(1000), RULE, UP, FREE, 1001, void=True)
        assert (found.act, found.why) == (Act.FETCH, Why.VOID)
        assert decide(record(1000), RULE, DOWN, FREE, 1001, void=True).act is Act.REFUSE

    def test_a_client_may_want_it_confirmed(self) -> None:
        found = decide(record(1000), RULE, UP, FREE, 1001, forced=True)
        assert found == Plan(Act.ASK, Why.FORCED, RULE, 2)
        assert decide(record(1000), RULE, UP, FREE, 1001, forced=True, servable=False).act is Act.FETCH

    def test_where_nobody_can_confirm_it_the_client_is_told(self) -> None:
        assert decide(record(1000), RULE, DOWN, FREE, 1001, forced=True) == Plan(Act.STALE, Why.DOWN, RULE)
        spared = decide(record(1000), RULE, UP, Allowance(Thrift.STALE), 1001, forced=True)
        assert (spared.act, spared.why) == (Act.STALE, Why.THRIFT)

    def test_wanting_it_confirmed_never_gets_less(self) -> None:
        found = decide(record(1000), RULE, DOWN, FREE, 1001, forced=True, servable=False)
        assert found.act is Act.SERVE


class TestAlways:
    @given(cases(), standings, allowances, st.booleans(), st.booleans(), st.booleans())
    def test_never_served_beyond_its_age(self, case, standing, allowance, forced, servable, void) -> None:
        known, rule, now = case
        plan = decide(known, rule, standing, allowance, now, forced=forced, servable=servable, void=void)
        if plan.act in SERVED or plan.act is Act.ASK:
            assert not void
            assert abs(now - known.checked_s) <= rule.fresh_s + rule.stale_if_error_s
        if plan.act in (Act.STALE, Act.ASK):
            assert servable
        if plan.act in (Act.SERVE, Act.REFRESH):
            assert known.checked_s <= now, "what is of the future is asked about"

    @given(cases(), standings, allowances, st.booleans(), st.booleans(), st.booleans())
    def test_nobody_waits_for_who_is_not_asked(
        self, case, standing, allowance, forced, servable, void
    ) -> None:
        known, rule, now = case
        plan = decide(known, rule, standing, allowance, now, forced=forced, servable=servable, void=void)
        if standing.circuit is not Circuit.CLOSED:
            assert plan.act not in ASKED
        else:
            assert plan.act is not Act.REFUSE
            assert plan.act in (Act.SERVE, Act.STALE, Act.FETCH) or allowance.thrift < Thrift.STALE
        assert (plan.wait_s is not None) == (plan.act is Act.ASK)

    @given(cases(), allowances, standings)
    def test_fresh_asks_nobody_whatever_stands(self, case, allowance, standing) -> None:
        known, rule, now = case
        assert is_fresh(known, rule, now) == (0 <= now - known.checked_s < rule.fresh_s)
        if is_fresh(known, rule, now):
            assert decide(known, rule, standing, allowance, now).act is Act.SERVE

    @given(cases(), standings, allowances, spans)
    def test_it_only_gets_older(self, case, standing, allowance, more) -> None:
        """What was given up, for want of youth, is not taken up again as time goes on."""
        order = [Act.SERVE, Act.REFRESH, Act.ASK, Act.STALE, Act.FETCH, Act.REFUSE]
        known, rule, now = case
        now = max(now, known.checked_s)
        first, second = (decide(known, rule, standing, allowance, moment) for moment in (now, now + more))
        assert order.index(first.act) <= order.index(second.act)

    @given(cases())
    def test_grace_comes_behind_fresh_and_only_there(self, case) -> None:
        known, rule, now = case
        act, age = decide(known, rule, UP, FREE, now).act, now - known.checked_s
        assert (act is Act.SERVE) == (0 <= age < rule.fresh_s)
        assert (act is Act.REFRESH) == (rule.fresh_s <= age < rule.fresh_s + rule.grace_s)

    @given(cases())
    def test_the_more_sparing_the_fewer_questions(self, case) -> None:
        known, rule, now = case
        asks = [decide(known, rule, UP, Allowance(thrift), now).act in ASKED for thrift in Thrift]
        assert asks == sorted(asks, reverse=True)

    @given(cases())
    def test_sparing_stretches_fresh_tenfold_at_most(self, case) -> None:
        known, rule, now = case
        plan = decide(known, rule, UP, Allowance(Thrift.LONGER), now)
        longest = min(STRETCH * rule.fresh_s, rule.fresh_s + rule.stale_if_error_s)
        assert plan.act is not Act.SERVE or now - known.checked_s <= longest

    @given(st.sampled_from(Outcome), rules(), st.booleans(), st.booleans())
    def test_what_was_refused_is_served_only_where_an_operator_wrote_it(
        self, outcome, rule, servable, pinned
    ) -> None:
        found = follow(outcome, rule, servable=servable, pinned=pinned)
        if found.then is Then.STALE:
            assert servable
            assert outcome is not Outcome.DENIED or rule.serve_denied
            assert outcome is not Outcome.MISSING or rule.keep_missing or pinned
            assert not found.forget
            assert not found.revoke
        assert found.revoke == (outcome is Outcome.DENIED and not rule.serve_denied)
        assert not found.forget or (outcome is Outcome.MISSING and not pinned)


class TestFollowed:
    @pytest.mark.parametrize("outcome", [Outcome.TROUBLE, Outcome.THROTTLED])
    def test_trouble_serves_what_is_cached(self, outcome: Outcome) -> None:
        assert follow(outcome, RULE, servable=True).then is Then.STALE
        assert follow(outcome, RULE, servable=False).then is Then.ERROR

    @pytest.mark.parametrize("outcome", [Outcome.SAME, Outcome.CHANGED])
    def test_an_answer_is_given(self, outcome: Outcome) -> None:
        assert follow(outcome, RULE, servable=True).then is Then.ANSWER

    def test_no_answer_in_time(self) -> None:
        assert follow(Outcome.LATE, RULE, servable=True).then is Then.STALE
        assert follow(Outcome.LATE, RULE, servable=False).then is Then.WAIT

    def test_a_tag_that_is_gone(self) -> None:
        keeping = attrs.evolve(RULE, keep_missing=True)
        dropped = follow(Outcome.MISSING, RULE, servable=True)
        assert (dropped.then, dropped.forget) == (Then.ERROR, True)
        assert follow(Outcome.MISSING, keeping, servable=True).then is Then.STALE
        assert follow(Outcome.MISSING, keeping, servable=False) == dropped, "kept too long already"

    def test_a_tag_that_is_denied(self) -> None:
        serving = attrs.evolve(RULE, serve_denied=True)
        revoked = follow(Outcome.DENIED, RULE, servable=True)
        assert (revoked.then, revoked.revoke) == (Then.ERROR, True)
        assert follow(Outcome.DENIED, serving, servable=True).then is Then.STALE
        assert follow(Outcome.DENIED, serving, servable=False).then is Then.ERROR

    @pytest.mark.parametrize(
        ("error", "outcome"),
        [
            (None, Outcome.LATE),
            (NotFound("u", "404"), Outcome.MISSING),
            (Denied("u", "403"), Outcome.DENIED),
            (Throttled("u", "429"), Outcome.THROTTLED),
            (UpstreamUnreachable("u", "x"), Outcome.TROUBLE),
            (UpstreamTimeout("u", "x"), Outcome.TROUBLE),
            (UpstreamFailed("u", "x"), Outcome.TROUBLE),
            (UpstreamRefused("u", "x"), Outcome.TROUBLE),
            (UpstreamDown("u", "x"), Outcome.TROUBLE),
        ],
    )
    def test_the_kind_of_a_failure(self, error: UpstreamError | None, outcome: Outcome) -> None:
        assert outcome_of(error) is outcome


@given(times, times)
def test_an_age_is_never_negative(checked: float, now: float) -> None:
    assert age_s(record(checked), now) >= 0


def test_a_record_of_the_far_future_is_not_served_stale_for_ever() -> None:
    assert may_serve(record(5000), RULE, 1400)
    assert not may_serve(record(5000), RULE, 1300)


class TestTold:
    def test_the_warning_names_upstream_reason_and_time(self) -> None:
        text = stale_warning("docker.io", "connection refused", 1_795_500_000)
        assert text == "stale: docker.io: connection refused; last confirmed 2026-11-24T06:00:00Z"

    def test_the_cause(self) -> None:
        asked = Plan(Act.ASK, Why.EXPIRED, RULE, 2)
        assert cause_of(asked, UP, UpstreamFailed("u", "it answered 500")) == "it answered 500"
        assert cause_of(asked, UP, None) == "has not answered in time"
        assert "rate limit" in cause_of(Plan(Act.STALE, Why.THRIFT, RULE), UP, None)
        down = Plan(Act.STALE, Why.DOWN, RULE)
        assert cause_of(down, DOWN, None) == "not asked since 1970-01-01T00:16:40Z: connection refused"
        offline = Standing(Circuit.OFFLINE)
        assert cause_of(down, offline, None) == f"not asked: {Circuit.OFFLINE.value}"

    def test_a_refusal_says_why_since_when_and_for_how_long(self) -> None:
        error = refusal("docker.io", DOWN)
        assert (error.reason, error.since_s, error.retry_after_s) == (
            "not asked now: connection refused",
            1000.0,
            8,
        )
        assert refusal("docker.io", Standing(Circuit.OFFLINE)).retry_after_s is None
