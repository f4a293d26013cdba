"""Who is cut: the client that could take more and does not; nobody for a slow upstream or a thin line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regproxy.http1.progress import Sight, is_stuck

LEAST = 120 * 1024
AMOUNTS = st.integers(0, 1 << 40)


def test_a_byte_a_second_is_too_little_and_a_thin_line_is_not() -> None:
    before = Sight(1_000_000, 2_000_000)
    assert is_stuck(before, Sight(1_000_120, 1_999_880), LEAST)
    assert not is_stuck(before, Sight(1_000_000 + 120 * 16 * 1024, 2_000_000), LEAST)


def test_who_took_all_that_there_was_is_not_judged_by_more() -> None:
    """The upstream gave a kilobyte in these two minutes."""
    assert not is_stuck(Sight(5000, 300), Sight(6000, 300), LEAST)
    assert is_stuck(Sight(5000, 300), Sight(5100, 1200), LEAST)


def test_off_still_means_that_something_must_be_taken() -> None:
    assert is_stuck(Sight(7, 10), Sight(7, 10), 0)
    assert not is_stuck(Sight(7, 10), Sight(8, 10), 0)


def test_where_nobody_knows_how_much_was_taken_a_change_will_do() -> None:
    assert is_stuck(Sight(None, 10), Sight(None, 10), LEAST)
    assert not is_stuck(Sight(None, 10), Sight(None, 9), LEAST)


@given(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, st.integers(0, 1 << 30))
def test_laws(taken: int, more: int, pending: int, pending_now: int, least: int) -> None:
    """Nobody who took what was asked for, or all that there was, is cut; nobody is cut for taking more."""
    before, now = Sight(taken, pending), Sight(taken + more, pending_now)
    found = is_stuck(before, now, least)
    if more >= max(1, least) or more >= pending or not pending_now:
        assert not found
    if found:
        assert all(is_stuck(before, Sight(taken + less, pending_now), least) for less in (0, more // 2, more))
        assert is_stuck(before, now, least + 1)
