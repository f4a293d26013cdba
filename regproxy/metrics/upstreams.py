"""What upstreams were asked, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry

from regproxy.metrics.families import Counts, Levels, Times, Words
from regproxy.metrics.words import KINDS, METHODS, NO_ANSWER, one_of, status_word

TOKEN_OUTCOMES = ("issued", "reused", "failed")
PROBE_OUTCOMES = ("answered", "failed")
CIRCUITS = ("CLOSED", "HALF_OPEN", "OPEN", "OFFLINE")
"""Each is the figure of its place."""
MAX_ENDPOINTS = 16
"""Those behind count as the last of so many."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PULLED = ("blob", "manifest")
LIMITED = (("GET", "manifest"), ("HEAD", "manifest"), ("GET", "blob"), ("HEAD", "blob"), ("GET", "token"))
"""What registries limit: Prometheus sees no increase in a series that is born with its first 429."""


class UpstreamFamilies:
    """The families that all upstreams share; ``names`` are theirs."""

    def __init__(self, registry: CollectorRegistry, names: Iterable[str]) -> None:
        names = tuple(names)

        def each(words: Iterable[str]) -> list[Words]:
            return [(name, word) for name in names for word in words]

        self.requests = Counts(
            "regproxy_upstream_requests",
            "Requests to the upstream, its token server and where it redirects to; status none: no answer.",
            ("upstream", "method", "kind", "status"),
            [(name, method, kind, "429") for name in names for method, kind in LIMITED],
        )
        self.seconds = Times(
            "regproxy_upstream_request_seconds",
            "Time from a request to the headers of its answer.",
            ("upstream", "kind"),
            SECONDS,
            each(KINDS),
        )
        self.received = Counts(
            "regproxy_upstream_received_bytes",
            "Bytes of bodies that were received from the upstream, but for errors and redirects.",
            ("upstream", "kind"),
            each(KINDS),
        )
        self.pulled = Counts(
            "registry_proxy_pulled_bytes",
            "Bytes of bodies that were received from upstreams.",
            ("type",),
            [(kind,) for kind in PULLED],
        )
        self.tokens = Counts(
            "regproxy_tokens",
            "Bearer tokens: asked for, used again, or not given.",
            ("upstream", "outcome"),
            each(TOKEN_OUTCOMES),
        )
        self.circuits = Levels(
            "regproxy_upstream_circuit",
            "Of each endpoint: 0 it is asked, 1 it is probed, 2 it failed and is not asked, 3 offline.",
            ("upstream", "endpoint"),
            [(name, "0") for name in names],
        )
        self.opened = Counts(
            "regproxy_upstream_circuit_opened",
            "Times that an endpoint failed so that it was not asked any more.",
            ("upstream", "endpoint"),
            [(name, "0") for name in names],
        )
        self.probes = Counts(
            "regproxy_upstream_probes",
            "Looks whether an endpoint is there.",
            ("upstream", "endpoint", "outcome"),
            [(name, "0", outcome) for name in names for outcome in PROBE_OUTCOMES],
        )
        for family in (
            self.circuits,
            self.opened,
            self.probes,
            self.requests,
            self.seconds,
            self.received,
            self.pulled,
            self.tokens,
        ):
            registry.register(family)


class UpstreamFigures:
    """The figures of one upstream; a call costs less than a microsecond."""

    def __init__(self, families: UpstreamFamilies, name: str) -> None:
        self._families = families
        self._name = name

    def __repr__(self) -> str:
        return f"<UpstreamFigures {self._name}>"

    @classmethod
    def apart(cls, name: str) -> UpstreamFigures:
        """Figures that nobody looks at."""
        return cls(UpstreamFamilies(CollectorRegistry(), [name]), name)

    def answered(self, method: str, kind: str, status: int, seconds: float) -> None:
        """The headers of an answer are there; a clock that was set back makes it 0 seconds."""
        self._count(method, kind, status)
        self._families.seconds.observe((self._name, one_of(KINDS, kind)), max(0.0, seconds))

    def unanswered(self, method: str, kind: str) -> None:
        """A request got no answer: no connection, a cut one, or nobody waits any more."""
        self._count(method, kind, NO_ANSWER)

    def _count(self, method: str, kind: str, status: int) -> None:
        words = self._name, one_of(METHODS, method), one_of(KINDS, kind), status_word(status)
        self._families.requests.add(words)

    def received(self, kind: str, size_bytes: int) -> None:
        """So many bytes of a body came."""
        self._families.received.add((self._name, one_of(KINDS, kind)), size_bytes)
        if kind in PULLED:
            self._families.pulled.add((kind,), size_bytes)

    def circuit(self, endpoint: int, circuit: str) -> None:
        """How an endpoint, by its number in the settings, stands from now on: one of CIRCUITS."""
        self._families.circuits.set((self._name, _number(endpoint)), CIRCUITS.index(circuit))

    def circuit_opened(self, endpoint: int) -> None:
        """It is not asked any more."""
        self._families.opened.add((self._name, _number(endpoint)))

    def probed(self, endpoint: int, answered: bool) -> None:
        """It was looked at."""
        outcome = PROBE_OUTCOMES[0 if answered else 1]
        self._families.probes.add((self._name, _number(endpoint), outcome))

    def token(self, outcome: str) -> None:
        """A token was ``issued``, ``reused`` or the request for it ``failed``."""
        self._families.tokens.add((self._name, outcome))


def _number(endpoint: int) -> str:
    return str(min(endpoint, MAX_ENDPOINTS - 1))
