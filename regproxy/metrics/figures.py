"""All figures of one daemon, in a registry of their own.

Laws: counting never fails, never waits and makes no series of what a client or an upstream sent.
What others know already (sizes, entries, fills) is read from them when somebody asks.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

import attrs
from prometheus_client import CollectorRegistry, Gauge, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import twisted
from regproxy import __version__
from regproxy.metrics.families import Counts, Times
from regproxy.metrics.served import Served
from regproxy.metrics.tags import TagFigures
from regproxy.metrics.upstreams import UpstreamFamilies, UpstreamFigures
from regproxy.metrics.words import one_of

LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
EXPIRED_KINDS = ("blob", "manifest", "tag")
REFUSAL_REASONS = ("full", "read-only", "other")
EVICTED_KINDS = ("image", "blob", "spool")
SPACE_SETTINGS = ("max_size", "min_free")
CONNECTION_LIMITS = ("connections", "per_address")

Read = Callable[[], float]
T = TypeVar("T")


@attrs.frozen
class Reading(Generic[T]):
    """A gauge that is read off what was seen in one look."""

    name: str
    text: str
    of: Callable[[T], float]


class Figures:
    """``upstreams`` are the names in the settings. Readers use ``registry``."""

    def __init__(self, upstreams: Iterable[str] = ()) -> None:
        names = tuple(upstreams)
        self.registry = registry = CollectorRegistry()
        self._served = Served(names)
        registry.register(self._served)
        self.served = self._served.count
        """One request of a client is over."""
        families = UpstreamFamilies(registry, names)
        self.tags = TagFigures(registry, names)
        self._upstreams = {name: UpstreamFigures(families, name) for name in names}
        self._expired = Counts(
            "regproxy_expired", "Entries that went by age.", ("kind",), [(kind,) for kind in EXPIRED_KINDS]
        )
        self._refusals = Counts(
            "regproxy_disk_refusals",
            "Times that the disk refused to keep something, and the pull went on.",
            ("reason",),
            [(reason,) for reason in REFUSAL_REASONS],
        )
        evictions = [(kind, setting) for kind in EVICTED_KINDS for setting in SPACE_SETTINGS]
        self._evicted = Counts(
            "regproxy_evicted",
            "What was removed for want of space: images, single blobs, broken transfers.",
            ("kind", "setting"),
            evictions,
        )
        self._evicted_bytes = Counts(
            "regproxy_evicted_bytes", "What they took on the disk.", ("kind", "setting"), evictions
        )
        self._not_kept = Counts(
            "regproxy_not_kept",
            "Transfers that passed through and were not kept, since there was no room for them.",
            ("setting",),
            [(setting,) for setting in SPACE_SETTINGS],
        )
        self._turned_away = Counts(
            "regproxy_refused_connections",
            "Connections of clients that were turned away, by the limit that they were beyond.",
            ("limit",),
            [(limit,) for limit in CONNECTION_LIMITS],
        )
        self._lag = Gauge(
            "regproxy_reactor_lag_seconds", "How late the reactor was when last looked at.", registry=registry
        )
        self._lags = Times(
            "regproxy_reactor_late_seconds", "The same for each look, four a second.", (), LAG_SECONDS, [()]
        )
        space = (self._evicted, self._evicted_bytes, self._not_kept)
        for family in (self._expired, self._refusals, *space, self._turned_away, self._lags):
            registry.register(family)
        self._tell_of_the_process()

    def _tell_of_the_process(self) -> None:
        build = Gauge(
            "regproxy_build_info",
            "1; what runs.",
            ("version", "python", "twisted"),
            registry=self.registry,
        )
        build.labels(__version__, platform.python_version(), twisted.__version__).set(1)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def upstream(self, name: str) -> UpstreamFigures:
        """The figures of one of the upstreams."""
        return self._upstreams[name]

    def expired(self, kind: str) -> None:
        """An entry went by age: a ``blob``, ``manifest`` or ``tag``."""
        self._expired.add((kind,))

    def evicted(self, kind: str, setting: str, disk_bytes: int) -> None:
        """Something went for want of space: an ``image``, ``blob`` or ``spool``."""
        words = one_of(EVICTED_KINDS, kind), one_of(SPACE_SETTINGS, setting)
        self._evicted.add(words)
        self._evicted_bytes.add(words, disk_bytes)

    def not_kept(self, setting: str) -> None:
        """A transfer got no room within ``max_size`` or ``min_free``."""
        self._not_kept.add((one_of(SPACE_SETTINGS, setting),))

    def disk_refused(self, reason: str) -> None:
        """The disk refused: ``full``, ``read-only``, or anything else."""
        self._refusals.add((one_of(REFUSAL_REASONS, reason),))

    def turned_away(self, limit: str) -> None:
        """A client was turned away: ``connections`` or ``per_address``."""
        self._turned_away.add((one_of(CONNECTION_LIMITS, limit),))

    def late(self, seconds: float) -> None:
        """The reactor was looked at."""
        self._lag.set(seconds)
        self._lags.observe((), seconds)

    # what is read from others when somebody asks

    def gauge(self, name: str, text: str, read: Read) -> None:
        """A gauge whose value is ``read`` then."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def gauges(self, name: str, text: str, label: str, read: Mapping[str, Read]) -> None:
        """The same by the values of one label."""
        family = Gauge(name, text, (label,), registry=self.registry)
        for value, each in read.items():
            family.labels(value).set_function(each)

    def gauges_at_once(self, look: Callable[[], T], *readings: Reading[T]) -> None:
        """Gauges that are read off one ``look`` for each page of figures."""
        self.registry.register(_Looked(look, readings))

    def counter(self, name: str, text: str, read: Read) -> None:
        """A counter that somebody else counts."""
        self.registry.register(_Counted(name, text, read))


class _Counted(Collector):
    def __init__(self, name: str, text: str, read: Read) -> None:
        self._name, self._text, self._read = name, text, read

    def describe(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self._name, self._text)

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self._name, self._text, value=self._read())


class _Looked(Collector, Generic[T]):
    def __init__(self, look: Callable[[], T], readings: Iterable[Reading[T]]) -> None:
        self._look, self._readings = look, tuple(readings)

    def describe(self) -> Iterator[Metric]:
        for each in self._readings:
            yield GaugeMetricFamily(each.name, each.text)

    def collect(self) -> Iterator[Metric]:
        seen = self._look()
        for each in self._readings:
            yield GaugeMetricFamily(each.name, each.text, value=each.of(seen))
