"""Figures: what they are called and how they are written; medians; what must be reached."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping

import attrs

from bench.running import Measured

Medians = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By case, target, figure."""

OURS = "regproxy"
PEER = "docker-registry"
DIRECT = "upstream"
"""Asked without any mirror."""


@attrs.frozen
class Figure:
    """A column of numbers: its label, with the unit, and how many places it has."""

    label: str
    places: int


FIGURES: Mapping[str, Figure] = {
    "wall_s": Figure("seconds", 3),
    "mb_s": Figure("MB/s", 0),
    "requests_s": Figure("requests/s", 0),
    "first_byte_ms": Figure("first byte, ms", 1),
    "p50_ms": Figure("p50, ms", 2),
    "p99_ms": Figure("p99, ms", 2),
    "own_p99_ms": Figure("p99 without waits for a core, ms", 2),
    "max_ms": Figure("longest, ms", 1),
    "upstream_gets": Figure("upstream GETs", 0),
    "cpu_s": Figure("CPU s", 2),
    "cpu_s_per_gib": Figure("CPU s/GiB", 2),
    "cpu_us_per_request": Figure("CPU us/request", 0),
    "peak_mib": Figure("peak MiB", 0),
}


def medians(measured: Iterable[Measured]) -> Medians:
    """The median of each figure, cases and targets in the order in which they came."""
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for one in measured:
        kept = values.setdefault(one.case, {}).setdefault(one.target, {})
        for name, value in one.figures.items():
            kept.setdefault(name, []).append(value)
    return {
        case: {
            target: {name: statistics.median(all_of_it) for name, all_of_it in figures.items()}
            for target, figures in targets.items()
        }
        for case, targets in values.items()
    }


@attrs.frozen
class Aim:
    """Something to be reached: ``got`` of the medians of one case is to keep within ``bound``.

    ``beside`` is who is measured beside us; None: it is about us alone.
    """

    case: str
    what: str
    got: Callable[[Mapping[str, float], Mapping[str, float]], float]
    """From our figures and those of ``beside``."""
    bound: float
    at_least: bool = False
    beside: str | None = PEER

    def value(self, figures: Medians) -> float | None:
        """What was got; None when that was not measured."""
        targets = figures.get(self.case, {})
        others = targets.get(self.beside or OURS)
        if OURS not in targets or others is None:
            return None
        return self.got(targets[OURS], others)

    def reached(self, value: float) -> bool:
        """Whether ``value`` is good enough."""
        return value >= self.bound if self.at_least else value <= self.bound


def _ratio(name: str) -> Callable[[Mapping[str, float], Mapping[str, float]], float]:
    return lambda ours, theirs: ours[name] / theirs[name] if theirs[name] else float("inf")


def _more(name: str) -> Callable[[Mapping[str, float], Mapping[str, float]], float]:
    return lambda ours, theirs: ours[name] - theirs[name]


def _ours(name: str) -> Callable[[Mapping[str, float], Mapping[str, float]], float]:
    return lambda ours, _: ours[name]


AIMS: tuple[Aim, ...] = (
    Aim("cold-blob", "throughput, times docker-registry's", _ratio("mb_s"), 1.0, at_least=True),
    Aim("cold-blob", "first byte, ms later than docker-registry's", _more("first_byte_ms"), 20.0),
    Aim("cold-blob", "CPU s, times docker-registry's", _ratio("cpu_s"), 1.0),
    Aim("cold-blob", "peak memory, MiB", _ours("peak_mib"), 150.0),
    Aim("cold-pages", "p99 of `/v2/` during cold pages, ms", _ours("p99_ms"), 20.0, beside=None),
    Aim("cold-pages", "the same without waits for a core, ms", _ours("own_p99_ms"), 20.0, beside=None),
    Aim("cold-latency", "p99 of `/v2/` meanwhile, ms", _ours("p99_ms"), 20.0, beside=None),
    Aim("many-readers", "upstream GETs", _ours("upstream_gets"), 1.0, beside=None),
    Aim("many-readers", "peak memory, MiB", _ours("peak_mib"), 200.0, beside=None),
    Aim("many-clients", "upstream GETs", _ours("upstream_gets"), 1.0),
    Aim("many-clients", "seconds, times docker-registry's", _ratio("wall_s"), 0.65),
    Aim("many-nodes", "upstream GETs", _ours("upstream_gets"), 10.0),
    Aim("many-nodes", "seconds, times docker-registry's", _ratio("wall_s"), 0.4),
    Aim("far-image", "seconds, times docker-registry's", _ratio("wall_s"), 0.35),
    Aim("far-image", "seconds, times those without a mirror", _ratio("wall_s"), 0.35, beside=DIRECT),
    Aim("manifest-digest", "requests/s, times docker-registry's", _ratio("requests_s"), 5.0, at_least=True),
    Aim("manifest-tag", "requests/s, times docker-registry's", _ratio("requests_s"), 5.0, at_least=True),
    Aim("warm-1", "throughput, times docker-registry's", _ratio("mb_s"), 1.0, at_least=True),
    Aim("warm-1", "CPU s/GiB, times docker-registry's", _ratio("cpu_s_per_gib"), 0.6),
    Aim("warm-1", "peak memory, MiB", _ours("peak_mib"), 150.0),
    Aim("warm-32", "throughput, times docker-registry's", _ratio("mb_s"), 1.0, at_least=True),
    Aim("warm-32", "CPU s/GiB, times docker-registry's", _ratio("cpu_s_per_gib"), 0.6),
    Aim("warm-32", "peak memory, MiB", _ours("peak_mib"), 150.0),
)
