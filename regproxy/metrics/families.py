"""Families of series that cost little: plain numbers, which become samples when somebody asks.

Made for the reactor's thread alone. The library's own counters take a lock for each addition, and four
times as long to be collected.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

Words = tuple[str, ...]
"""The values of a series' labels, in their order."""


def counter_family(name: str, text: str, labels: Words, counts: Mapping[Words, float]) -> Metric:
    """A family of counters as it is now."""
    family = CounterMetricFamily(name, text, labels=labels)
    for words, count in counts.items():
        family.add_metric(words, count)
    return family


class Counts(Collector):
    """Counters. ``known`` are the series that are there from the start, so that a rate has a first value."""

    def __init__(self, name: str, text: str, labels: Words, known: Iterable[Words] = ()) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._counts: dict[Words, float] = dict.fromkeys(known, 0)

    def add(self, words: Words, amount: float = 1) -> None:
        """Count; a series that is not there yet begins."""
        self._counts[words] = self._counts.get(words, 0) + amount

    def describe(self) -> Iterator[Metric]:
        """Its name, for the registry."""
        yield counter_family(self._name, self._text, self._labels, {})

    def collect(self) -> Iterator[Metric]:
        """As it is now."""
        yield counter_family(self._name, self._text, self._labels, self._counts)


class Levels(Collector):
    """Gauges that are set. ``known`` are the series that are there from the start, at 0."""

    def __init__(self, name: str, text: str, labels: Words, known: Iterable[Words] = ()) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._levels: dict[Words, float] = dict.fromkeys(known, 0)

    def set(self, words: Words, level: float) -> None:
        """How it is from now on."""
        self._levels[words] = level

    def describe(self) -> Iterator[Metric]:
        """Its name, for the registry."""
        yield GaugeMetricFamily(self._name, self._text, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        """As it is now."""
        family = GaugeMetricFamily(self._name, self._text, labels=self._labels)
        for words, level in self._levels.items():
            family.add_metric(words, level)
        yield family


class Times(Collector):
    """Histograms of seconds. ``bounds`` are the upper bounds of the buckets, but for the endless one."""

    def __init__(
        self, name: str, text: str, labels: Words, bounds: tuple[float, ...], known: Iterable[Words] = ()
    ) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._bounds = bounds
        self._names = [*map(floatToGoString, bounds), "+Inf"]
        self._buckets = {words: [0] * len(self._names) for words in known}
        self._sums: dict[Words, float] = dict.fromkeys(self._buckets, 0.0)

    def observe(self, words: Words, seconds: float) -> None:
        """Count one more."""
        buckets = self._buckets.get(words)
        if buckets is None:
            buckets = self._buckets[words] = [0] * len(self._names)
        buckets[bisect_left(self._bounds, seconds)] += 1
        self._sums[words] = self._sums.get(words, 0.0) + seconds

    def describe(self) -> Iterator[Metric]:
        """Its name, for the registry."""
        yield HistogramMetricFamily(self._name, self._text, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        """As it is now."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for words, buckets in self._buckets.items():
            family.add_metric(
                words, list(zip(self._names, accumulate(buckets), strict=True)), self._sums[words]
            )
        yield family
