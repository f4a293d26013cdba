"""Our own families are what the library's would be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from regproxy.metrics.families import Counts, Times

BOUNDS = (0.01, 0.1, 1.0, 10.0)
NAMES = st.sampled_from(["a", 'b"', "c\n", "d\\"])
SECONDS = st.one_of(st.sampled_from(BOUNDS), st.floats(0, 100, allow_nan=False))


def written(registry: CollectorRegistry) -> list[str]:
    """Its lines, without those about when series began, which ours have not."""
    lines = generate_latest(registry).decode().splitlines()
    return sorted(line for line in lines if "_created" not in line)


@given(st.lists(st.tuples(NAMES, SECONDS), max_size=30))
def test_histograms(observed: list[tuple[str, float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    times = Times("x_seconds", "X.", ("name",), BOUNDS, [("a",)])
    ours.register(times)
    histogram = Histogram("x_seconds", "X.", ("name",), buckets=BOUNDS, registry=theirs)
    histogram.labels("a")
    for name, seconds in observed:
        times.observe((name,), seconds)
        histogram.labels(name).observe(seconds)
    assert written(ours) == written(theirs)


@given(st.lists(st.tuples(NAMES, NAMES, st.integers(0, 1 << 40)), max_size=30))
def test_counters(counted: list[tuple[str, str, int]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counts = Counts("x", "X.", ("one", "two"), [("a", "a")])
    ours.register(counts)
    counter = Counter("x", "X.", ("one", "two"), registry=theirs)
    counter.labels("a", "a")
    for one, two, amount in counted:
        counts.add((one, two), amount)
        counter.labels(one, two).inc(amount)
    assert written(ours) == written(theirs)
    assert ours.get_sample_value("x_total", {"one": "a", "two": "a"}) is not None


def test_two_families_of_a_name_are_refused() -> None:
    """A fault of ours, found when the daemon is built."""
    registry = CollectorRegistry()
    registry.register(Counts("x", "X.", ()))
    with pytest.raises(ValueError, match="x_total"):
        registry.register(Times("x_total", "X.", (), BOUNDS))
