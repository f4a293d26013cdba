"""What a soak is judged by. Pure: pulls, faults, stops and looks in, what is wrong out.

A pull may fail for two reasons. A stop of ours: the connection broke, or the mirror said that it ends,
between the signal and its next answer. The upstream: it failed for what was asked for, in the time in
which the mirror may have asked; or the mirror said that it does not ask now (429, 503), soon after
the upstream gave reason to. Wrong bytes in a complete answer, and whatever else, have no excuse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median

import attrs

from bench.flawed import Fault

BROKE = 0
"""Instead of a status: no answer, or not all of it."""
WRONG = -1
"""Instead of a status: all of it, and it is not what its digest names."""

SHARED_S = 30.0
"""For so long before a question may the fill, or the question, that it shares have begun."""
HELD_S = 30.0
"""For so long after it failed may an upstream be left alone."""
UPSTREAMS_FAULT = frozenset({BROKE, 429, 500, 502, 503, 504})
OWN = "own store"
"""What the mirror says where its disk failed: no upstream made that."""
GROWTH = 0.1
LEAST_LOOKS = 40
SLACK = {"memory": 8.0, "open files": 8.0, "threads": 4.0}
"""What a figure may grow beside a tenth: MiB, files, threads."""


@attrs.frozen
class Failure:
    """A failed pull: what was asked for (tag or digest, first), when, what came."""

    targets: tuple[str, ...]
    began_s: float
    ended_s: float
    status: int
    said: str = ""


@attrs.frozen
class Stop:
    """From our signal to the next answer."""

    signal: str
    began_s: float
    ended_s: float


@attrs.frozen
class Look:
    """One look at a life, the daemon between two of its starts. Sizes are bytes, as ``st_blocks``
    counts them: of ``blobs/`` and what is unlinked but open, and of ``fills/``."""

    at_s: float
    life: int
    memory_mib: float
    open_files: int
    threads: int
    held_bytes: int
    in_flight_bytes: int


def cause(failure: Failure, faults: Sequence[Fault], stops: Sequence[Stop]) -> str | None:
    """Who made it fail; None: the mirror."""
    if OWN in failure.said:
        return None
    if failure.status in (BROKE, 503) and any(
        one.began_s <= failure.ended_s and failure.began_s <= one.ended_s for one in stops
    ):
        return "stop"
    for fault in faults:
        if fault.began_s > failure.ended_s:
            continue
        same = fault.target in failure.targets
        if same and failure.status in UPSTREAMS_FAULT and fault.ended_s >= failure.began_s - SHARED_S:
            return fault.kind
        reason = failure.status == 503 or (failure.status == 429 and fault.kind == "429")
        if reason and fault.ended_s >= failure.began_s - HELD_S:
            return f"{failure.status} without a question"
        if not fault.target and failure.status in UPSTREAMS_FAULT and fault.ended_s >= failure.began_s:
            return fault.kind
    return None


def inexcusable(pull: Failure, faults: Sequence[Fault], stops: Sequence[Stop]) -> bool:
    """Whether a pull at that time of that content would have had no excuse, whatever had come."""
    return all(cause(attrs.evolve(pull, status=each), faults, stops) is None for each in UPSTREAMS_FAULT)


def trend(looks: Sequence[float]) -> tuple[float, float]:
    """The medians of the second and of the last quarter of a life."""
    quarter = len(looks) // 4
    return median(looks[quarter : 2 * quarter]), median(looks[-quarter:])


def longest_life(looks: Sequence[Look]) -> list[Look]:
    """The looks at the life that was looked at most."""
    ((life, _),) = Counter(look.life for look in looks).most_common(1)
    return [look for look in looks if look.life == life]


def trends(looks: Sequence[Look]) -> dict[str, tuple[float, float]]:
    """Of the longest life, by what is not to grow."""
    longest = longest_life(looks)
    return {
        "memory": trend([look.memory_mib for look in longest]),
        "open files": trend([look.open_files for look in longest]),
        "threads": trend([look.threads for look in longest]),
    }


def wrongs(
    failures: Sequence[Failure],
    faults: Sequence[Fault],
    stops: Sequence[Stop],
    looks: Sequence[Look],
    limit_bytes: int,
) -> list[str]:
    """What should not be, a line each; empty: it holds."""
    found = [
        f"a failed pull that neither the upstream nor a stop made: {one.targets[0]}: {one.status} {one.said}"
        for one in failures
        if cause(one, faults, stops) is None
    ]
    over = max((look.held_bytes for look in looks), default=0) - limit_bytes
    if over > 0:
        found.append(f"the disk was {over} bytes above its limit and what is in flight")
    if not looks or len(longest_life(looks)) < LEAST_LOOKS:
        found.append(f"no life had {LEAST_LOOKS} looks: too short to tell whether it grows")
        return found
    for what, (before, after) in trends(looks).items():
        if after > before * (1 + GROWTH) and after > before + SLACK[what]:
            found.append(f"{what} grew from {before:.1f} to {after:.1f} within one life")
    return found
