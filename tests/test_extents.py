"""Intervals of offsets, held against a set of numbers."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from regproxy.extents import Extents

SIZE = 30
spans = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE))
changes = st.lists(st.tuples(st.sampled_from(["add", "remove"]), spans), max_size=12)


@given(changes, st.integers(0, SIZE))
def test_it_is_a_set_of_offsets(changed: list[tuple[str, tuple[int, int]]], offset: int) -> None:
    extents, model = Extents(), set[int]()
    for what, (start, stop) in changed:
        getattr(extents, what)(start, stop)
        model = model | set(range(start, stop)) if what == "add" else model - set(range(start, stop))
    found = list(extents)
    assert {each for start, stop in found for each in range(start, stop)} == model
    assert all(start < stop for start, stop in found)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(found)), "as few as possible"
    assert extents.total == len(model)
    assert bool(extents) == bool(model)
    assert extents.first == (found[0] if found else None)
    end = offset
    while end in model:
        end += 1
    assert extents.reach(offset) == end
    assert list(Extents(found)) == found
