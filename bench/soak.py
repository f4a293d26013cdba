"""An hour of what years bring: pulls over a limit, short ttl, stops and kills, an upstream that fails.

``python -m bench.soak``; an image is pulled whole, its digests verified, nothing tried again. The daemon is
killed or ended in the first half; the second half is one life, in which it must not grow.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import attrs

from bench.__main__ import size
from bench.errors import BenchFailed
from bench.flawed import FlawedUpstream, spells
from bench.limit import CHUNK, MIB, NAME, daemon, inodes, wait
from bench.load import ROOT
from bench.origin import Contents
from bench.policies import TRAFFIC, Image, World
from bench.processes import Child
from bench.soaked import COUNTED, Outcome, text_of
from bench.targets import free_port
from bench.verdicts import BROKE, WRONG, Failure, Look, Stop

LOOK_S = 3.0
STOP_EVERY_S = (40.0, 160.0)
PAUSE_S = 1.2
"""Between two pulls of a client, on average."""
PATIENCE_S = 30.0
"""As containerd's, for each read."""
SCRUB_EVERY_S = 300.0
"""Everything on the disk is hashed again, beside the slow pass that the settings bring."""
TTL = "30s"
"""About as long as the space lasts: both take things away."""
REPOSITORIES = 8
TRACEBACK = "Traceback (most recent call last)"


class Operators(http.client.HTTPConnection):
    """To the daemon's operators' socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        """As HTTPConnection's."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class PullFailed(Exception):
    """A pull ends. ``status`` as in ``bench.verdicts``."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status
        self.said = said


class Soak:
    """One folder, its daemon's lives, clients in front, looks from beside."""

    def __init__(
        self, folder: Path, world: World, contents: Contents, settings: Path, port: int, seed: int
    ) -> None:
        self.outcome = Outcome(world.limit_bytes)
        self._folder = folder
        self._root = folder / "data"
        self._settings = settings
        self._port = port
        self._contents = contents
        self._random = Random(seed)
        self._images = itertools.cycle([image for _, image in world.pulls])
        self._lock = threading.Lock()
        self._up, self._over = threading.Event(), threading.Event()
        self._lives = 0
        self._scrub: Child | None = None
        self._counted = Counter[str]()

    def go(self, seconds: float, clients: int) -> None:
        """All of it. BenchFailed when a daemon ends by itself, or does not start."""
        began_s = time.monotonic()
        child = self._start()
        threads = [
            threading.Thread(target=self._client, args=(seed,), daemon=True) for seed in range(clients)
        ]
        for thread in threads:
            thread.start()
        try:
            next_stop_s = began_s + self._random.uniform(*STOP_EVERY_S)
            next_scrub_s = began_s + 30.0
            while (now_s := time.monotonic()) < began_s + seconds:
                if now_s >= next_stop_s and now_s < began_s + seconds / 2:
                    child = self._stop(child)
                    next_stop_s = now_s + self._random.uniform(*STOP_EVERY_S)
                if now_s >= next_scrub_s:
                    self._scrub_all()
                    next_scrub_s = now_s + SCRUB_EVERY_S
                self._look(child)
                time.sleep(LOOK_S)
        finally:
            self._over.set()
            self._up.set()
            for thread in threads:
                thread.join(PATIENCE_S * 2)
            self._end_scrub()
            child.stop(20.0)
            self.outcome.minutes = (time.monotonic() - began_s) / 60
            logs = self._folder.glob("log-*")
            self.outcome.tracebacks = sum(log.read_text("utf-8", "replace").count(TRACEBACK) for log in logs)

    def _start(self) -> Child:
        self._lives += 1
        child = Child(daemon(self._settings), self._folder / f"log-{self._lives}", cwd=ROOT)
        wait(self._port, child)
        self._up.set()
        return child

    def _stop(self, child: Child) -> Child:
        signal = self._random.choice(("KILL", "KILL", "TERM"))
        self._up.clear()
        began_s = time.monotonic()
        if signal == "KILL":
            child.kill()
        else:
            child.stop(20.0)
        following = self._start()
        self.outcome.stops.append(Stop(signal, began_s, time.monotonic()))
        return following

    def _scrub_all(self) -> None:
        self._end_scrub()
        # By its socket: without a daemon there it is not to take the folder, which the next one needs.
        argv = [sys.executable, "-m", "regproxy", "scrub", "--now", "--admin", str(admin(self._folder))]
        self._scrub = Child(argv, self._folder / f"scrub-{len(self.outcome.scrubs)}", cwd=ROOT)

    def _end_scrub(self) -> None:
        if self._scrub is not None:
            self.outcome.scrubs.append(self._scrub.code)
            self._scrub.stop()
            self._scrub = None

    def _look(self, child: Child) -> None:
        if not child.alive:
            raise BenchFailed(f"the daemon ended: {child.last_words()}")
        # By inode: a file that loses its name between two of these is one file.
        complete = self._root / "blobs"
        held = sum((inodes(complete) | child.unlinked(complete)).values())
        flying = sum((inodes(self._root / "fills") | child.unlinked(self._root / "fills")).values())
        figures = child.memory_mib(), child.open_files(), child.threads()
        self._count()
        self.outcome.looks.append(Look(time.monotonic(), self._lives, *figures, held, flying))

    def _count(self) -> None:
        connection = Operators(admin(self._folder))
        try:
            connection.request("GET", "/metrics", headers={"Host": "localhost"})
            said = connection.getresponse().read().decode()
        except OSError:
            return  # the next look sees it
        finally:
            connection.close()
        fields = (line.rpartition(" ") for line in said.splitlines())
        now = Counter({COUNTED[name]: int(float(value)) for name, _, value in fields if name in COUNTED})
        # They begin anew with each life.
        for what, count in now.items():
            before = self._counted[what]
            self.outcome.counts[what] += count - before if count >= before else count
        self._counted = now

    def _client(self, seed: int) -> None:
        random = Random(seed)
        while not self._over.wait(random.expovariate(1 / PAUSE_S)):
            self._up.wait()
            with self._lock:
                image = next(self._images)
            self.pull(image)

    def pull(self, image: Image) -> None:
        """All of an image, once, into the outcome; not what was under way when the soak ended."""
        began_s = time.monotonic()
        manifest = self._contents.manifest(image)
        digest = f"sha256:{sha256(manifest).hexdigest()}"
        asked: tuple[str, ...] = (f"v{image.number}", digest)
        base = f"/v2/bench/app{image.number % REPOSITORIES}"
        status, said = 200, ""
        try:
            self._get(f"{base}/manifests/{asked[0]}", digest)
            for layer in image.layers:
                asked = (self._contents.digest(layer),)
                began_s = time.monotonic()
                self._get(f"{base}/blobs/{asked[0]}", asked[0])
        except PullFailed as failed:
            status, said = failed.status, failed.said
        if self._over.is_set():
            return
        with self._lock:
            self.outcome.pulls.append(Failure(asked, began_s, time.monotonic(), status, said))

    def _get(self, path: str, digest: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            hashed, read = sha256(), 0
            if answer.status != 200:
                raise PullFailed(answer.status, answer.read(2000).decode("utf-8", "replace"))
            while part := answer.read(CHUNK):
                hashed.update(part)
                read += len(part)
            if answer.length:
                raise PullFailed(BROKE, f"{answer.length} bytes are missing")
            if f"sha256:{hashed.hexdigest()}" != digest:
                raise PullFailed(WRONG, "wrong bytes in a complete answer")
            with self._lock:
                self.outcome.pulled_bytes += read
        except (OSError, http.client.HTTPException) as error:
            raise PullFailed(BROKE, repr(error)) from error
        finally:
            connection.close()


def measure(folder: Path, seconds: float, limit_bytes: int, clients: int, seed: int) -> Outcome:
    """One soak. BenchFailed when a daemon ends by itself."""
    world = World(attrs.evolve(TRAFFIC[1], pulls=20_000, space=0.15), seed)
    scale = limit_bytes / world.limit_bytes
    world.sizes = [max(64, int(one * scale)) for one in world.sizes]
    world.limit_bytes = limit_bytes
    contents = Contents(world.sizes)
    images = {image.number: image for _, image in world.pulls}
    upstream = FlawedUpstream(contents, images, spells(seed, seconds), seed)
    port, root, settings = free_port(), folder / "data", folder / "soak.json"
    root.mkdir()
    with upstream.serving() as url:
        settings.write_text(json.dumps(_settings(port, root, limit_bytes, url)))
        soak = Soak(folder, world, contents, settings, port, seed)
        soak.go(seconds, clients)
    soak.outcome.faults, soak.outcome.sent_bytes = upstream.faults, upstream.sent_bytes
    return soak.outcome


def admin(folder: Path) -> Path:
    """The operators' socket."""
    return folder / "admin.sock"


def _settings(port: int, root: Path, limit_bytes: int, url: str) -> dict[str, Any]:
    return {
        "listen": [f"tcp:{port}:interface=127.0.0.1"],
        "admin": [f"unix:{admin(root.parent)}"],
        "log": {"access": "off"},
        "storage": {"root": str(root), "max_size": f"{limit_bytes} B", "min_free": "0 B"},
        "ttl": TTL,
        "tags": [{"match": "*", "fresh": "5s"}],
        "survey": {"every": "1h"},
        "scrub": {"every": "1h"},
        "upstreams": {NAME: {"endpoints": [url], "insecure": True, "default": True}},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak and print; 1 where something did not hold."""
    options = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    add = options.add_argument
    add("--minutes", type=float, default=60.0, help="how long (%(default)s)")
    add("--limit", type=size, default=128 * MIB, help="storage.max_size (128MiB)")
    add("--clients", type=int, default=4, help="at once (%(default)s)")
    add("--seed", type=int, default=0, help="of the traces (%(default)s)")
    add("--keep", type=Path, help="a folder for the daemon's logs and content, which stays")
    chosen = options.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="regproxy-soak-", ignore_cleanup_errors=True) as name:
        folder = chosen.keep or Path(name)
        try:
            outcome = measure(folder, chosen.minutes * 60, chosen.limit, chosen.clients, chosen.seed)
        except BenchFailed as failure:
            print(f"bench: {failure}", file=sys.stderr)
            return 1
    print(text_of(outcome))
    found = outcome.wrongs()
    for line in found:
        print(line, file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
