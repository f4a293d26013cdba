"""Requests a second over keep-alive connections: by wrk where it is installed, else by our own reader."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess

import attrs

from bench.contents import MANIFEST_TYPE
from bench.errors import BenchFailed
from bench.reader import Reader, Request

CONNECTIONS = 32
_REQUESTS = re.compile(r"(\d+) requests in ([\d.]+)(ms|s|m),")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0}


@attrs.frozen
class Rate:
    """How many answers in how many seconds."""

    answers: int
    wall_s: float

    @property
    def requests_s(self) -> float:
        """Answers a second."""
        return self.answers / self.wall_s


def rate(netloc: str, request: Request, seconds: float) -> Rate:
    """Ask the same thing over and over; BenchFailed for any answer that is no success.

    wrk waits for the body of an answer to HEAD and counts whole seconds, so HEAD and shorter times
    are the reader's.
    """
    wrk = shutil.which("wrk")
    if wrk is not None and request.method == "GET" and seconds >= 1:
        return _by_wrk(wrk, netloc, request.path, seconds)
    reading = Reader(netloc, itertools.repeat(request), CONNECTIONS).run(seconds)
    return Rate(reading.answers, reading.wall_s)


def _by_wrk(wrk: str, netloc: str, path: str, seconds: float) -> Rate:
    whole = round(seconds)
    accept = f"Accept: {MANIFEST_TYPE}, */*"
    argv = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{whole}s", "-H", accept, f"http://{netloc}{path}"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=whole + 30, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failure:
        raise BenchFailed(f"wrk: {failure}") from failure
    return parse_wrk(done.stdout)


def parse_wrk(text: str) -> Rate:
    """What wrk's report says; BenchFailed when it tells of errors."""
    found = _REQUESTS.search(text)
    if found is None or "Non-2xx" in text or "Socket errors" in text:
        raise BenchFailed(f"wrk: {text}")
    return Rate(int(found[1]), float(found[2]) * _UNIT_S[found[3]])
