"""How long a small request takes, asked again and again on one connection."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Sequence

import attrs

from bench.errors import BenchFailed

_PAUSE_S = 0.003


@attrs.frozen
class Latency:
    """Milliseconds of each request, sorted. ``own_ms``: without those for which there was no core for it."""

    times_ms: Sequence[float]
    own_ms: Sequence[float] = ()

    def percentile(self, share: float) -> float:
        """The time within which ``share`` of the requests was answered."""
        return _percentile(self.times_ms, share)

    def own_percentile(self, share: float) -> float:
        """The same of ``own_ms``."""
        return _percentile(self.own_ms, share)


def _percentile(times_ms: Sequence[float], share: float) -> float:
    return times_ms[min(len(times_ms) - 1, int(share * len(times_ms)))]


def probe(
    netloc: str,
    path: str,
    go_on: Callable[[], bool],
    limit_s: float = 60.0,
    waited_s: Callable[[], float] = lambda: 0.0,
) -> Latency:
    """Ask for ``path`` while ``go_on()``; BenchFailed when no request fits in.

    ``waited_s``: for how long those who ask and answer have waited for a core so far.
    """
    times: list[float] = []
    own: list[float] = []
    connection = http.client.HTTPConnection(netloc, timeout=30)
    end = time.monotonic() + limit_s
    try:
        while go_on() and time.monotonic() < end:
            before_s = waited_s()
            times.append(_once(connection, path))
            own.append(max(0.0, times[-1] - 1000 * (waited_s() - before_s)))
            time.sleep(_PAUSE_S)
    finally:
        connection.close()
    if not times:
        raise BenchFailed(f"no request for {path} fitted in")
    return Latency(sorted(times), sorted(own))


def _once(connection: http.client.HTTPConnection, path: str) -> float:
    begun = time.perf_counter()
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as failure:
        raise BenchFailed(f"{path}: {failure!r}") from failure
    took_ms = (time.perf_counter() - begun) * 1000
    if answer.status != 200:
        raise BenchFailed(f"{path} answered {answer.status}")
    return took_ms
