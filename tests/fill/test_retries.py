"""When an upstream that failed is asked again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import ContentMismatch, UpstreamUnreachable
from regproxy.fill.retries import MAX_FAILURES, piece_again_after_s, retry_after_s


@given(st.floats(0, 1, exclude_max=True))
def test_asked_again_ever_later_and_not_for_ever(chance):
    waits = [retry_after_s(failures, chance) for failures in range(1, MAX_FAILURES + 1)]
    assert None not in waits
    assert all(0 < wait < 10 for wait in waits)
    assert waits == sorted(waits)
    assert retry_after_s(MAX_FAILURES + 1, chance) is None


@given(st.integers(1, 20), st.floats(0, 1, exclude_max=True), st.booleans(), st.booleans())
def test_a_piece_is_asked_on_where_it_brought_something(failures, chance, brought, wrong):
    error = ContentMismatch("up", "wrong") if wrong else UpstreamUnreachable("up", "reset")
    wait_s = piece_again_after_s(error, brought, failures, chance)
    assert (wait_s is not None) == (brought and not wrong and failures <= MAX_FAILURES + 1)
    assert (wait_s == 0.0) == (wait_s is not None and failures == 1)
