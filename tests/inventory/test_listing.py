"""Pages of a list that changes between them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regproxy.inventory.ahead import KEPT_S, Ahead
from regproxy.inventory.images import EVERYTHING, Row, Wanted
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


@given(ROWS, st.sampled_from(sorted(SORTS)), st.integers(1, 7), st.integers(1, 12), st.floats(0, 40))
def test_what_was_worked_out_ahead_is_the_same_list(
    rows: list[Row], sort: str, count: int, ahead: int, pause_s: float
) -> None:
    """However many are, and whether or not they are too old by then."""
    place, kept = SORTS[sort], Ahead()
    told: list[Row] = []
    after: Place | None = None
    now_s = 0.0
    for _ in range(40):
        found = kept.take(EVERYTHING, sort, after, count, now_s)
        if found is None:
            looked = page(rows, place, after, max(ahead, count), max(ahead, count))
            found = kept.keep(EVERYTHING, sort, looked, count, now_s)
        told += found.found
        assert len(found.found) <= count
        after, now_s = found.more, now_s + pause_s
        if after is None:
            break
    assert told == sorted(rows, key=place)


def test_only_the_next_pages_of_the_same_list_are_at_hand() -> None:
    rows = [Row("docker.io/a/b", str(n), None, 0, 0.0, 0, 0, False, 0) for n in range(10, 20)]
    kept = Ahead()
    first = kept.keep(EVERYTHING, "name", page(rows, SORTS["name"], None, 8), 2, 0.0)
    assert [row.tag for row in first.found] == ["10", "11"]
    assert kept.take(EVERYTHING, "name", None, 2, 1.0) is None, "the first page is new"
    assert kept.take(EVERYTHING, "size", first.more, 2, 1.0) is None
    assert kept.take(Wanted(digest="sha256:1"), "name", first.more, 2, 1.0) is None
    assert kept.take(EVERYTHING, "name", (0.0, ""), 2, 1.0) is None, "what is before it is not there"
    assert kept.take(EVERYTHING, "name", first.more, 2, KEPT_S + 1) is None
    second = kept.take(EVERYTHING, "name", first.more, 5, 1.0)
    assert second is not None
    assert [row.tag for row in second.found] == ["12", "13", "14", "15", "16"]
    assert kept.take(EVERYTHING, "name", second.more, 5, 1.0) is None, "of five only one is known"
    assert kept.take(EVERYTHING, "name", second.more, 1, 1.0) is not None
    assert repr(kept) == "<Ahead 0 rows>", "let go of with the last one"
