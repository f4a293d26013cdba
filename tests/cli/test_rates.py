"""Rates from looks at fills, on the daemon's own clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regproxy.cli.document import Document, read
from regproxy.cli.rates import MAX_LOOKS, Rates
from tests.cli.pages import full


def seen(uptime_s: float | None, *fronts: tuple[str, int, float]) -> Document:
    listed = [{"digest": name, "front_bytes": front, "age_s": age_s} for name, front, age_s in fronts]
    return read(full(daemon={"uptime_s": uptime_s}, fills={"listed": listed}))


def test_one_look_gives_the_mean_since_it_began() -> None:
    assert Rates().take(seen(100.0, ("a", 300, 3.0), ("b", 5, 0.0))) == {"a": 100.0, "b": 0.0}


def test_two_looks_give_what_came_between_them() -> None:
    rates = Rates()
    rates.take(seen(100.0, ("a", 1000, 1.0)))
    assert rates.take(seen(102.0, ("a", 1200, 3.0))) == {"a": 100.0}


def test_only_the_last_seconds_count() -> None:
    rates = Rates()
    for second in range(20):
        rates.take(seen(100.0 + second, ("a", 1000 * second, 1.0 + second)))
    for second in range(20, 26):
        found = rates.take(seen(100.0 + second, ("a", 19_000, 1.0 + second)))
    assert found == {"a": 0.0}


def test_a_fill_that_begins_anew_is_looked_at_anew() -> None:
    rates = Rates()
    rates.take(seen(100.0, ("a", 1000, 1.0)))
    assert rates.take(seen(101.0, ("a", 10, 2.0))) == {"a": 5.0}


def test_a_daemon_that_began_anew_is_too() -> None:
    rates = Rates()
    rates.take(seen(100.0, ("a", 10, 1.0)))
    assert rates.take(seen(1.0, ("a", 20, 1.0))) == {"a": 20.0}


def test_what_has_ended_is_forgotten() -> None:
    rates = Rates()
    rates.take(seen(100.0, ("a", 1000, 1.0)))
    assert rates.take(seen(101.0)) == {}
    assert rates.take(seen(102.0, ("a", 1200, 3.0))) == {"a": 400.0}


@given(st.lists(st.tuples(st.none() | st.floats(0, 1e9), st.integers(0, 2**62)), max_size=2 * MAX_LOOKS))
def test_no_rate_is_below_nothing(looks: list[tuple[float | None, int]]) -> None:
    rates = Rates()
    for uptime_s, front in looks:
        assert rates.take(seen(uptime_s, ("a", front, 1.0)))["a"] >= 0
