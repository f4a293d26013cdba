"""Transfers that end before their end, on real sockets and a real disk: what was left is fetched once."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from regproxy.fill import abandon
from regproxy.oci.digest import Digest
from regproxy.settings import FillSettings
from regproxy.testing.actions import hold
from regproxy.testing.checker import check
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.reply import Gate
from regproxy.testing.rules import Match
from tests.system.mirror import Mirror, upstream
from tests.system.sockets import Talk

pytestmark = pytest.mark.system

MIB = 1024 * 1024
SIZE, HERE = 6 * MIB, 4 * MIB
CONTENT = os.urandom(SIZE)
DIGEST = Digest.of(CONTENT)
PATH = f"/v2/team/app/blobs/{DIGEST}"
ANY_BLOB = Match(kind="blob")


@attrs.define
class World:
    """A registry that gives HERE bytes of the blob and then waits, and a mirror before it."""

    registry: ScriptableRegistry
    mirror: Mirror

    async def arrived(self, count: int = HERE) -> None:
        for _ in range(500):
            fills = self.mirror.mirror.registry.fills.snapshot()
            if fills and fills[0].front >= count:
                return
            await deferLater(reactor, 0.01)
        raise AssertionError(f"{self.mirror.mirror.registry.fills}")

    async def left(self) -> int:
        """How many bytes were left, once the transfer is over."""
        await self.mirror.settled()
        left = self.mirror.store.left(DIGEST)
        return 0 if left is None else left.start

    async def go_on(self) -> int:
        """A whole pull from a registry that works again: how many bytes came from there."""
        self.registry.log.clear()
        self.registry.unscript()
        answer = await self.mirror.client.ask(PATH)
        assert (answer.status, answer.complete) == (200, True)
        assert answer.body == CONTENT
        await self.mirror.settled()
        assert check(self.mirror.root, surveyed=True) == []
        assert list((self.mirror.root / "fills").iterdir()) == []
        return sum(record.sent_bytes for record in self.registry.log.select("GET", "blob"))


@pytest_twisted.async_yield_fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    registry = ScriptableRegistry(reactor)
    await registry.start()
    registry.holding("team/app").blobs[DIGEST] = CONTENT
    registry.script(ANY_BLOB, hold(Gate(), at=HERE))
    mirror = Mirror(tmp_path / "root", upstream(registry), fill=FillSettings(abandon="pause"))
    await mirror.start()
    yield World(registry, mirror)
    await mirror.stop()
    await registry.stop()


async def begin(world: World) -> Talk:
    """A client that has asked, and a transfer that has come to its gate."""
    talk = Talk(world.mirror.netloc)
    talk.send(f"GET {PATH} HTTP/1.1\r\nHost: {world.mirror.netloc}\r\n\r\n".encode())
    await world.arrived()
    return talk


async def test_a_clean_stop_and_a_start(world: World) -> None:
    talk = await begin(world)
    await world.mirror.stop()
    talk.socket.close()
    await world.mirror.start()
    assert await world.left() == HERE
    assert await world.go_on() == SIZE - HERE


async def test_the_last_reader_leaves(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abandon, "GRACE_S", 0.05)
    talk = await begin(world)
    talk.socket.close()
    assert await world.left() == HERE
    assert await world.go_on() == SIZE - HERE


async def test_bytes_that_went_wrong_on_the_disk(world: World) -> None:
    """All is fetched again; it is no fault of the upstream's."""
    talk = await begin(world)
    await world.mirror.stop()
    talk.socket.close()
    [spool] = (world.mirror.root / "fills").glob("*.spool")
    with spool.open("r+b") as file:
        file.seek(MIB)
        file.write(bytes(8))
    await world.mirror.start()
    world.registry.unscript()
    part = await world.mirror.client.ask(PATH, range=f"bytes={SIZE - 10}-")
    assert part.status == 206
    await world.mirror.settled()
    assert await world.go_on() == 0, "it was fetched again already"
    assert world.mirror.files("quarantine") == []
