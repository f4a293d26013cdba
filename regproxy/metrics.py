"""Every figure, declared once; rooms get the small part that they count.

Names that dashboards know from CNCF Distribution begin with ``registry_proxy_``, those that it lacks
with ``regproxy_``. Bytes are counted as they were sent or received, never as they were announced.
Everything is counted in the reactor's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from regproxy import __version__

CONTENT_TYPE = CONTENT_TYPE_LATEST

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0)
LAG_SECONDS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)


@attrs.frozen(slots=True)
class Declared:
    """A figure as the documentation lists it."""

    name: str
    labels: tuple[str, ...]
    text: str


class Figures:
    """All counters of one daemon, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.declared: list[Declared] = []
        ProcessCollector(registry=self.registry)
        proxy, own = "registry_proxy", "regproxy"
        self._requests = self._counter(proxy, "requests", "Requests for content, by type", "type")
        self._hits = self._counter(proxy, "hits", "Those that needed no transfer of their own", "type")
        self._misses = self._counter(proxy, "misses", "Those that began a transfer", "type")
        self._pulled = self._counter(proxy, "pulled_bytes", "Body bytes received from upstreams", "type")
        self._pushed = self._counter(proxy, "pushed_bytes", "Body bytes sent to clients", "type")
        self._responses = self._counter(
            own, "responses", "Answers to clients, by what they were: hit, miss, joined, revalidated, stale",
            "type", "how", "status",
        )  # fmt: skip
        self._upstream = self._counter(
            own, "upstream_requests", "Requests to upstreams that were answered", "upstream", "kind", "status"
        )
        self._upstream_errors = self._counter(
            own, "upstream_errors", "Requests to upstreams that were not", "upstream", "reason"
        )
        self._upstream_seconds = Histogram(
            "regproxy_upstream_request_seconds", "Seconds to the headers of an upstream's answer",
            ["upstream", "kind"], buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._revalidations = self._counter(
            own, "revalidations", "Questions whether a tag changed, by outcome", "upstream", "outcome"
        )
        self._stale = self._counter(own, "stale_served", "Stale answers", "upstream")
        self._removed = self._counter(own, "removed", "Things removed, by type and reason", "type", "reason")
        self._fills = self._counter(own, "fills", "Transfers begun, by how they ended", "outcome")
        self._lag = Histogram(
            "regproxy_reactor_lag_seconds", "How late the reactor comes to a call that is due",
            buckets=LAG_SECONDS, registry=self.registry,
        )  # fmt: skip
        build = Gauge("regproxy_build_info", "The running version", ["version"], registry=self.registry)
        build.labels(__version__).set(1)
        self._declare_others()

    def _counter(self, prefix: str, name: str, text: str, *labels: str) -> Counter:
        self.declared.append(Declared(f"{prefix}_{name}_total", labels, text))
        return Counter(f"{prefix}_{name}", text, labels, registry=self.registry)

    def _declare_others(self) -> None:
        for name, labels, text in (
            ("regproxy_upstream_request_seconds", ("upstream", "kind"), "Seconds to an upstream's headers"),
            ("regproxy_reactor_lag_seconds", (), "How late the reactor comes to a call that is due"),
            ("regproxy_build_info", ("version",), "The running version, value 1"),
        ):
            self.declared.append(Declared(name, labels, text))

    def watch(self, name: str, text: str, now: Callable[[], float]) -> None:
        """A gauge that asks ``now`` when it is read."""
        self.declared.append(Declared(name, (), text))
        Gauge(name, text, registry=self.registry).set_function(now)

    def page(self) -> bytes:
        """All figures in Prometheus' text format."""
        return bytes(generate_latest(self.registry))

    def answered(self, kind: str, how: str | None, status: int, sent_bytes: int) -> None:
        """An answer to a client. ``kind`` is blob, manifest or tags; ``how`` None for an error."""
        self._responses.labels(kind, how or "none", str(status)).inc()
        self._requests.labels(kind).inc()
        self._pushed.labels(kind).inc(sent_bytes)
        if how == "miss":
            self._misses.labels(kind).inc()
        elif how is not None:
            self._hits.labels(kind).inc()

    def upstream_answered(self, upstream: str, kind: str, status: int, seconds: float) -> None:
        """An upstream's answer, ``seconds`` after it was asked."""
        self._upstream.labels(upstream, kind, str(status)).inc()
        self._upstream_seconds.labels(upstream, kind).observe(seconds)

    def upstream_failed(self, upstream: str, reason: str) -> None:
        """A call that ended in trouble; ``reason`` is the error's kind, never its text."""
        self._upstream_errors.labels(upstream, reason).inc()

    def pulled(self, kind: str, received_bytes: int) -> None:
        """Body bytes that came from an upstream."""
        self._pulled.labels(kind).inc(received_bytes)

    def revalidated(self, upstream: str, outcome: str) -> None:
        """A question about a tag: unchanged, changed, gone, denied or trouble."""
        self._revalidations.labels(upstream, outcome).inc()
        if outcome == "trouble":
            return

    def served_stale(self, upstream: str) -> None:
        """A stale answer."""
        self._stale.labels(upstream).inc()

    def removed(self, kind: str, reason: str) -> None:
        """Something expired or was set aside."""
        self._removed.labels(kind, reason).inc()

    def filled(self, outcome: str) -> None:
        """A transfer ended: kept, passed, wrong or broken."""
        self._fills.labels(outcome).inc()

    def lagged(self, seconds: float) -> None:
        """The reactor came ``seconds`` late."""
        self._lag.observe(seconds)

    def names(self) -> Iterator[str]:
        """Every name, as the documentation must list it."""
        return (figure.name for figure in self.declared)
