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
    """Milliseconds of each request, sorted."""

    times_ms: Sequence[float]

    def percentile(self, share: float) -> float:
        """The time within which ``share`` of the requests was answered."""
        return self.times_ms[min(len(self.times_ms) - 1, int(share * len(self.times_ms)))]


def probe(netloc: str, path: str, go_on: Callable[[], bool], limit_s: float = 60.0) -> Latency:
    """Ask for ``path`` while ``go_on()``; BenchFailed when no request fits in."""
    times: list[float] = []
    connection = http.client.HTTPConnection(netloc, timeout=30)
    end = time.monotonic() + limit_s
    try:
        while go_on() and time.monotonic() < end:
            times.append(_once(connection, path))
            time.sleep(_PAUSE_S)
    finally:
        connection.close()
    if not times:
        raise BenchFailed(f"no request for {path} fitted in")
    return Latency(sorted(times))


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
