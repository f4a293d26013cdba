"""When an upstream that failed is asked again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regproxy.fill.retries import MAX_FAILURES, retry_after_s


@given(st.floats(0, 1, exclude_max=True))
def test_asked_again_ever_later_and_not_for_ever(chance):
    waits = [retry_after_s(failures, chance) for failures in range(1, MAX_FAILURES + 1)]
    assert None not in waits
    assert all(0 < wait < 10 for wait in waits)
    assert waits == sorted(waits)
    assert retry_after_s(MAX_FAILURES + 1, chance) is None
