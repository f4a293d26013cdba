"""A daemon over a folder with very many entries: how soon it answers, for how long its reactor is held.

``python -m bench.scale --entries 100000``; ``make bench-scale``. It is started five times: over a state
that lacks its end, which it reads and writes anew; over a whole one, when ``--due`` of the entries expire
at once after the survey; for operators, who list it all; while every blob is hashed again at full pace, and
listed meanwhile; and with a limit, for which a fifth of the rest has to go.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs

from bench.crowd import DUE, DUE_TTL_S, KEPT, TTL_S, Crowd
from bench.errors import BenchFailed
from bench.load import ROOT
from bench.processes import Child, busy_share
from bench.report import machine
from bench.targets import free_port

PAUSE_S = 0.02
FIRST_ANSWER_S, TURN_S = 1.0, 0.020
"""The aims, at 100,000 entries."""


@attrs.define
class Run:
    """What one start of the daemon gave. Seconds; ``phases`` as :mod:`bench.turns` writes them."""

    title: str
    first_answer_s: float = 0.0
    loaded_s: float = 0.0
    surveyed_s: float = 0.0
    expired_s: float | None = None
    evicted_s: float | None = None
    scrubbed_s: float | None = None
    asked_s: dict[str, float] = attrs.field(factory=dict)
    """How long each thing took that an operator asked for."""
    listed: int = 0
    stop_s: float = 0.0
    peak_mib: float = 0.0
    asked: int = 0
    slowest_answer_s: float = 0.0
    expired_in_survey: bool = False
    phases: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)


class Daemon:
    """One start over ``crowd``, asked for a cached blob from its first moment to its last."""

    def __init__(
        self,
        folder: Path,
        crowd: Crowd,
        upstream: str,
        run: Run,
        limit_s: float,
        max_bytes: int | None = None,
    ) -> None:
        self._crowd = crowd
        self._max_bytes = max_bytes
        self._run = run
        self._port = free_port()
        self._folder = folder
        self._door = folder / f"door-{self._port}"
        self._events = folder / f"events-{self._port}"
        self._events.touch()
        self._end_s = time.monotonic() + limit_s
        settings = folder / "scale.json"
        settings.write_text(json.dumps(self._settings(upstream)))
        command = [sys.executable, "-m", "bench.turns", str(self._events), "--nodaemon", "--pidfile="]
        self._begun_s = time.monotonic()
        argv = [*command, "regproxy", "--config", str(settings)]
        self.child = Child(argv, folder / f"log-{self._port}", cwd=ROOT)

    def _settings(self, upstream: str) -> dict[str, Any]:
        one = {"endpoints": [upstream], "insecure": True}
        return {
            "listen": [f"tcp:{self._port}:interface=127.0.0.1"],
            "admin": [f"unix:{self._door}"],
            "log": {"access": "off"},
            "ttl": f"{TTL_S}s",
            "storage": {"root": str(self._crowd.root), "min_free": "0 B", **self._limit()},
            "upstreams": {KEPT: {**one, "default": True}, DUE: {**one, "ttl": f"{DUE_TTL_S}s"}},
        }

    def _limit(self) -> dict[str, str]:
        return {} if self._max_bytes is None else {"max_size": f"{self._max_bytes} B"}

    def answer_first(self) -> None:
        """Wait for the first answer, to a request for a cached blob."""
        while not self._answers():
            self._check()
            time.sleep(0.003)
        self._run.first_answer_s = time.monotonic() - self._begun_s

    def until(self, name: str) -> float:
        """Wait for the end of a work, asking meanwhile; the seconds since the start."""
        while (at_s := self._ended_s(name)) is None:
            self._ask()
        return at_s - self._begun_s

    def until_quiet(self, name: str) -> None:
        """Wait until it runs no more."""
        while self._ended_s(name) is None and any(one.get("name") == name for one in self._told()):
            self._ask()

    def begun(self, name: str) -> float | None:
        """When it first began, in seconds since the start."""
        found = [one["at"] for one in self._told() if (one.get("name"), one.get("what")) == (name, "begins")]
        return found[0] - self._begun_s if found else None

    def operator(self, title: str, *arguments: str) -> int:
        """Have ``regproxy`` ask for something, and a cached blob meanwhile; how many lines it wrote."""
        begun_s = time.monotonic()
        asking = self.begin(*arguments)
        lines = self.wait_for(asking)
        self._run.asked_s[title] = time.monotonic() - begun_s
        return lines

    def begin(self, *arguments: str) -> Child:
        """``regproxy``, as an operator calls it."""
        out = self._folder / f"told-{self._port}-{arguments[0]}"
        return Child(
            [sys.executable, "-m", "regproxy", *arguments, "--admin", str(self._door)], out, cwd=ROOT
        )

    def wait_for(self, asking: Child) -> int:
        """Ask for a cached blob until it has ended well; how many lines it wrote."""
        try:
            while asking.alive:
                self._ask()
        finally:
            asking.stop(1.0)
        if asking.code:
            raise BenchFailed(f"regproxy ended with {asking.code}: {asking.last_words()}")
        return asking.log.read_bytes().count(b"\n")

    def stop(self) -> None:
        """SIGTERM, and what it told."""
        self._run.peak_mib = self.child.peak_mib()
        begun_s = time.monotonic()
        self.child.stop(60.0)
        self._run.stop_s = time.monotonic() - begun_s
        self._run.phases = next((one["phases"] for one in self._told() if "phases" in one), {})

    def _ask(self) -> None:
        self._check()
        begun_s = time.monotonic()
        if not self._answers():
            raise BenchFailed(f"a cached blob was not served: {self.child.last_words()}")
        self._run.asked += 1
        self._run.slowest_answer_s = max(self._run.slowest_answer_s, time.monotonic() - begun_s)
        time.sleep(PAUSE_S)

    def _check(self) -> None:
        if not self.child.alive:
            raise BenchFailed(f"the daemon ended: {self.child.last_words()}")
        if time.monotonic() > self._end_s:
            raise BenchFailed(f"it takes too long: {self.child.last_words()}")

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(f"127.0.0.1:{self._port}", timeout=30)
        try:
            connection.request("GET", self._crowd.some_blob())
            answer = connection.getresponse()
            return answer.status == 200 and len(answer.read()) > 0
        except OSError:
            return False
        finally:
            connection.close()

    def _told(self) -> list[dict[str, Any]]:
        lines = self._events.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def _ended_s(self, name: str) -> float | None:
        last = next((one for one in reversed(self._told()) if one.get("name") == name), None)
        return float(last["at"]) if last is not None and last["what"] == "ends" else None


class _Yes(BaseHTTPRequestHandler):
    """An upstream that is there."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def upstream() -> Iterator[str]:
    """Its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Yes)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


STARTS = ("damaged", "expiry", "operators", "scrub", "limit")


def measure(folder: Path, crowd: Crowd, limit_s: float, starts: Sequence[str] = STARTS) -> list[Run]:
    """The chosen ones of STARTS."""
    _say(f"making a folder of {crowd.entries} entries")
    crowd.make()
    runs: list[Run] = []
    with upstream() as url:
        for start in STARTS:
            if start not in starts:
                continue
            _say(f"start: {start}")
            if start == "expiry" or not runs:
                _write_state(crowd, start, runs)
            runs.append(_STARTS[start](Place(folder, crowd, url, limit_s)))
    return runs


def _write_state(crowd: Crowd, start: str, runs: Sequence[Run]) -> None:
    """A new one; what is due is so behind the survey, or not before the end."""
    survey_s = runs[0].surveyed_s if runs else crowd.entries / 2500
    wait_s = survey_s * 1.5 + 5 + crowd.entries / 100_000 if start == "expiry" else DUE_TTL_S
    now_s = time.time()
    crowd.write_state(now_s, now_s + wait_s, whole=start != "damaged")


@attrs.frozen
class Place:
    """Where the daemon is started."""

    folder: Path
    crowd: Crowd
    url: str
    limit_s: float

    @contextmanager
    def started(self, run: Run, max_bytes: int | None = None) -> Iterator[Daemon]:
        """It has read and seen everything; in the end it is stopped, and tells its figures."""
        daemon = Daemon(self.folder, self.crowd, self.url, run, self.limit_s, max_bytes)
        try:
            daemon.answer_first()
            run.loaded_s = daemon.until("loading")
            run.surveyed_s = daemon.until("survey")
            yield daemon
            daemon.until_quiet("saving")
            daemon.stop()
        finally:
            daemon.child.stop(1.0)


def _damaged(place: Place) -> Run:
    run = Run("damaged state")
    with place.started(run):
        pass
    return run


def _expiry(place: Place) -> Run:
    run = Run("whole state, expiry")
    with place.started(run) as daemon:
        ended_s = daemon.until("removing")
        while place.crowd.left_of_due():
            ended_s = daemon.until("removing")
        begun_s = daemon.begun("removing") or 0.0
        run.expired_s, run.expired_in_survey = ended_s - begun_s, begun_s < run.surveyed_s
    return run


def _operators(place: Place) -> Run:
    """What an operator asks for."""
    run = Run("operators")
    with place.started(run) as daemon:
        daemon.until_quiet("saving")
        _asked(daemon, run, place.crowd, "")
        daemon.operator("inspect", "inspect", place.crowd.some_image())
        daemon.operator("purge --dry-run", "purge", "--dry-run", place.crowd.some_image())
    return run


def _scrub(place: Place) -> Run:
    """Every blob is hashed again; what an operator asks for meanwhile."""
    run = Run("scrub")
    with place.started(run) as daemon:
        daemon.until_quiet("saving")
        begun_s = time.monotonic()
        scrub = daemon.begin("scrub", "--now")
        _asked(daemon, run, place.crowd, ", scrub")
        daemon.wait_for(scrub)
        run.scrubbed_s = time.monotonic() - begun_s
    return run


def _asked(daemon: Daemon, run: Run, crowd: Crowd, when: str) -> None:
    run.listed = daemon.operator(f"ls{when}", "ls", "--json")
    if run.listed != crowd.images:
        raise BenchFailed(f"{run.listed} of {crowd.images} images were listed")
    daemon.operator(f"du{when}", "du", "--json")
    daemon.operator(f"status{when}", "status", "--json")


def _limit(place: Place) -> Run:
    """Low water, at 90 % of the limit, is at four fifths of what there is."""
    run = Run("a limit, eviction")
    taken = place.crowd.disk_bytes()
    with place.started(run, int(taken * 0.8 / 0.9)) as daemon:
        ended_s = daemon.until("evicting")
        run.evicted_s = ended_s - (daemon.begun("evicting") or 0.0)
    left = place.crowd.disk_bytes()
    if not 0.7 * taken < left <= 0.81 * taken:
        raise BenchFailed(f"{left} bytes of {taken} are left after eviction")
    return run


_STARTS = {
    "damaged": _damaged,
    "expiry": _expiry,
    "operators": _operators,
    "scrub": _scrub,
    "limit": _limit,
}


def markdown(crowd: Crowd, runs: Sequence[Run], others_busy: float) -> str:
    """For people."""
    shape = machine()
    lines = [
        f"{crowd.entries} entries in {crowd.repositories} repositories; Python {shape['python']}, "
        f"{shape['cores']} cores, {others_busy:.0%} of them busy with other work before the start.",
        "",
        "| start | answers after s | read s | surveyed s | expired s | evicted s | scrubbed s | stop s | MiB "
        "| worst ms |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for run in runs:
        works = [_seconds(each) for each in (run.expired_s, run.evicted_s, run.scrubbed_s)]
        lines.append(
            f"| {run.title} | {run.first_answer_s:.2f} | {run.loaded_s:.2f} | {run.surveyed_s:.2f} "
            f"| {' | '.join(works)} | {run.stop_s:.2f} | {run.peak_mib:.0f} "
            f"| {run.slowest_answer_s * 1000:.0f} |"
        )
    asked_s = {name: took_s for run in runs for name, took_s in run.asked_s.items()}
    lines += ["", "| asked for | s |", "| --- | ---: |"]
    lines += [f"| `regproxy {name}` | {took_s:.2f} |" for name, took_s in asked_s.items()]
    lines += [
        "",
        "| start | phase | turns | longest ms | held ms | of CPU ms | over 5 ms | over 20 ms |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for run in runs:
        for name, phase in run.phases.items():
            lines.append(
                f"| {run.title} | {name} | {phase['turns']} | {phase['longest_s'] * 1000:.1f} "
                f"| {phase['longest_held_s'] * 1000:.1f} | {phase['longest_cpu_s'] * 1000:.1f} "
                f"| {phase['over_5_ms']} | {phase['over_20_ms']} |"
            )
    return "\n".join(lines) + "\n"


def _seconds(amount_s: float | None) -> str:
    return "" if amount_s is None else f"{amount_s:.2f}"


def parser() -> argparse.ArgumentParser:
    """Its options."""
    options = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    add = options.add_argument
    add("--entries", type=int, default=100_000, help="in all (%(default)s)")
    add("--repositories", type=int, default=500, help="that they lie in (%(default)s)")
    add("--due", type=int, default=10_000, help="of them expire at once (%(default)s)")
    add("--start", action="append", choices=STARTS, help="repeatable (all)")
    add("--limit", type=int, default=900, help="seconds for each start (%(default)s)")
    add(
        "--output",
        type=Path,
        default=Path("build/bench"),
        help="folder of scale.md, scale.json (%(default)s)",
    )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, write both files; the exit code."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _ended)
    others_busy = busy_share()
    try:
        with tempfile.TemporaryDirectory(prefix="regproxy-scale-", ignore_cleanup_errors=True) as name:
            crowd = Crowd(Path(name) / "data", options.entries, options.repositories, options.due)
            runs = measure(Path(name), crowd, options.limit, options.start or STARTS)
            _write(options.output, crowd, runs, others_busy)
    except BenchFailed as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    return 0


def _write(folder: Path, crowd: Crowd, runs: Sequence[Run], others_busy: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = markdown(crowd, runs, others_busy)
    document = {
        "machine": machine(),
        "others_busy": others_busy,
        "entries": crowd.entries,
        "repositories": crowd.repositories,
        "due": crowd.due,
        "runs": [attrs.asdict(run) for run in runs],
    }
    (folder / "scale.md").write_text(text)
    (folder / "scale.json").write_text(json.dumps(document, indent=1) + "\n")
    print(text)


def _ended(number: int, frame: object) -> None:
    raise BenchFailed("ended by a signal")


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
