"""The table of entries, and how many there are of each type."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regproxy.expiry.entries import TYPES, Entries, Entry

KEYS = st.sampled_from([f"docker.io/app@{number}" for number in range(6)])
STEPS = st.one_of(
    st.tuples(st.just("put"), KEYS, st.sampled_from(TYPES)),
    st.tuples(st.just("pop"), KEYS, st.none()),
    st.tuples(st.just("retype"), KEYS, st.sampled_from(TYPES)),
)


@given(st.lists(STEPS, max_size=60))
def test_what_is_counted_is_what_is_there(steps: list[tuple[str, str, str | None]]) -> None:
    entries = Entries()
    for step, key, kind in steps:
        entry = entries.get(key)
        if step == "put" and kind is not None:
            entries.put(key, Entry(kind, 0.0))
        elif step == "pop":
            assert entries.pop(key) is entry
        elif kind is not None and entry is not None:
            entries.retype(entry, kind)
    there = [entry.type for key in entries if (entry := entries.get(key)) is not None]
    assert {kind: entries.count(kind) for kind in TYPES} == {kind: there.count(kind) for kind in TYPES}
    assert len(entries) == len(there)
