"""All figures of one daemon, in a registry of their own.

Laws: counting never fails, never waits and makes no series of what a client or an upstream sent.
What others know already (sizes, entries, fills) is read from them when somebody asks.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

import twisted
from regproxy import __version__
from regproxy.metrics.served import Served
from regproxy.metrics.tags import TagFigures
from regproxy.metrics.upstreams import UpstreamFamilies, UpstreamFigures
from regproxy.metrics.words import one_of

LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
EXPIRED_KINDS = ("blob", "manifest", "tag")
REFUSAL_REASONS = ("full", "read-only", "other")

Read = Callable[[], float]


class Figures:
    """``upstreams`` are the names in the settings. Readers use ``registry``."""

    def __init__(self, upstreams: Iterable[str] = ()) -> None:
        names = tuple(upstreams)
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        self._served = Served(names)
        registry.register(self._served)
        self.served = self._served.count
        """One request of a client is over."""
        families = UpstreamFamilies(registry, names)
        self.tags = TagFigures(registry, names)
        self._upstreams = {name: UpstreamFigures(families, name) for name in names}
        self._expired = self._counters("regproxy_expired", "Entries that went by age.", "kind", EXPIRED_KINDS)
        self._refusals = self._counters(
            "regproxy_disk_refusals",
            "Times that the disk refused to keep something, and the pull went on.",
            "reason",
            REFUSAL_REASONS,
        )
        self._lag = Gauge(
            "regproxy_reactor_lag_seconds", "How late the reactor was when last looked at.", registry=registry
        )
        self._lags = Histogram(
            "regproxy_reactor_late_seconds",
            "The same for each look, four a second.",
            buckets=LAG_SECONDS,
            registry=registry,
        )
        self._tell_of_the_process()

    def _counters(self, name: str, text: str, label: str, words: Iterable[str]) -> Mapping[str, Counter]:
        family = Counter(name, text, (label,), registry=self.registry)
        return {word: family.labels(word) for word in words}

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
        self._expired[kind].inc()

    def disk_refused(self, reason: str) -> None:
        """The disk refused: ``full``, ``read-only``, or anything else."""
        self._refusals[one_of(REFUSAL_REASONS, reason)].inc()

    def late(self, seconds: float) -> None:
        """The reactor was looked at."""
        self._lag.set(seconds)
        self._lags.observe(seconds)

    # what is read from others when somebody asks

    def gauge(self, name: str, text: str, read: Read) -> None:
        """A gauge whose value is ``read`` then."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def gauges(self, name: str, text: str, label: str, read: Mapping[str, Read]) -> None:
        """The same by the values of one label."""
        family = Gauge(name, text, (label,), registry=self.registry)
        for value, each in read.items():
            family.labels(value).set_function(each)

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
