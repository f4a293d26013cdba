"""The account of a rate limit (R91, P4): pure."""

from __future__ import annotations

import math
from itertools import pairwise

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.headers.ratelimits import MAX_COUNT, MAX_WINDOW_S, LimitReport
from regproxy.interfaces import Thrift
from regproxy.upstream.ledger import BELIEVED_S, Ledger, reported, spent, thrift

HOUR_S = 3600.0
WINDOW_S = 6 * HOUR_S


def hub(remaining: int, limit: int = 100) -> LimitReport:
    return LimitReport(limit, remaining, int(WINDOW_S))


def after(*remaining: int) -> Ledger:
    ledger = Ledger()
    for at, each in enumerate(remaining):
        ledger = reported(ledger, hub(each), float(at))
    return ledger


def test_who_says_nothing_of_a_limit_is_asked_freely() -> None:
    assert thrift(Ledger(), 0.0) is Thrift.FREE
    used = Ledger()
    for _ in range(1000):
        used = spent(used, 1.0)
    assert thrift(used, 1.0) is Thrift.FREE
    assert used.hours_left(1.0) is None


@pytest.mark.parametrize(
    ("remaining", "expected"),
    [
        ([100], Thrift.FREE),
        ([50], Thrift.FREE),
        ([49], Thrift.LONGER),
        ([10], Thrift.LONGER),
        ([9], Thrift.STALE),
        ([1], Thrift.STALE),
        ([0], Thrift.EMPTY),
        ([49, 50], Thrift.LONGER),
        ([49, 54], Thrift.LONGER),
        ([49, 55], Thrift.FREE),
        ([9, 14], Thrift.STALE),
        ([9, 15], Thrift.LONGER),
        ([0, 1], Thrift.STALE),
        ([0, 100], Thrift.FREE),
    ],
)
def test_the_less_is_left_the_more_sparing(remaining: list[int], expected: Thrift) -> None:
    """Each is left later than it was entered."""
    assert thrift(after(*remaining), 5.0) is expected


def test_our_own_requests_count_between_two_reports() -> None:
    ledger = after(12)
    assert thrift(ledger, 1.0) is Thrift.LONGER
    for _ in range(3):
        ledger = spent(ledger, 1.0)
    assert (ledger.left(1.0), thrift(ledger, 1.0)) == (9, Thrift.STALE)
    ledger = reported(ledger, hub(8), 2.0, under_way=1)
    assert ledger.left(2.0) == 7


def test_a_window_rolls_by_its_length() -> None:
    """It began when there was last more than before, at the earliest: whoever used something since, it
    ends then. Afterwards nothing is known to be used."""
    ledger = reported(Ledger(), hub(9), 0.0)
    ledger = reported(ledger, hub(3), HOUR_S)
    assert thrift(ledger, WINDOW_S - 1) is Thrift.STALE
    assert thrift(ledger, WINDOW_S) is Thrift.FREE
    rolled = reported(ledger, hub(90), 2 * HOUR_S)
    assert rolled.resets_s == 2 * HOUR_S + WINDOW_S


def test_answers_that_overtake_each_other_roll_nothing() -> None:
    ledger = reported(Ledger(), hub(50), 0.0)
    ledger = reported(ledger, hub(48), HOUR_S)
    ledger = reported(ledger, hub(49), HOUR_S + 1)
    assert ledger.resets_s == WINDOW_S


def test_an_end_that_is_told_is_believed() -> None:
    ledger = reported(Ledger(), LimitReport(100, 5, None, 90), 10.0)
    assert thrift(ledger, 99.0) is Thrift.STALE
    assert thrift(ledger, 100.0) is Thrift.FREE


def test_without_a_window_it_is_not_believed_for_ever() -> None:
    ledger = reported(Ledger(), LimitReport(100, 5), 0.0)
    assert thrift(ledger, BELIEVED_S - 1) is Thrift.STALE
    assert thrift(ledger, BELIEVED_S) is Thrift.FREE


def test_another_account_begins_anew() -> None:
    """An address that changes, or an account that was logged in to since."""
    first = reported(Ledger(), attrs.evolve(hub(10), source="a"), 0.0)
    second = reported(first, attrs.evolve(hub(9), source="b"), HOUR_S)
    assert second.resets_s == HOUR_S + WINDOW_S
    assert second.opened_s == HOUR_S


def test_hours_left_at_the_present_rate() -> None:
    """Those that others use count too; infinite where nothing is used; never by some seconds alone."""
    ledger = reported(Ledger(), hub(100), 0.0)
    assert ledger.hours_left(0.0) == math.inf
    ledger = reported(ledger, hub(80), 2 * HOUR_S)
    assert ledger.per_hour(2 * HOUR_S) == 10.0
    assert ledger.hours_left(2 * HOUR_S) == 8.0
    sudden = reported(reported(Ledger(), hub(100), 0.0), hub(99), 1.0)
    assert sudden.per_hour(1.0) == 6.0


_REPORTS = st.builds(
    LimitReport,
    limit=st.none() | st.integers(1, MAX_COUNT),
    remaining=st.none() | st.integers(0, MAX_COUNT),
    window_s=st.none() | st.integers(1, MAX_WINDOW_S),
    reset_s=st.none() | st.integers(0, MAX_WINDOW_S),
    source=st.none() | st.sampled_from("ab"),
)


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 1e6), st.none() | _REPORTS, st.integers(0, 9)), min_size=1, max_size=20
    ),
    later_s=st.floats(0, 1e6),
)
def test_whatever_is_reported(steps: list[tuple[float, LimitReport | None, int]], later_s: float) -> None:
    """Never less than none; never believed for longer than a month; the rate is no negative number."""
    ledger, now_s = Ledger(), 0.0
    for wait_s, report, under_way in steps:
        now_s += wait_s
        ledger = spent(ledger, now_s) if report is None else reported(ledger, report, now_s, under_way)
    now_s += later_s
    left, hours = ledger.left(now_s), ledger.hours_left(now_s)
    assert left is None or 0 <= left <= MAX_COUNT
    assert hours is None or hours >= 0.0
    assert (thrift(ledger, now_s) is Thrift.EMPTY) == (left == 0)
    assert thrift(ledger, now_s + MAX_WINDOW_S + 1) is Thrift.FREE


@given(limit=st.integers(1, 10_000), shares=st.lists(st.floats(0, 1), min_size=1), used=st.floats(0, 1))
def test_less_is_never_treated_as_more(limit: int, shares: list[float], used: float) -> None:
    """From the same account: the less is left, the more sparing."""
    ledger = Ledger()
    for at, share in enumerate(shares):
        ledger = reported(ledger, hub(int(share * limit), limit), float(at))
    now_s = float(len(shares))
    less = reported(ledger, hub(int(used * (ledger.remaining or 0)), limit), now_s)
    assert thrift(less, now_s) >= thrift(ledger, now_s)


@given(
    limit=st.integers(100, 10_000),
    around=st.sampled_from([0.5, 0.1]),
    steps=st.lists(st.integers(-1, 1), max_size=60),
)
def test_it_does_not_flap(limit: int, around: float, steps: list[int]) -> None:
    """Where it goes up and down by less than a twentieth of the limit, it changes once at most."""
    ledger, seen, remaining = Ledger(), [], int(around * limit)
    middle, reach = remaining, max(1, limit // 50)
    for at, step in enumerate(steps):
        remaining = min(middle + reach, max(middle - reach, remaining + step * reach))
        ledger = reported(ledger, hub(remaining, limit), float(at))
        seen.append(ledger.level)
    changes = sum(before is not now for before, now in pairwise(seen))
    assert changes <= 1
