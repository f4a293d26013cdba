"""Pages of a list that changes between them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regproxy.inventory.images import Row
from regproxy.inventory.listing import MAX_COUNT, SORTS, Place, page

NUMBERS = st.integers(0, 5)
ROWS = st.lists(
    st.builds(
        Row,
        st.just("docker.io/a/b"),
        st.text("ab", min_size=1, max_size=4),
        st.none(),
        NUMBERS,
        NUMBERS.map(float),
        NUMBERS,
        NUMBERS,
        st.booleans(),
        NUMBERS,
    ),
    unique_by=lambda row: row.key,
    max_size=30,
)


@given(ROWS, st.sampled_from(sorted(SORTS)), st.integers(1, 7))
def test_the_pages_together_are_the_sorted_list(rows: list[Row], sort: str, count: int) -> None:
    place = SORTS[sort]
    told: list[Row] = []
    after: Place | None = None
    for _ in range(40):
        found = page(rows, place, after, count)
        told += found.found
        assert len(found.found) <= count
        after = found.more
        if after is None:
            break
    assert told == sorted(rows, key=place)


@given(ROWS, ROWS, st.integers(1, 7))
def test_what_comes_and_goes_between_pages_repeats_nothing(
    rows: list[Row], later: list[Row], count: int
) -> None:
    first = page(rows, SORTS["name"], None, count)
    if first.more is None:
        return
    second = page(later, SORTS["name"], first.more, MAX_COUNT)
    told = {row.key for row in first.found}
    assert not told & {row.key for row in second.found}
    assert {row.key for row in later if row.key > max(told)} == {row.key for row in second.found}


def test_a_page_is_bounded_and_sorted_by_the_most() -> None:
    rows = [Row("docker.io/a/b", str(n), None, n, float(n), n, n, False, 0) for n in range(1500)]
    for sort in ("size", "used", "pulls", "bytes"):
        found = page(iter(rows), SORTS[sort], None, 10**9)
        assert [row.pulls for row in found.found] == list(range(1499, 999, -1))
        assert found.more is not None
