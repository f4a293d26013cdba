"""The scrub of a whole daemon: a bit that rots is found, what is pinned comes back, an operator looks on."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from regproxy.oci.digest import Digest
from regproxy.testing.checker import check
from regproxy.testing.daemon import Daemon
from regproxy.testing.docker_registry import free_port
from regproxy.testing.images import Image, sized_image
from regproxy.testing.processes import Finished, run
from regproxy.testing.registry import ScriptableRegistry
from tests.system.client import Client

pytestmark = pytest.mark.system

KIB = 1 << 10
SETTINGS = """\
listen: ["tcp:{port}:interface=127.0.0.1"]
admin: ["unix:{folder}/admin.sock:mode=660"]
storage: {{root: "{folder}/content", min_free: 0 B}}
scrub: {{every: off}}
pins: ["registry.test/team/app:pinned"]
log: {{access: "off"}}
upstreams:
  registry.test: {{endpoints: ["{upstream}"], insecure: true, default: true, public: true}}
"""


@attrs.define
class House:
    """A registry with two images, and a daemon in front of it that holds both."""

    folder: Path
    registry: ScriptableRegistry
    daemon: Daemon
    client: Client
    pinned: Image
    other: Image

    @property
    def root(self) -> Path:
        return self.folder / "content"

    def blob(self, digest: Digest) -> Path:
        return self.root / "blobs" / "sha256" / digest.hex[:2] / digest.hex

    async def pull(self, image: Image, name: str) -> None:
        repository, _, tag = name.partition(":")
        answer = await self.client.ask(f"/v2/{repository}/manifests/{tag}")
        assert (answer.status, answer.body) == (200, image.manifest.content)
        for digest, content in image.blobs.items():
            answer = await self.client.ask(f"/v2/{repository}/blobs/{digest}")
            assert (answer.status, answer.body) == (200, content)

    async def command(self, *arguments: str) -> Finished:
        argv = [sys.executable, "-m", "regproxy", "scrub", "--config", str(self.folder / "regproxy.yml")]
        return await run(reactor, [*argv, *arguments], limit_s=60)

    async def until(self, line: str) -> None:
        for _ in range(600):
            if line in self.daemon.output:
                return
            await deferLater(reactor, 0.05)
        raise AssertionError(f"no line {line!r} in {self.daemon.output}")


def rot(path: Path) -> None:
    """A bit changes, and nothing else."""
    found, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o640)
    path.write_bytes(content)
    path.chmod(0o440)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


@pytest_twisted.async_yield_fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    registry = ScriptableRegistry(reactor)
    await registry.start()
    pinned, other = (sized_image(64 * KIB, 96 * KIB, seed=seed) for seed in (1, 2))
    registry.put_image("team/app", "pinned", pinned)
    registry.put_image("team/other", "latest", other)
    port = free_port()
    settings = tmp_path / "regproxy.yml"
    settings.write_text(SETTINGS.format(port=port, folder=tmp_path, upstream=registry.url))
    daemon = Daemon(reactor, settings, port, limit_s=100)
    await daemon.start()
    made = House(tmp_path, registry, daemon, Client(reactor, daemon.url), pinned, other)
    await made.until("The survey found")
    await made.pull(pinned, "team/app:pinned")
    await made.pull(other, "team/other:latest")
    yield made
    await made.client.close()
    await daemon.stop()
    await registry.stop()


def document(done: Finished) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.out.decode().splitlines()[-1])
    return found


async def test_what_rots_is_found_and_what_is_pinned_comes_back(house: House) -> None:
    first = document(await house.command("--json"))
    assert (first["every_s"], first["last"], first["found"]) == (None, None, [])
    kept, gone = (next(iter(image.blobs)) for image in (house.pinned, house.other))
    for digest in (kept, gone):
        rot(house.blob(digest))
    done = await house.command("--now", "--json")
    assert done.code == 8, done.text
    found = document(done)
    assert (found["last"]["bad"], found["last"]["full"]) == (2, True)
    assert {bad["digest"] for bad in found["found"]} == {str(kept), str(gone)}
    await house.until(f"team/app@{kept} is pinned, was lost and is here again")
    assert house.blob(kept).read_bytes() == house.pinned.blobs[kept]
    assert not house.blob(gone).exists()
    await house.pull(house.other, "team/other:latest")
    again = await house.command("--now")
    assert again.code == 0, again.text
    assert b"0 bad" in again.out
    assert f"Operation scrub for uid {os.getuid()}" in house.daemon.output


async def test_without_a_daemon_under_the_lock_of_the_folder(house: House) -> None:
    await house.daemon.stop()
    bad = next(iter(house.other.blobs))
    rot(house.blob(bad))
    done = await house.command("--now")
    assert done.code == 8, done.text
    assert str(bad).encode() in done.out
    assert not house.blob(bad).exists()
    assert (await house.command("--now")).code == 0
    shown = await house.command()
    assert (shown.code, b"0 bad" in shown.out) == (0, True)
    await house.daemon.start()
    await house.until("The survey found")
    await house.pull(house.other, "team/other:latest")
    await house.daemon.stop()
    assert [finding for finding in check(house.root) if "quarantine" not in str(finding)] == []
