"""How far a reader may go, and whom an error concerns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import Denied, NotFound, Throttled, UpstreamTimeout, UpstreamUnreachable
from regproxy.fill.plan import HOLD_BACK_BYTES, Concerns, concerns, covers_whole, readable_limit

sizes = st.integers(0, 10 * HOLD_BACK_BYTES)


@given(size=sizes, data=st.data())
def test_a_whole_answer_keeps_its_end_back_until_verified(size, data):
    front = data.draw(st.integers(0, size))
    limit = readable_limit(front, size, whole=True, verified=False)
    assert 0 <= limit <= front
    assert size - limit >= min(size, HOLD_BACK_BYTES)


@given(front=sizes)
def test_with_no_size_known_the_hold_back_moves_with_the_front(front):
    assert readable_limit(front, None, whole=True, verified=False) == max(0, front - HOLD_BACK_BYTES)


@given(size=sizes, whole=st.booleans())
def test_verified_bytes_all_go_out(size, whole):
    assert readable_limit(size, size, whole, verified=True) == size


@given(size=sizes, front=sizes)
def test_a_partial_answer_gets_what_has_landed(size, front):
    assert readable_limit(front, size, whole=False, verified=False) == front


@pytest.mark.parametrize(
    ("start", "stop", "size", "whole"),
    [(0, None, 10, True), (0, 10, 10, True), (0, None, None, True), (1, None, 10, False), (0, 9, 10, False)],
)
def test_a_range_of_everything_counts_as_the_whole(start, stop, size, whole):
    assert covers_whole(start, stop, size) is whole


@pytest.mark.parametrize("error", [NotFound("u", "404"), Denied("u", "403"), Throttled("u", "429")])
@pytest.mark.parametrize("proven", [True, False])
def test_an_answer_concerns_its_repository(error, proven):
    assert concerns(error, proven) is Concerns.ITS_REPOSITORY


@pytest.mark.parametrize("error", [UpstreamUnreachable("u", "refused"), UpstreamTimeout("u", "slow")])
def test_trouble_concerns_only_those_without_a_proof(error):
    assert concerns(error, proven=False) is Concerns.ITS_REPOSITORY
    assert concerns(error, proven=True) is Concerns.NOBODY_YET
