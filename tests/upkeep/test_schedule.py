"""The schedule: no blob is unhashed for longer than the period, whatever comes and goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regproxy.upkeep.schedule import LEAST_BYTES_S, MOST_BYTES_S, Period, place, rest_s

DAY_S = 86_400.0
HEX = st.text("0123456789abcdef", min_size=12, max_size=64)
PERIODS = st.floats(3600.0, 3650 * DAY_S).map(Period)
SHARES = st.floats(0, 1)


@given(HEX, HEX)
def test_places_are_in_the_order_of_the_digits(one: str, other: str) -> None:
    assert 0 <= place(one) < 1
    assert (place(one) <= place(other)) or one > other


def test_the_first_and_the_last_place() -> None:
    assert (place(""), place("0" * 64), place("8" + "0" * 63)) == (0.0, 0.0, 0.5)
    assert place("f" * 128) > 0.999999


@given(PERIODS, HEX, st.floats(0, 3, exclude_min=True))
def test_no_blob_is_unhashed_for_longer_than_the_period(period: Period, digits: str, came: float) -> None:
    """It comes at any moment; at each of its turns it is hashed, unless it is young."""
    began_s = 1e9
    came_s = began_s + came * period.pass_s
    verified_s = came_s
    for number in range(8):
        turn_s = period.due_s(began_s + number * period.pass_s, digits)
        if turn_s >= came_s and not period.may_wait(verified_s, turn_s):
            assert turn_s - verified_s <= period.every_s * (1 + 1e-9)
            verified_s = turn_s
    assert verified_s > came_s


@given(PERIODS, HEX, SHARES)
def test_what_is_new_waits_for_the_next_pass(period: Period, digits: str, age: float) -> None:
    turn_s = period.due_s(1e9, digits)
    verified_s = turn_s - age * (period.every_s - period.pass_s) * 0.99
    assert period.may_wait(verified_s, turn_s)
    assert not period.may_wait(turn_s + 1, turn_s), "its time is in the future: nobody can trust it"


@given(PERIODS, SHARES, st.floats(0, 5))
def test_the_next_pass_keeps_its_place_in_time(period: Period, began: float, late: float) -> None:
    """A pass that took too long does not put off those after it, unless a whole one was missed."""
    began_s = 1e9 + began
    now_s = began_s + (1 + late) * period.pass_s
    next_s = period.next_s(began_s, now_s)
    assert next_s <= now_s
    assert next_s == (began_s + period.pass_s) or (late >= 0.999 and next_s == now_s)


@given(PERIODS, HEX, st.integers(-1_000_000, 1_000_000))
def test_a_clock_that_was_set_back_does_not_stop_it(period: Period, cursor: str, off_s: int) -> None:
    """It has then just come to where it is."""
    now_s = 1e9
    began_s = period.began_s(now_s + off_s, cursor, now_s)
    assert began_s <= now_s
    if off_s > 0:
        assert abs(period.due_s(began_s, cursor) - now_s) < 1
        assert period.late_s(began_s, cursor, now_s) < 1


@given(PERIODS, st.integers(0, 1 << 50), st.floats(0, 1e9))
def test_the_pace_is_enough_and_bounded(period: Period, held_bytes: int, late_s: float) -> None:
    """A pass at that pace takes half of its time at most, as far as a disk gives it."""
    pace = period.pace_bytes_s(held_bytes, late_s)
    assert LEAST_BYTES_S <= pace <= MOST_BYTES_S
    assert pace >= period.pace_bytes_s(held_bytes, 0)
    assert held_bytes / pace <= period.pass_s / 2 * (1 + 1e-9) or pace == MOST_BYTES_S


@given(st.integers(1, 1 << 22), st.floats(-1, 100), st.floats(LEAST_BYTES_S, MOST_BYTES_S))
def test_rests_keep_the_pace(read_bytes: int, took_s: float, bytes_s: float) -> None:
    rest = rest_s(read_bytes, took_s, bytes_s)
    assert rest >= 0
    assert rest + max(0.0, took_s) >= read_bytes / bytes_s * (1 - 1e-9)
    assert rest <= read_bytes / bytes_s


def test_a_pass_that_is_late_goes_on_whatever_else_there_is() -> None:
    period = Period(30 * DAY_S)
    assert period.pass_s == 24 * DAY_S
    assert not period.too_late(2 * DAY_S)
    assert period.too_late(3 * DAY_S)
