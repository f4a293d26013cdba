"""What counts as slow: measured without what we hold back ourselves, and never without a way out."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.fill.slowness import (
    LAGS_BY,
    LAGS_LEFT_S,
    LOOK_S,
    SLOW_BYTES_S,
    SLOW_FOR_S,
    Meter,
    lags,
    too_slow,
)

looks = st.lists(st.tuples(st.integers(0, 200_000), st.booleans()), min_size=1, max_size=40)


@given(looks, st.sampled_from([0.0, 5.0, SLOW_FOR_S]))
def test_it_is_what_came_since_nothing_was_held_back(looked, for_s):
    meter = Meter(0.0, 0)
    came = [0, *accumulate(more for more, _ in looked)]
    begin = 0
    for nth, (_, held) in enumerate(looked, 1):
        begin = nth if held else begin
        meter.look(nth * LOOK_S, came[nth], held)
    last = len(looked)
    span = max(int(for_s / LOOK_S), 1)
    found = meter.bytes_s(for_s)
    if last - begin < span:
        assert found is None
    else:
        assert found == pytest.approx((came[last] - came[last - span]) / (span * LOOK_S))


@given(st.none() | st.floats(0, 1e9), st.booleans())
def test_a_slow_one_is_left_only_for_somewhere_else(bytes_s, elsewhere):
    slow = bytes_s is not None and bytes_s < SLOW_BYTES_S
    assert too_slow(bytes_s, elsewhere) == (slow and elsewhere)


@given(st.none() | st.floats(0, 1e8), st.lists(st.floats(0, 1e8), max_size=6), st.integers(0, 10**9))
def test_who_lags_is_far_behind_and_has_much_left(bytes_s, others, left):
    if not lags(bytes_s, others, left):
        return
    assert bytes_s is not None
    assert max(others) > LAGS_BY * bytes_s
    assert left > bytes_s * LAGS_LEFT_S
    assert lags(bytes_s / 2, others, left), "who is slower still lags too"
    assert not any(lags(other, [bytes_s], left) for other in others if other >= bytes_s)


@given(st.floats(1, 1e8), st.integers(1, 6), st.integers(1, 10**9))
def test_who_is_as_fast_as_the_others_does_not_lag(bytes_s, count, left):
    assert not lags(bytes_s, [bytes_s] * count, left)
    assert not lags(bytes_s, [], left), "alone"
