"""What clients were given, counted by their requests.

Laws: an answer costs one lookup and two additions; the families are made of the tallies when somebody
asks. A tally is of words only, so there are some hundreds of them at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import attrs
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from regproxy.metrics.families import Words, counter_family
from regproxy.metrics.words import HOWS, METHODS, TYPES, one_of, status_word

HITS = frozenset({"hit", "joined", "revalidated", "stale"})
"""Answered without fetching content for this request."""
MISSES = frozenset({"miss"})
"""Answered with content, or headers, that were asked of the upstream for this request."""
CONTENT = ("blob", "manifest")
LEFT = 499
"""The client left before there was an answer that could be cut."""


@attrs.frozen(slots=True)
class _Said:
    """What a tally is of."""

    type: str
    method: str
    status: str
    how: str


@attrs.define(slots=True, eq=False)
class _Tally:
    words: _Said
    count: int = 0
    sent_bytes: int = 0
    cut: int = 0


class Served(Collector):
    """Counts answers. ``upstreams`` are the names that stale answers are counted for."""

    def __init__(self, upstreams: Iterable[str]) -> None:
        self._stale = dict.fromkeys(upstreams, 0)
        self._by_asked: dict[tuple[str | None, str, int, str | None], _Tally] = {}
        self._tallies: dict[_Said, _Tally] = {}

    def count(
        self,
        kind: str | None,
        method: str,
        status: int,
        how: str | None,
        upstream: str | None,
        sent_bytes: int,
        complete: bool,
    ) -> None:
        """One request is over: ``sent_bytes`` of the body went out, ``complete`` or cut short."""
        tally = self._by_asked.get((kind, method, status, how)) or self._tally(kind, method, status, how)
        tally.count += 1
        tally.sent_bytes += sent_bytes
        if not complete and status != LEFT:
            tally.cut += 1
        if how == "stale" and upstream in self._stale:
            self._stale[upstream] += 1

    def _tally(self, kind: str | None, method: str, status: int, how: str | None) -> _Tally:
        """The tally of these words; found at once the next time, unless they are a client's own."""
        words = _Said(one_of(TYPES, kind), one_of(METHODS, method), status_word(status), one_of(HOWS, how))
        tally = self._tallies.setdefault(words, _Tally(words))
        if words == _Said(kind or TYPES[-1], method, str(status), how or HOWS[-1]):
            self._by_asked[kind, method, status, how] = tally
        return tally

    def describe(self) -> Iterator[Metric]:
        """The families, for the registry."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """The families, as they are now."""
        tallies = list(self._tallies.values())
        yield from self._as_distribution_has_them(tallies)
        yield counter_family(
            "regproxy_responses",
            "Answers to clients, errors and those cut short too.",
            ("type", "method", "status"),
            _summed(tallies, lambda each: (each.type, each.method, each.status), lambda tally: tally.count),
        )
        yield counter_family(
            "regproxy_answers",
            "The same by where they came from.",
            ("type", "how"),
            {(type_, how): 0 for type_ in CONTENT for how in HOWS}
            | _summed(tallies, lambda each: (each.type, each.how), lambda tally: tally.count),
        )
        yield counter_family(
            "regproxy_cut_answers",
            "Answers that ended before their end: the client left, or the mirror cut the connection.",
            ("type",),
            {(type_,): 0 for type_ in CONTENT}
            | _summed(tallies, lambda each: (each.type,), lambda tally: tally.cut),
        )
        yield counter_family(
            "regproxy_stale_served",
            "Answers from the disk that the upstream could not confirm.",
            ("upstream",),
            {(upstream,): count for upstream, count in self._stale.items()},
        )

    def _as_distribution_has_them(self, tallies: list[_Tally]) -> Iterator[Metric]:
        def of(hows: frozenset[str]) -> dict[Words, float]:
            return _summed([each for each in tallies if each.words.how in hows], _type, _count)

        nothing: dict[Words, float] = {(type_,): 0 for type_ in CONTENT}
        content = [each for each in tallies if each.words.status.startswith("2")]
        for name, text, found in (
            ("requests", "Requests of clients for this type of content.", _summed(tallies, _type, _count)),
            ("hits", "Requests that were answered without fetching content for them.", of(HITS)),
            ("misses", "Requests whose content, or headers, were asked of the upstream.", of(MISSES)),
            ("pushed_bytes", "Bytes of content that were sent to clients.", _summed(content, _type, _sent)),
        ):
            counts = nothing | {key: count for key, count in found.items() if key in nothing}
            yield counter_family(f"registry_proxy_{name}", text, ("type",), counts)


def _type(words: _Said) -> Words:
    return (words.type,)


def _count(tally: _Tally) -> int:
    return tally.count


def _sent(tally: _Tally) -> int:
    return tally.sent_bytes


def _summed(
    tallies: Iterable[_Tally], key: Callable[[_Said], Words], figure: Callable[[_Tally], float]
) -> dict[Words, float]:
    sums: dict[Words, float] = {}
    for tally in tallies:
        of = key(tally.words)
        sums[of] = sums.get(of, 0) + figure(tally)
    return sums
