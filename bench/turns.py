"""A daemon whose reactor's turns are timed: ``python -m bench.turns FILE ARGUMENTS...`` is twistd.

A turn is what the reactor does between two waits. Each is booked under what ran meanwhile: loading,
saving, removing, evicting, spreading, asking an upstream, survey, stopping. FILE gets a line of JSON when one
of these begins or ends, and the figures at the end.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

STARTING, NOTHING = "starting", "serving"
STOPPING = "stopping"
_KEPT = 5


@attrs.define
class Phase:
    """The turns of one phase, in seconds: by the wall clock and by the reactor thread's CPU time."""

    turns: int = 0
    over_5_ms: int = 0
    longest_s: float = 0.0
    longest_cpu_s: float = 0.0
    longest: list[float] = attrs.field(factory=list)

    def book(self, wall_s: float, cpu_s: float) -> None:
        """One more turn."""
        self.turns += 1
        self.over_5_ms += wall_s > 0.005
        self.longest_s = max(self.longest_s, wall_s)
        self.longest_cpu_s = max(self.longest_cpu_s, cpu_s)
        if wall_s > 0.005:
            self.longest = sorted([*self.longest, round(wall_s, 4)])[-_KEPT:]


class Turns:
    """In the place of the reactor's poller: it times what happens between two of its waits."""

    def __init__(self, poller: Any, file: Path) -> None:
        self._poller = poller
        self._file = file.open("a", buffering=1)
        self._running: dict[str, int] = {}
        self._seen = {STARTING}
        self._begun = False
        self.phases: dict[str, Phase] = {}
        self._wall_s, self._cpu_s = time.perf_counter(), time.thread_time()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)

    def poll(self, *args: Any) -> Any:
        """A turn ends, the next one begins when this returns."""
        wall_s, cpu_s = time.perf_counter() - self._wall_s, time.thread_time() - self._cpu_s
        for name in self._seen or {NOTHING}:
            self.phases.setdefault(name, Phase()).book(wall_s, cpu_s)
        self._seen, self._begun = set(self._running), True
        try:
            return self._poller.poll(*args)
        finally:
            self._wall_s, self._cpu_s = time.perf_counter(), time.thread_time()

    def begin(self, name: str) -> None:
        """It runs from now on, maybe more than once at a time."""
        self._running[name] = self._running.get(name, 0) + 1
        if self._begun:
            self._seen.add(name)
        self._tell(name, "begins")

    def end(self, name: str) -> None:
        """It has ended."""
        left = self._running.pop(name) - 1
        if left:
            self._running[name] = left
        else:
            self._tell(name, "ends")

    def report(self) -> None:
        """Write the figures."""
        phases = {name: attrs.asdict(phase) for name, phase in self.phases.items()}
        self._write({"phases": phases})

    def close(self) -> None:
        """Nothing more is written."""
        self._file.close()

    def _tell(self, name: str, what: str) -> None:
        self._write({"name": name, "what": what, "at": time.monotonic()})

    def _write(self, document: Any) -> None:
        self._file.write(json.dumps(document) + "\n")


def watch(turns: Turns) -> None:
    """Have the daemon's long works tell when they run."""
    from regproxy.eviction.evictor import Evictor
    from regproxy.expiry.works import Works
    from regproxy.service import MirrorService
    from regproxy.storage.survey import Surveyor

    work = Works.begin
    survey = Surveyor._run
    evict = Evictor._work
    end = MirrorService._end

    def watched_work(self: Any, name: str, job: Callable[[], Any]) -> Any:
        async def watched() -> None:
            turns.begin(name)
            try:
                await job()
            finally:
                turns.end(name)

        return work(self, name, watched)

    async def watched_survey(self: Any) -> Any:
        turns.begin("survey")
        try:
            return await survey(self)
        finally:
            turns.end("survey")

    async def watched_eviction(self: Any, need: Any) -> None:
        turns.begin("evicting")
        try:
            await evict(self, need)
        finally:
            turns.end("evicting")

    async def watched_end(self: Any) -> None:
        turns.begin(STOPPING)
        await end(self)

    for owner, name, watched in (
        (Works, "begin", watched_work),
        (Surveyor, "_run", watched_survey),
        (Evictor, "_work", watched_eviction),
        (MirrorService, "_end", watched_end),
    ):
        setattr(owner, name, watched)


def main() -> None:
    """twistd, timed."""
    file, *arguments = sys.argv[1:]
    from twisted.internet import reactor
    from twisted.scripts.twistd import run

    timed: Any = reactor
    if not hasattr(timed, "_poller"):
        sys.exit("bench.turns: it times the epoll reactor only")
    turns = timed._poller = Turns(timed._poller, Path(file))
    watch(turns)
    timed.addSystemEventTrigger("after", "shutdown", turns.report)
    sys.argv = ["twistd", *arguments]
    run()


if __name__ == "__main__":
    main()
