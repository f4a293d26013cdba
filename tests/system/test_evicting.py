"""A limit that holds under load: the daemon over a small one, and ten times as much pulled through it."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from random import Random

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from regproxy.testing.daemon import Daemon
from regproxy.testing.docker_registry import free_port
from regproxy.testing.images import Image, sized_image
from regproxy.testing.registry import ScriptableRegistry

pytestmark = pytest.mark.system

MIB = 1 << 20
LIMIT = 40 * MIB
CLIENTS = 4
PULLS = 390
"""Of 2.7 MiB each: 1 GiB."""
IMAGES = 60
SKEW = 0.9
SETTINGS = """\
listen: ["tcp:{port}:interface=127.0.0.1"]
admin: ["tcp:{admin}:interface=127.0.0.1"]
storage: {{root: "{root}", max_size: 40 MiB, min_free: 0 B}}
pins: ["registry.test/team/app:pinned"]
log: {{access: "off"}}
upstreams:
  registry.test: {{endpoints: ["{upstream}"], insecure: true, default: true, public: true}}
"""


@attrs.define
class Samples:
    """What lies on the disk, looked at again and again in a thread of its own."""

    root: Path
    most_blobs: int = 0
    most: int = 0
    count: int = 0
    stopped: bool = False

    def look(self) -> None:
        """Until it is stopped."""
        while not self.stopped:
            blobs = blocks(self.root / "blobs")
            self.most_blobs = max(self.most_blobs, blobs)
            self.most = max(self.most, blobs + blocks(self.root / "fills"))
            self.count += 1
            time.sleep(0.03)


def blocks(top: Path) -> int:
    """As du counts them; what vanishes meanwhile counts nothing."""
    total = 0
    for folder, _, names in os.walk(top):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


@attrs.define
class House:
    """A registry with images, and a daemon in front of it."""

    registry: ScriptableRegistry
    daemon: Daemon
    root: Path
    netloc: str
    admin: str
    images: Sequence[Image]
    failed: list[str] = attrs.field(factory=list)
    pulled_bytes: int = 0
    lock: threading.Lock = attrs.field(factory=threading.Lock)

    def pull(self, connection: http.client.HTTPConnection, tag: str, image: Image) -> None:
        """A whole image, as a client does; what is wrong with it is noted."""
        paths = [f"/v2/team/app/manifests/{tag}", *(f"/v2/team/app/blobs/{one}" for one in image.all_blobs())]
        contents = [image.content, *image.all_blobs().values()]
        for path, content in zip(paths, contents, strict=True):
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200 or body != content:
                self.failed.append(f"{path}: {answer.status}, {len(body)} of {len(content)} bytes")
            with self.lock:
                self.pulled_bytes += len(body)

    def client(self, seed: int, pulls: int) -> None:
        """Pulls of a Zipf trace."""
        random = Random(seed)
        weights = [1 / (rank + 1) ** SKEW for rank in range(IMAGES)]
        connection = http.client.HTTPConnection(self.netloc, timeout=60)
        for _ in range(pulls):
            [number] = random.choices(range(IMAGES), weights)
            self.pull(connection, f"v{number}", self.images[number])
        connection.close()

    def figures(self) -> dict[str, float]:
        """The daemon's own."""
        connection = http.client.HTTPConnection(self.admin, timeout=30)
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        return {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
        }

    def status(self) -> dict[str, dict[str, int]]:
        """The status page."""
        connection = http.client.HTTPConnection(self.admin, timeout=30)
        connection.request("GET", "/status")
        found: dict[str, dict[str, int]] = json.loads(connection.getresponse().read())
        connection.close()
        return found


@pytest_twisted.async_yield_fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    registry = ScriptableRegistry(reactor)
    await registry.start()
    random = Random(7)
    images = []
    for number in range(IMAGES):
        base = 300_000 + number % 6  # six bases, each of ten images
        image = sized_image(base, *(int(random.lognormvariate(14, 0.8)) + number for _ in range(2)))
        registry.put_image("team/app", f"v{number}", image)
        images.append(image)
    registry.put_image("team/app", "pinned", images[-1])
    port, admin = free_port(), free_port()
    root = tmp_path / "content"
    root.mkdir(mode=0o750)
    settings = tmp_path / "regproxy.yml"
    settings.write_text(SETTINGS.format(port=port, admin=admin, root=root, upstream=registry.url))
    daemon = Daemon(reactor, settings, port, limit_s=200)
    await daemon.start()
    yield House(registry, daemon, root, f"127.0.0.1:{port}", f"127.0.0.1:{admin}", images)
    done = await daemon.stop()
    await registry.stop()
    assert done is not None
    assert "Traceback" not in done.text, done.text
    assert "Unhandled" not in done.text, done.text


async def test_the_limit_holds_under_load_and_no_pull_fails(house: House) -> None:
    """1 GiB through 40 MiB by four clients at once, looked at 30 times a second."""
    pool = ThreadPool(CLIENTS + 2, CLIENTS + 2)
    pool.start()
    samples = Samples(house.root)
    try:
        sampling = deferToThreadPool(reactor, pool, samples.look)
        await deferToThreadPool(
            reactor, pool, house.pull, http.client.HTTPConnection(house.netloc), "pinned", house.images[-1]
        )
        clients = [
            deferToThreadPool(reactor, pool, house.client, n, PULLS // CLIENTS) for n in range(CLIENTS)
        ]
        await gatherResults(clients)
        samples.stopped = True
        await sampling
        figures = await deferToThreadPool(reactor, pool, house.figures)
        status = await deferToThreadPool(reactor, pool, house.status)
    finally:
        samples.stopped = True
        pool.stop()
    assert house.failed == []
    assert house.pulled_bytes > 1024 * MIB
    assert samples.count > 50
    assert samples.most_blobs <= LIMIT
    assert samples.most <= LIMIT + MIB
    evicted = figures['regproxy_evicted_total{kind="image",setting="max_size"}']
    assert evicted > 20
    assert figures["regproxy_disk_used_bytes"] <= figures["regproxy_disk_limit_bytes"] == LIMIT
    assert status["disk"]["limit_bytes"] == LIMIT
    before = house.registry.count(kind="blob", method="GET")
    await pool_pull(house)
    assert house.registry.count(kind="blob", method="GET") == before, "what is pinned is still there"
    assert "Evicted for storage.max_size" in house.daemon.output


async def pool_pull(house: House) -> None:
    """The pinned image once more."""
    pool = ThreadPool(1, 1)
    pool.start()
    try:
        await deferToThreadPool(
            reactor, pool, house.pull, http.client.HTTPConnection(house.netloc), "pinned", house.images[-1]
        )
    finally:
        pool.stop()
    assert house.failed == []
