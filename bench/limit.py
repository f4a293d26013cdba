"""Much pulled through a small limit, under load: does it hold, does a pull fail, how much was here.

``python -m bench.limit``; by default a twenty-fifth of 50 GiB through 2 GiB. Images are those of
``bench.policies``, scaled; the same pulls are simulated there for least recently used beside.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs

from bench.__main__ import size
from bench.errors import BenchFailed
from bench.load import ROOT
from bench.origin import Contents, Upstream
from bench.policies import KEPT, POLICIES, TRAFFIC, Image, World, simulate
from bench.processes import Child
from bench.targets import free_port

MIB = 1 << 20
NAME = "limit.bench"
CHUNK = 64 * 1024
LOOK_S = 0.05


@attrs.define
class Outcome:
    """What one run gave."""

    limit_bytes: int
    pulled_bytes: int = 0
    pulls: int = 0
    failed: list[str] = attrs.field(factory=list)
    most_bytes: int = 0
    most_in_flight_bytes: int = 0
    looks: int = 0
    wall_s: float = 0.0
    hit_bytes: float = 0.0
    simulated: Mapping[str, float] = attrs.field(factory=dict)

    @property
    def held(self) -> bool:
        """Within its limit, no pull failed, and no less was here than least recently used would have kept."""
        within = self.most_bytes <= self.limit_bytes
        return within and not self.failed and self.hit_bytes >= self.simulated.get("LRU", 0.0)


class Run:
    """Clients in front of one daemon."""

    def __init__(self, world: World, contents: Contents, netloc: str, root: Path, goal_bytes: int) -> None:
        self.outcome = Outcome(world.limit_bytes)
        self.done: list[tuple[float, Image]] = []
        self._pulls = iter(world.pulls)
        self._contents = contents
        self._netloc = netloc
        self._root = root
        self._goal = goal_bytes
        self._lock = threading.Lock()
        self._over = False

    def go(self, clients: int) -> None:
        """All pulls, looked at from beside."""
        began_s = time.monotonic()
        looking = threading.Thread(target=self._look, daemon=True)
        threads = [threading.Thread(target=self._client, daemon=True) for _ in range(clients)]
        for thread in (looking, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        self._over = True
        looking.join()
        self.outcome.wall_s = time.monotonic() - began_s

    def _next(self) -> Image | None:
        with self._lock:
            found = next(self._pulls, None)
            if found is None or self.outcome.pulled_bytes >= self._goal:
                return None
            self.done.append(found)
            self.outcome.pulls += 1
            return found[1]

    def _client(self) -> None:
        connection = http.client.HTTPConnection(self._netloc, timeout=120)
        while (image := self._next()) is not None:
            try:
                self._pull(connection, image)
            except (OSError, http.client.HTTPException) as error:
                self.outcome.failed.append(repr(error))
                connection.close()

    def _pull(self, connection: http.client.HTTPConnection, image: Image) -> None:
        self._get(connection, f"manifests/v{image.number}")
        for layer in image.layers:
            digest = self._contents.digest(layer)
            self._get(connection, f"blobs/{digest}", digest)

    def _get(self, connection: http.client.HTTPConnection, path: str, digest: str | None = None) -> None:
        connection.request("GET", f"/v2/bench/app/{path}")
        answer = connection.getresponse()
        read, hashed = 0, sha256()
        while part := answer.read(CHUNK):
            read += len(part)
            hashed.update(part)
        wrong = digest is not None and digest != f"sha256:{hashed.hexdigest()}"
        if answer.status != 200 or wrong:
            self.outcome.failed.append(f"{path}: {answer.status}, {read} bytes")
        with self._lock:
            self.outcome.pulled_bytes += read

    def _look(self) -> None:
        while not self._over:
            most, flying = blocks(self._root / "blobs"), blocks(self._root / "fills")
            self.outcome.most_bytes = max(self.outcome.most_bytes, most)
            self.outcome.most_in_flight_bytes = max(self.outcome.most_in_flight_bytes, flying)
            self.outcome.looks += 1
            time.sleep(LOOK_S)


def blocks(top: Path) -> int:
    """As du counts them; what vanishes meanwhile counts nothing."""
    return sum(inodes(top).values())


def inodes(top: Path) -> dict[int, int]:
    """The bytes of each file, by its inode."""
    found = {}
    for folder, _, names in os.walk(top):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(os.path.join(folder, name))
                found[status.st_ino] = status.st_blocks * 512
    return found


def measure(folder: Path, limit_bytes: int, goal_bytes: int, clients: int, seed: int) -> Outcome:
    """One run. BenchFailed when the daemon ends."""
    world = World(attrs.evolve(TRAFFIC[2], pulls=200_000 if goal_bytes > 1 << 33 else 20_000), seed)
    scale = limit_bytes / world.limit_bytes
    world.sizes = [max(64, int(one * scale)) for one in world.sizes]
    world.limit_bytes = limit_bytes
    contents = Contents(world.sizes)
    images = {image.number: image for _, image in world.pulls}
    upstream = Upstream(contents, images)
    port, root = free_port(), folder / "data"
    with upstream.serving() as url:
        settings = folder / "limit.json"
        settings.write_text(json.dumps(_settings(port, root, limit_bytes, url)))
        root.mkdir()
        child = Child(daemon(settings), folder / "log", cwd=ROOT)
        try:
            wait(port, child)
            done = Run(world, contents, f"127.0.0.1:{port}", root, goal_bytes)
            done.go(clients)
            if not child.alive:
                raise BenchFailed(f"the daemon ended: {child.last_words()}")
        finally:
            child.stop(20.0)
    outcome = done.outcome
    outcome.hit_bytes = 1 - upstream.sent_bytes / max(1, outcome.pulled_bytes)
    world.pulls = done.done
    outcome.simulated = {name: simulate(world, POLICIES[name]()).of_bytes for name in ("LRU", KEPT)}
    return outcome


def daemon(settings: Path) -> list[str]:
    """The mirror's command line."""
    run = "from twisted.scripts.twistd import run; run()"
    return [sys.executable, "-c", run, "--nodaemon", "--pidfile=", "regproxy", "--config", str(settings)]


def _settings(port: int, root: Path, limit_bytes: int, url: str) -> dict[str, Any]:
    return {
        "listen": [f"tcp:{port}:interface=127.0.0.1"],
        "admin": [],
        "log": {"access": "off"},
        "storage": {"root": str(root), "max_size": f"{limit_bytes} B", "min_free": "0 B"},
        "upstreams": {NAME: {"endpoints": [url], "insecure": True, "default": True}},
    }


def wait(port: int, child: Child) -> None:
    """Until it answers. BenchFailed when it ends, or after 20 s."""
    for _ in range(400):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/v2/")
            connection.getresponse().read()
            return
        except OSError:
            time.sleep(0.05)
        if not child.alive:
            break
    raise BenchFailed(f"the daemon does not answer: {child.last_words()}")


def text_of(outcome: Outcome) -> str:
    """For people."""
    simulated = ", ".join(f"{name} {ratio:.1%}" for name, ratio in outcome.simulated.items())
    return (
        f"{outcome.pulled_bytes / MIB:.0f} MiB of {outcome.pulls} pulls through "
        f"{outcome.limit_bytes / MIB:.0f} MiB in {outcome.wall_s:.0f} s: {len(outcome.failed)} failed; "
        f"at most {outcome.most_bytes / MIB:.1f} MiB complete, "
        f"{outcome.most_in_flight_bytes / MIB:.1f} MiB in flight, in {outcome.looks} looks; "
        f"{outcome.hit_bytes:.1%} of the bytes were here (simulated: {simulated})"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where it did not hold."""
    options = argparse.ArgumentParser(prog="python -m bench.limit", description=__doc__)
    add = options.add_argument
    add("--limit", type=size, default=82 * MIB, help="storage.max_size (82MiB)")
    add("--pulled", type=size, default=2 << 30, help="how much is pulled in all (2GiB)")
    add("--clients", type=int, default=4, help="at once (%(default)s)")
    add("--seed", type=int, default=0, help="of the trace (%(default)s)")
    chosen = options.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="regproxy-limit-", ignore_cleanup_errors=True) as name:
        try:
            outcome = measure(Path(name), chosen.limit, chosen.pulled, chosen.clients, chosen.seed)
        except BenchFailed as failure:
            print(f"bench: {failure}", file=sys.stderr)
            return 1
    print(text_of(outcome))
    for line in outcome.failed[:10]:
        print(line, file=sys.stderr)
    return int(not outcome.held)


if __name__ == "__main__":
    sys.exit(main())
