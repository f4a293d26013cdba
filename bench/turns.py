"""A daemon whose reactor's turns are timed: ``python -m bench.turns FILE ARGUMENTS...`` is twistd.

A turn is what the reactor does between two waits. Each is booked under what ran meanwhile: loading,
saving, removing, evicting, spreading, asking an upstream, survey, a full scrub, each page and operation of
the admin listener by its name, stopping. FILE gets a line of JSON when one of these begins or ends, and the
figures at the end.

On a busy machine a turn is long since its thread waits for a core; the kernel says for how long. Without that
time it is *held*: by work of its own, by the disk, or by Python's lock that another thread has.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import attrs

STARTING, NOTHING = "starting", "serving"
STOPPING, SCRUB = "stopping", "scrub"
_KEPT = 5


@attrs.define
class Phase:
    """The turns of one phase, in seconds: by the wall clock, held, and of the reactor thread's CPU time."""

    turns: int = 0
    over_5_ms: int = 0
    over_20_ms: int = 0
    longest_s: float = 0.0
    longest_held_s: float = 0.0
    longest_cpu_s: float = 0.0
    longest: list[float] = attrs.field(factory=list)

    def book(self, wall_s: float, waited_s: float, cpu_s: float) -> None:
        """One more turn; ``waited_s`` of it there was no core for it."""
        held_s = max(cpu_s, wall_s - waited_s)
        self.turns += 1
        self.over_5_ms += held_s > 0.005
        self.over_20_ms += held_s > 0.020
        self.longest_s = max(self.longest_s, wall_s)
        self.longest_held_s = max(self.longest_held_s, held_s)
        self.longest_cpu_s = max(self.longest_cpu_s, cpu_s)
        if held_s > 0.005:
            self.longest = sorted([*self.longest, round(held_s, 4)])[-_KEPT:]


class Cores:
    """For how long this thread has waited for a core so far; 0 where the kernel does not say."""

    def __init__(self, path: str = "/proc/thread-self/schedstat") -> None:
        try:
            self._descriptor: int | None = os.open(path, os.O_RDONLY)
        except OSError:
            self._descriptor = None

    def waited_s(self) -> float:
        """Seconds."""
        if self._descriptor is None:
            return 0.0
        return int(os.pread(self._descriptor, 100, 0).split()[1]) / 1e9

    def close(self) -> None:
        """No more of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Turns:
    """In the place of the reactor's poller: it times what happens between two of its waits."""

    def __init__(self, poller: Any, file: Path, waited_s: Callable[[], float]) -> None:
        self._poller = poller
        self._waited_s = waited_s
        self._file = file.open("a", buffering=1)
        self._running: dict[str, int] = {}
        self._seen = {STARTING}
        self._begun = False
        self.phases: dict[str, Phase] = {}
        self._begin_turn()

    def _begin_turn(self) -> None:
        self._core_s, self._cpu_s = self._waited_s(), time.thread_time()
        self._wall_s = time.perf_counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)

    def poll(self, *args: Any) -> Any:
        """A turn ends, the next one begins when this returns."""
        wall_s, cpu_s = time.perf_counter() - self._wall_s, time.thread_time() - self._cpu_s
        waited_s = self._waited_s() - self._core_s
        for name in self._seen or {NOTHING}:
            self.phases.setdefault(name, Phase()).book(wall_s, waited_s, cpu_s)
        self._seen, self._begun = set(self._running), True
        try:
            return self._poller.poll(*args)
        finally:
            self._begin_turn()

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

    async def during(self, name: str, work: Awaitable[Any]) -> Any:
        """What ``work`` gives, which runs as ``name``."""
        self.begin(name)
        try:
            return await work
        finally:
            self.end(name)

    def passed(self, result: Any, name: str) -> Any:
        """It has ended with ``result``."""
        self.end(name)
        return result

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
    """Have the daemon's long works, and what operators ask for, tell when they run."""
    from regproxy.admin.door import Door
    from regproxy.admin.pages import Pages
    from regproxy.eviction.evictor import Evictor
    from regproxy.expiry.works import Works
    from regproxy.service import MirrorService
    from regproxy.storage.survey import Surveyor
    from regproxy.upkeep.scrubber import Scrubber

    work, show, scrub, end = Works.begin, Pages._served, Scrubber.now, MirrorService._end

    def watched_work(self: Any, name: str, job: Callable[[], Any]) -> Any:
        return work(self, name, lambda: turns.during(name, job()))

    def watched_page(self: Any, request: Any) -> Any:
        name = request.path.decode("latin-1")
        turns.begin(name)
        return show(self, request).addBoth(turns.passed, name)

    def watched_scrub(self: Any) -> bool:
        begun = scrub(self)
        if begun:
            turns.begin(SCRUB)
        return begun

    async def watched_end(self: Any) -> None:
        turns.begin(STOPPING)
        await end(self)

    for owner, name, watched in (
        (Works, "begin", watched_work),
        (Pages, "_served", watched_page),
        (Scrubber, "now", watched_scrub),
        (MirrorService, "_end", watched_end),
        (Scrubber, "_end", _then_scrubbed(turns, Scrubber._end)),
        (Surveyor, "_run", _under("survey", turns, Surveyor._run)),
        (Evictor, "_work", _under("evicting", turns, Evictor._work)),
        (Door, "_carry_out", _under(None, turns, Door._carry_out)),
    ):
        setattr(owner, name, watched)


Work = Callable[..., Coroutine[Any, Any, Any]]


def _under(name: str | None, turns: Turns, work: Work) -> Work:
    """``work``, booked under ``name``; None: under its first argument."""

    async def watched(self: Any, *args: Any) -> Any:
        return await turns.during(name or args[0], work(self, *args))

    return watched


def _then_scrubbed(turns: Turns, ended: Work) -> Work:
    async def watched(self: Any, running: Any, full: bool) -> None:
        await ended(self, running, full)
        if full:
            turns.end(SCRUB)

    return watched


def main() -> None:
    """twistd, timed."""
    file, *arguments = sys.argv[1:]
    from twisted.internet import reactor
    from twisted.scripts.twistd import run

    timed: Any = reactor
    if not hasattr(timed, "_poller"):
        sys.exit("bench.turns: it times the epoll reactor only")
    turns = timed._poller = Turns(timed._poller, Path(file), Cores().waited_s)
    watch(turns)
    timed.addSystemEventTrigger("after", "shutdown", turns.report)
    sys.argv = ["twistd", *arguments]
    run()


if __name__ == "__main__":
    main()
