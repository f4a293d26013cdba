"""What operators and the daemon itself do beside the pulls of a mixed load, counted: how often each of it
happened, and how often a kill came in its midst.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.system.client import Answer, Client
from tests.system.load import BROKEN, REPOSITORIES, TAGS

RECENT_S = 0.1
"""What moved on so short a while before the kill was in progress."""
LOOK_S = 0.015
FIGURES = {
    "evict": "regproxy_evicted_total{",
    "expire": "regproxy_expired_total{",
    "scrub": "regproxy_scrubbed_blobs_total{",
    "fill": "regproxy_upstream_received_bytes_total{",
}
"""The daemon's own counts that say that it did something."""
STATE = "scheduler-state*"


class Operator:
    """Works by the operations door of one life of the daemon; until ``killed``.

    ``done`` counts what was answered, or seen to happen, over all lives; ``struck`` what a kill met.
    ``pins`` are those that the folder has to have after the kill, ``doubtful`` one whose answer never came.
    """

    def __init__(self, root: Path, socket: Path, rng: random.Random) -> None:
        self.killed = False
        self.done: Counter[str] = Counter()
        self.struck: Counter[str] = Counter()
        self.pins: set[str] = set()
        self.doubtful: str | None = None
        self._root, self._socket, self._rng = root, socket, rng
        self._open: Counter[str] = Counter()
        self._figures: dict[str, float] = {}
        self._saved: Mapping[str, tuple[int, int]] = {}
        self._moved_s: dict[str, float] = {}
        self._client: Client

    def start(self, quiet: bool = False) -> list[Deferred[None]]:
        """Each fires when it has met the kill, or an error. ``quiet``: only look on."""
        self.killed = False
        self.attach()
        working = [self._look_on] if quiet else [self._look_on, self._purge, self._pin, self._scrub]
        return [Deferred.fromCoroutine(self._until_killed(work)) for work in working]

    def attach(self) -> None:
        """To a new life: its counts begin at nothing."""
        self._figures, self._moved_s = {}, {}
        self._saved = self._files()
        self._client = Client(reactor, "http://localhost", self._socket)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.close()

    def strike(self, pulling: int) -> None:
        """The kill comes now: note what is in progress. ``pulling`` requests of clients are open."""
        self.killed = True
        self._look_at_state()
        now_s = time.monotonic()
        met = {name for name, moved_s in self._moved_s.items() if now_s - moved_s < RECENT_S}
        met |= {name for name, count in self._open.items() if count}
        self.struck.update(met | ({"pull"} if pulling else set()))

    async def until(self, name: str, limit_s: float) -> None:
        """Until ``name`` is seen to be in progress, or the time is over."""
        given_up_s = time.monotonic() + limit_s
        since_s = time.monotonic()
        while time.monotonic() < given_up_s and not self.killed:
            if self._open[name] or self._moved_s.get(name, 0.0) >= since_s:
                return
            await deferLater(reactor, 0.002)

    async def listed(self) -> set[str]:
        """The pins that the daemon knows."""
        found = json.loads((await self._ask("pins")).body)
        return {pin["image"] for pin in found["pins"] if not pin["written"]}

    async def figures(self) -> dict[str, float]:
        """The daemon's own, summed by name."""
        answer = await self._client.ask("/metrics")
        lines = [line for line in answer.body.decode().splitlines() if line[0] != "#"]
        return {
            name: sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(begins))
            for name, begins in FIGURES.items()
        }

    # what goes on until the kill

    async def _until_killed(self, work: Any) -> None:
        while not self.killed:
            try:
                await work()
            except BROKEN:
                if not self.killed:
                    raise

    async def _ask(self, operation: str, **body: object) -> Answer:
        self._open[operation] += 1
        try:
            answer = await self._client.ask(
                f"/actions/{operation}", "POST", json.dumps(body).encode(), content_type="application/json"
            )
        finally:
            self._open[operation] -= 1
        assert self.killed or (answer.status, answer.complete) == (200, True), answer.body
        self.done[operation] += 1
        return answer

    async def _purge(self) -> None:
        await deferLater(reactor, self._rng.uniform(0.0, 0.2))
        image = f"registry.test/{self._rng.choice(REPOSITORIES)}"
        await self._ask("purge", image=self._rng.choice((image, f"{image}:{self._rng.choice(TAGS)}")))

    async def _pin(self) -> None:
        await deferLater(reactor, self._rng.uniform(0.0, 0.1))
        pin = f"registry.test/{self._rng.choice(REPOSITORIES[2:])}:{self._rng.choice(TAGS)}"
        adding = pin not in self.pins
        self.doubtful = pin
        answer = await self._ask("pin" if adding else "unpin", image=pin)
        if answer.complete:
            self.pins ^= {pin}
            self.doubtful = None

    async def _scrub(self) -> None:
        await deferLater(reactor, self._rng.uniform(0.0, 0.2))
        await self._ask("scrub")

    async def _look_on(self) -> None:
        await deferLater(reactor, LOOK_S)
        self._look_at_state()
        figures = await self.figures()
        for name, count in figures.items():
            more = count - self._figures.get(name, 0.0)
            if more:
                self.done[name if name != "scrub" else "scrubbed"] += int(more)
                self._moved_s[name] = time.monotonic()
        self._figures = figures

    def _look_at_state(self) -> None:
        saved = self._files()
        if saved != self._saved:
            self.done["save"] += 1
            self._moved_s["save"] = time.monotonic()
        self._saved = saved

    def _files(self) -> dict[str, tuple[int, int]]:
        """The state, its journals, and one that is being written."""
        found = {}
        for path in [*self._root.glob(STATE), *self._root.glob(f".{STATE}")]:
            try:
                there = path.stat()
            except FileNotFoundError:
                continue
            found[path.name] = (there.st_ino, there.st_size)
        return found
