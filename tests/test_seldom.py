"""What is said seldom: at most so often in any period, and again when that is over."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from regproxy.seldom import MINUTE_S, Seldom

moments = st.lists(st.integers(0, 40), max_size=60).map(lambda waits: list(accumulate(waits)))


@given(moments, st.integers(1, 4))
def test_never_more_often_and_never_less(at_s: list[int], most: int) -> None:
    saying = Seldom(most, 60)
    said: list[int] = []
    for now_s in at_s:
        lately = [one for one in said if now_s - one < 60]
        assert saying.may(now_s) == (len(lately) < most)
        if len(lately) < most:
            said.append(now_s)


def test_once_a_minute_is_usual() -> None:
    saying = Seldom()
    found = [saying.may(now_s) for now_s in (0.0, 1.0, MINUTE_S - 1, MINUTE_S, MINUTE_S + 1)]
    assert found == [True, False, False, True, False]
