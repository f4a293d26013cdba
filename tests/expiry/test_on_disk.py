"""The scheduler over the real store: what is on disk has an entry, what expired is off the disk."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from regproxy.expiry.files import StateFiles
from regproxy.expiry.pulse import Pulse
from regproxy.expiry.scheduler import TTLExpirationScheduler
from regproxy.interfaces import Kind, TagRecord
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.storage.opening import open_store
from regproxy.storage.store import DiskStore
from regproxy.storage.thread import DiskThread
from regproxy.testing.images import sized_image
from tests.expiry.world import CORP, DAY_S, NGINX, TTL_S, Wall

LATEST = Tag("latest")
IMAGE = sized_image(3000, 5000)


class House:
    """One folder; store and scheduler over it, stopped or killed, and begun again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = Clock()
        self.wall = Wall(self.clock)
        self.store: DiskStore
        self.scheduler: TTLExpirationScheduler

    async def begin(self) -> None:
        self.store = open_store(self.root, reactor, self.wall)
        self.thread = DiskThread(reactor, "test-state")
        pulse = Pulse(self.clock.seconds)
        for upstream in (NGINX.upstream, CORP.upstream):
            pulse.watch(upstream, lambda: succeed(True))
        self.state_files = StateFiles(self.root)
        self.scheduler = TTLExpirationScheduler(
            self.store, self.state_files, self.thread.run, pulse, lambda upstream: TTL_S,
            self.clock, self.wall, self.clock.seconds, freeze=lambda: None,
        )  # fmt: skip
        self.store.watch(self.scheduler)
        await self.done(self.scheduler.start())
        await self.store.survey()
        await self.quiet()

    async def end(self) -> None:
        await self.done(self.scheduler.stop())
        await self.kill()

    async def kill(self) -> None:
        for call in list(self.clock.getDelayedCalls()):
            call.cancel()
        await self.thread.stop()
        self.state_files.close_journal()
        await self.store.close()

    async def done(self, working: Deferred[None]) -> None:
        while not working.called:
            await self.turn()

    async def quiet(self) -> None:
        while self.scheduler._works:
            await self.turn()

    async def turn(self) -> None:
        self.clock.advance(0)
        turned: Deferred[None] = Deferred()
        reactor.callLater(0.001, turned.callback, None)
        await turned

    async def pass_s(self, seconds: float) -> None:
        until = self.clock.seconds() + seconds
        while self.clock.seconds() < until:
            following = min([call.getTime() for call in self.clock.getDelayedCalls()], default=until)
            self.clock.advance(max(0.0, min(following, until) - self.clock.seconds()))
            await self.quiet()

    async def pull(self, repository: Repository) -> None:
        """Bring IMAGE in, as a pull by tag does."""
        for digest, content in IMAGE.all_blobs().items():
            if self.store.holds(digest) is not None:
                await self.store.grant(
                    repository, digest, Kind.BLOB, "", "head", self.store.stamp(repository)
                )
                continue
            spool = await self.store.spool(digest)
            await spool.append([content])
            await spool.commit({repository: self.store.stamp(repository)})
        await self.store.put(repository, IMAGE.manifest, self.store.stamp(repository))
        record = TagRecord(IMAGE.manifest.descriptor, None, self.wall())
        await self.store.set_tag(repository, LATEST, record)

    def files(self) -> list[Path]:
        tops = (self.root / "blobs", self.root / "repositories")
        return [path for top in tops for path in top.rglob("*")]


@pytest_twisted.async_yield_fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    made = House(tmp_path / "store")
    await made.begin()
    yield made
    await made.kill()


async def test_an_image_comes_and_goes(house: House) -> None:
    """Nothing is left of it: no blob, link, tag, folder or entry."""
    await house.pull(NGINX)
    assert len(house.scheduler) == len(IMAGE.all_blobs()) + 2
    await house.pass_s(TTL_S + 61)
    assert len(house.scheduler) == 0
    assert house.files() == []
    assert house.store.occupied.blob_bytes == 0


async def test_a_used_tag_keeps_its_image(house: House) -> None:
    """Another repository's expires around it; shared blobs stay whole (P3)."""
    await house.pull(NGINX)
    await house.pull(CORP)
    for _ in range(9):
        await house.pass_s(DAY_S)
        house.scheduler.used(NGINX, LATEST)
        await house.quiet()
    assert house.store.tag(CORP, LATEST) is None
    assert len(house.scheduler) == len(IMAGE.all_blobs()) + 2
    for digest, content in IMAGE.all_blobs().items():
        blob = await house.store.blobs.open(NGINX, digest)
        assert blob.size == len(content)
        blob.close()


async def test_restarts_clean_or_killed(house: House) -> None:
    """Life goes on where it was; what the journal had not got, the survey finds."""
    await house.pull(NGINX)
    await house.pass_s(3 * DAY_S)
    await house.end()
    await house.begin()
    await house.pull(CORP)
    await house.kill()
    await house.begin()
    assert len(house.scheduler) == 2 * (len(IMAGE.all_blobs()) + 2)
    await house.pass_s(4 * DAY_S + 120)
    assert house.store.tag(NGINX, LATEST) is None
    assert house.store.tag(CORP, LATEST) is not None
    await house.pass_s(3 * DAY_S + 120)
    assert house.files() == []


async def test_a_state_that_is_gone_is_made_again_from_the_disk(house: House) -> None:
    """Every link has an entry after the survey, with a full life."""
    await house.pull(NGINX)
    await house.end()
    for path in house.root.glob("*scheduler-state*"):
        path.unlink()
    await house.begin()
    assert len(house.scheduler) == len(IMAGE.all_blobs()) + 2
    await house.pass_s(TTL_S - 1)
    assert house.store.tag(NGINX, LATEST) is not None
    await house.pass_s(61)
    assert house.files() == []


async def test_what_expired_in_the_meantime_can_be_pulled_at_once(house: House) -> None:
    """Folders that the vacuum removed are made again, entries too."""
    await house.pull(NGINX)
    await house.pass_s(TTL_S + 61)
    await house.pull(NGINX)
    assert len(house.scheduler) == len(IMAGE.all_blobs()) + 2
    digest = next(iter(IMAGE.all_blobs()))
    assert Digest.parse(str(digest)) == digest
    assert await house.store.blobs.stat(NGINX, digest) == len(IMAGE.all_blobs()[digest])
