"""``kill -9`` at random moments of 60 fills, a restart, a complete pull: bytes right, those that had reached
the disk are not fetched again, nothing wrong in the folder.

SEED decides what is killed when; how far each fill has come by then is the machine's.
"""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.task import deferLater

from regproxy.oci.digest import Digest
from regproxy.storage.maps import decode_map
from regproxy.testing.actions import drip
from regproxy.testing.checker import check
from regproxy.testing.docker_registry import free_port
from regproxy.testing.forked import ForkedDaemon, ForkServer
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.rules import Match
from tests.system.client import Client
from tests.system.load import BROKEN

pytestmark = pytest.mark.system

SEED = int(os.environ.get("KILL_SEED", "20261129"))
WORLDS = 3
"""Side by side: most of the time is spent waiting for a slow registry."""
ROUNDS = 2
"""In each of them."""
FILLS = 10
MIB = 1024 * 1024
SMALL_BYTES, LARGE_BYTES = 4 * MIB, 17 * MIB
LARGE_FILLS = 2
"""Of each round, over several connections."""
SLACK_BYTES = 2 * MIB
"""What several connections may bring twice: where the first one is stopped."""
REPOSITORY = "team/app"


@attrs.define
class Blob:
    """One of them, and how much of it had reached the disk at the kill."""

    content: bytes
    digest: Digest
    claimed: int = 0

    @property
    def path(self) -> str:
        return f"/v2/{REPOSITORY}/blobs/{self.digest}"


class World:
    """A slow registry, and a mirror before it that is killed and started again."""

    def __init__(self, folder: Path, seed: int) -> None:
        folder.mkdir()
        self.root = folder / "root"
        self.rng = random.Random(seed)
        self.registry = ScriptableRegistry(reactor)
        self._server = ForkServer(reactor, limit_s=200)
        self._folder = folder
        self._port = free_port()

    async def begin(self) -> None:
        await self.registry.start()
        self.registry.script(Match(kind="blob"), drip(64 * 1024, 0.05))
        settings = {
            "listen": [f"tcp:{self._port}:interface=127.0.0.1"],
            "admin": [f"unix:{self._folder}/admin.sock"],
            "storage": {"root": str(self.root)},
            "log": {"access": "off"},
            "upstreams": {
                "registry.test": {"endpoints": [self.registry.url], "insecure": True, "default": True}
            },
        }
        path = self._folder / "regproxy.json"
        path.write_text(json.dumps(settings))
        self.daemon = ForkedDaemon(self._server, path)
        await self.start()

    async def start(self) -> None:
        await self.daemon.start()
        self.client = Client(reactor, f"http://127.0.0.1:{self._port}")

    async def end(self) -> None:
        await self._server.close()
        await self.client.close()
        await self.registry.stop()

    def blobs(self) -> list[Blob]:
        sizes = [LARGE_BYTES] * LARGE_FILLS + [SMALL_BYTES] * (FILLS - LARGE_FILLS)
        contents = [self.rng.randbytes(size) for size in sizes]
        made = [Blob(content, Digest.of(content)) for content in contents]
        self.registry.holding(REPOSITORY).blobs.update({blob.digest: blob.content for blob in made})
        return made

    async def round(self) -> list[Blob]:
        """Fills that begin one after the other, a kill in their midst, a start, a complete pull of each."""
        blobs = self.blobs()
        asking = [Deferred.fromCoroutine(self._until_killed(blob)) for blob in blobs]
        await deferLater(reactor, self.rng.uniform(2.0, 4.5))
        await self.daemon.kill()
        await gatherResults(asking)
        await self.client.close()
        assert check(self.root) == []
        self._look_at_maps(blobs)
        self.registry.clear()
        await self.start()
        await gatherResults([Deferred.fromCoroutine(self._pull(blob)) for blob in blobs])
        await self.daemon.heard("The survey found ")
        await self._settled()
        for blob in blobs:
            self._check_upstream_bytes(blob)
            del self.registry.holding(REPOSITORY).blobs[blob.digest]
        return blobs

    async def _settled(self) -> None:
        """Nobody waits for the links of what was pulled: they come a moment later."""
        for _ in range(20):
            found = check(self.root, surveyed=True)
            if not found:
                return
            await deferLater(reactor, 0.1)
        raise AssertionError(f"the folder is wrong: {found}")

    async def _until_killed(self, blob: Blob) -> None:
        await deferLater(reactor, self.rng.uniform(0.0, 1.5))
        try:
            answer = await self.client.ask(blob.path)
        except BROKEN:
            return
        assert not answer.complete or answer.body == blob.content

    def _look_at_maps(self, blobs: list[Blob]) -> None:
        claimed: dict[Digest, int] = {}
        for path in (self.root / "fills").glob("*.map"):
            known = decode_map(path.read_bytes())
            if known is not None and known.is_leftover:
                claimed[known.digest] = sum(stop - start for start, stop in known.there)
        for blob in blobs:
            done = self.root / "blobs" / "sha256" / blob.digest.hex[:2] / blob.digest.hex
            blob.claimed = len(blob.content) if done.exists() else claimed.get(blob.digest, 0)

    async def _pull(self, blob: Blob) -> None:
        answer = await self.client.ask(blob.path)
        assert (answer.status, answer.complete) == (200, True)
        assert answer.body == blob.content

    def _check_upstream_bytes(self, blob: Blob) -> None:
        asked = self.registry.log.select("GET", "blob", reference=str(blob.digest))
        sent = sum(record.sent_bytes for record in asked)
        slack = SLACK_BYTES if len(blob.content) == LARGE_BYTES else 0
        missing = max(1, len(blob.content) - blob.claimed) if asked else 0
        assert sent <= missing + slack, f"{blob.digest}: {sent} bytes came, {missing} were missing"


async def _kill_and_go_on(world: World) -> list[Blob]:
    await world.begin()
    killed: list[Blob] = []
    try:
        for _ in range(ROUNDS):
            killed += await world.round()
        world.daemon.signal(signal.SIGTERM)
        await world.daemon.ended()
        assert check(world.root, surveyed=True) == []
    except BaseException as error:
        raise AssertionError(f"KILL_SEED={SEED}, {world.root}: {error}\n{world.daemon.output}") from error
    finally:
        await world.end()
    return killed


async def test_only_what_is_missing_is_fetched_again(tmp_path: Path) -> None:
    worlds = [World(tmp_path / str(number), SEED + number) for number in range(WORLDS)]
    living = [Deferred.fromCoroutine(_kill_and_go_on(world)) for world in worlds]
    killed: list[Blob] = []
    for succeeded, result in await DeferredList(living, consumeErrors=True):
        if not succeeded:
            result.raiseException()
        killed += result
    gone_on = [blob for blob in killed if 0 < blob.claimed < len(blob.content)]
    assert len(killed) == WORLDS * ROUNDS * FILLS
    assert len(gone_on) > 10, "most moments came before anything had reached the disk"
    assert any(len(blob.content) == LARGE_BYTES for blob in gone_on)
