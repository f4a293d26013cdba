"""Real parts: docker-registry behind a token server, ``twistd regproxy``, skopeo, and ``kill -9``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor

from regproxy.testing.daemon import Daemon
from regproxy.testing.docker_registry import DockerRegistry, free_port
from regproxy.testing.images import busybox_image, make_index, sized_image
from regproxy.testing.processes import run
from regproxy.testing.tokens import TokenServer, User
from tests.conftest import require_program

pytestmark = pytest.mark.system

PASSWORD = "correct-hunter2-battery"
IMAGES = {
    "oci": make_index(busybox_image(), sized_image(3 << 20, 1 << 20, 200_000)),
    "docker": sized_image(2 << 20, 100_000, docker=True),
    "docker-list": make_index(busybox_image(docker=True), docker=True),
}
SETTINGS = """\
listen: ["tcp:{port}:interface=127.0.0.1"]
admin: ["tcp:{admin}:interface=127.0.0.1"]
storage: {{root: "{root}", min_free: 0 B}}
ttl: 7d
upstreams:
  registry.example:
    endpoints: ["{upstream}"]
    insecure: true
    default: true
    public: true
    credentials: {{username: mirror, password: "{password}"}}
    token_realms: ["{realm}"]
"""


@attrs.frozen
class Real:
    """A token-protected registry, and the daemon in front of it."""

    registry: DockerRegistry
    tokens: TokenServer
    daemon: Daemon
    folder: Path

    async def copy(self, repository: str, into: str) -> Path:
        """``skopeo copy`` through the daemon; the folder it wrote."""
        target = self.folder / into
        source = f"docker://{self.daemon.netloc}/{repository}:latest"
        argv = [
            "skopeo",
            "copy",
            "--all",
            "--preserve-digests",
            "--src-tls-verify=false",
            source,
            f"dir:{target}",
        ]
        done = await run(reactor, argv, limit_s=60)
        assert done.code == 0, done.text + self.daemon.output
        return target

    async def cost(self) -> Counter[str]:
        """What reached registry and token server since the last time: method, kind, status."""
        seen: Counter[str] = Counter()
        for record in await self.registry.requests():
            kind = next((k for k in ("manifests", "blobs", "tags") if f"/{k}/" in record.path), "base")
            seen[f"{record.method} {kind} {record.status}"] += 1
        seen["token"] += len(self.tokens.requests)
        await self.registry.clear()
        self.tokens.clear()
        return +seen


@pytest_twisted.async_yield_fixture
async def real(tmp_path) -> AsyncIterator[Real]:
    require_program("docker-registry")
    require_program("skopeo")
    tokens = TokenServer(reactor, users={"mirror": User(PASSWORD, {"*": ("pull",)})})
    await tokens.start()
    registry = DockerRegistry(reactor, tmp_path / "registry", tokens=tokens)
    await registry.start()
    for name, image in IMAGES.items():
        await registry.push(f"team/{name}", "latest", image)
    port = free_port()
    settings = tmp_path / "regproxy.yml"
    settings.write_text(
        SETTINGS.format(
            port=port,
            admin=free_port(),
            root=tmp_path / "content",
            upstream=registry.url,
            realm=tokens.url,
            password=PASSWORD,
        )
    )
    daemon = Daemon(reactor, settings, port, limit_s=120)
    await daemon.start()
    await registry.clear()
    yield Real(registry, tokens, daemon, tmp_path)
    await daemon.stop()
    await registry.stop()
    await tokens.stop()


def contents(folder: Path) -> dict[str, bytes]:
    """Manifest and blobs that skopeo wrote, by file name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "version"}


async def test_a_real_image_cold_warm_and_after_a_kill(real):
    image = IMAGES["oci"]
    manifests, blobs = list(image.all_manifests()), image.all_blobs()
    cold = await real.copy("team/oci", "cold")
    cost = await real.cost()
    assert cost["GET manifests 200"] == len(manifests)
    assert cost["GET blobs 200"] == len(blobs)
    assert not any(name.startswith("HEAD") for name in cost)
    assert cost["token"] <= 2, "the one tried after the start, and the one for the repository"
    assert cost["GET manifests 401"] + cost["GET blobs 401"] <= 2

    warm = await real.copy("team/oci", "warm")
    assert await real.cost() == Counter(), "a warm pull within the fresh time asks nobody"

    await real.daemon.kill()
    await real.registry.stop()
    await real.daemon.start()
    restarted = await real.copy("team/oci", "restarted")

    top = (cold / "manifest.json").read_bytes()
    assert json.loads(top) == json.loads(image.content)
    assert contents(cold) == contents(warm) == contents(restarted)
    assert PASSWORD not in real.daemon.output


@pytest.mark.parametrize("name", ["docker", "docker-list"])
async def test_docker_media_types(real, name):
    folder = await real.copy(f"team/{name}", "copy")
    assert (folder / "manifest.json").read_bytes() == IMAGES[name].content
    await real.copy(f"team/{name}", "again")
    cost = await real.cost()
    assert cost["GET blobs 200"] == len(IMAGES[name].all_blobs())


async def test_kills_in_the_middle_of_pulls_lose_nothing_and_serve_nothing_wrong(real):
    image = IMAGES["oci"]
    for number in range(4):
        pulling = real.copy("team/oci", f"cut{number}")
        from twisted.internet.defer import Deferred
        from twisted.internet.task import deferLater

        cut = Deferred.fromCoroutine(pulling)
        cut.addErrback(lambda failure: failure.trap(AssertionError))
        await deferLater(reactor, 0.05 * (number + 1))
        await real.daemon.kill()
        await cut
        await real.daemon.start()
    whole = await real.copy("team/oci", "whole")
    assert (whole / "manifest.json").read_bytes() == image.content
    await real.copy("team/oci", "warm")
    assert contents(whole) == contents(real.folder / "warm")
