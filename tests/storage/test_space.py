"""What content takes on the disk, to the block: complete, on its way, and removed but still read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer
from zope.interface.verify import verifyObject

from regproxy.errors import StorageFailed
from regproxy.interfaces import DiskUse, IEvictable, IRoom, ISpool, IStock, Kind
from regproxy.oci.digest import Digest
from regproxy.oci.tag import Tag
from regproxy.storage import durable
from regproxy.storage.space import OpenFiles, Spools
from regproxy.storage.store import DiskStore
from regproxy.testing.images import make_image
from tests.storage.conftest import CONTENT, DIGEST, LATEST, NGINX, REDIS, Folder, fill, proofs, reading
from tests.storage.test_purging import keep
from tests.storage.watching import due

MIB = 1 << 20


def blocks(folder: Folder, *tops: str) -> int:
    """As du counts them."""
    paths = [path for top in tops for path in (folder.root / top).rglob("*") if path.is_file()]
    return sum(path.stat().st_blocks * 512 for path in paths)


@implementer(IRoom)
class Room:
    """Gives as much as a test says."""

    def __init__(self, left: int = 1 << 40) -> None:
        self.left = left
        self.asked: list[int] = []
        self.waiting: Deferred[None] | None = None

    def reserve(self, size_bytes: int) -> Deferred[None]:
        self.asked.append(size_bytes)
        if self.waiting is not None:
            return self.waiting
        return succeed(None) if size_bytes <= self.left else fail(StorageFailed("no room"))

    def capacity_bytes(self) -> int | None:
        return self.left


def test_the_seams(folder: Folder) -> None:
    store = folder.open()
    assert verifyObject(IEvictable, store)
    assert verifyObject(IStock, store.stock)


async def test_complete_content_counts_by_its_blocks(folder: Folder, store: DiskStore) -> None:
    await fill(store, CONTENT, NGINX, REDIS)
    await fill(store, b"two")
    assert store.disk_use().blobs == blocks(folder, "blobs") > len(CONTENT) + 3
    await store.expire(NGINX, Digest.of(b"two"), due)
    await store.survey()
    assert store.disk_use() == DiskUse(blocks(folder, "blobs"), counted=True)


async def test_a_count_at_the_start_is_enough(folder: Folder, store: DiskStore) -> None:
    await fill(store)
    await fill(store, b"two")
    again = await folder.reopen()
    assert not again.disk_use().counted
    await fill(again, b"three")
    await again.census()
    assert again.disk_use() == DiskUse(blocks(folder, "blobs"), counted=True)
    assert not again.settled()
    await again.survey()
    assert again.settled()
    assert again.disk_use().blobs == blocks(folder, "blobs")


async def test_a_transfer_counts_as_soon_as_room_is_promised(folder: Folder, store: DiskStore) -> None:
    spool = await store.spool(DIGEST)
    await spool.expect(len(CONTENT))
    assert store.disk_use().spools >= len(CONTENT)
    await spool.append([CONTENT])
    assert store.disk_use().spools == max(len(CONTENT), blocks(folder, "fills") - 4096)
    await spool.commit(proofs(store, NGINX))
    assert store.disk_use() == DiskUse(blocks(folder, "blobs"))


async def test_a_transfer_without_a_size_counts_as_it_grows(folder: Folder, store: DiskStore) -> None:
    spool = await store.spool(DIGEST)
    await spool.append([CONTENT[:9000]])
    assert store.disk_use().spools == 12288
    await spool.discard()
    assert store.disk_use() == DiskUse()


async def test_a_removed_blob_counts_until_its_last_reader_has_closed_it(store: DiskStore) -> None:
    await fill(store)
    await store.survey()
    taken = store.disk_use().blobs
    first = await store.blobs.open(NGINX, DIGEST)
    second = await store.blobs.open(NGINX, DIGEST)
    await store.expire(NGINX, DIGEST, due)
    assert store.disk_use() == DiskUse(unlinked=taken, counted=True)
    first.close()
    assert store.disk_use().unlinked == taken
    body = second.body()
    assert body.read(10) == CONTENT[:10]
    body.close()
    assert store.disk_use() == DiskUse(counted=True)


async def test_so_does_a_transfer_that_was_given_up(store: DiskStore) -> None:
    spool = await store.spool(DIGEST)
    await spool.append([CONTENT])
    file = spool.file()
    again = file.duplicate()
    taken = store.disk_use().spools
    await spool.discard()
    file.close()
    assert store.disk_use() == DiskUse(unlinked=taken)
    assert again.read_at(0, 5) == CONTENT[:5]
    again.close()
    assert store.disk_use() == DiskUse()


async def test_readers_of_a_transfer_read_a_blob_then(store: DiskStore) -> None:
    """Committed and removed while somebody follows."""
    spool = await store.spool(DIGEST)
    await spool.append([CONTENT])
    file = spool.file()
    await spool.commit(proofs(store, NGINX))
    await store.survey()
    taken = store.disk_use().blobs
    await store.expire(NGINX, DIGEST, due)
    assert store.disk_use() == DiskUse(unlinked=taken, counted=True)
    file.close()
    assert store.disk_use() == DiskUse(counted=True)


async def test_what_moves_to_quarantine_is_not_removed(folder: Folder, store: DiskStore) -> None:
    await fill(store)
    folder.blob(DIGEST).chmod(0o600)
    folder.blob(DIGEST).write_bytes(b"damaged")
    spool, blob = await store.adopt(DIGEST)
    await spool.reject()
    assert store.disk_use().unlinked == 0
    blob.close()


async def test_room_is_asked_for_before_the_disk_is_taken(folder: Folder, store: DiskStore) -> None:
    room = Room(left=MIB)
    store.limit(room)
    spool = await store.spool(DIGEST)
    with pytest.raises(StorageFailed, match="no room"):
        await spool.expect(2 * MIB)
    assert store.disk_use().spools == 0
    await spool.expect(MIB)
    assert room.asked == [2 * MIB, MIB]
    assert store.capacity_bytes() == MIB
    await spool.discard()


async def test_room_that_comes_too_late_is_not_taken(store: DiskStore) -> None:
    room = Room()
    room.waiting = Deferred()
    store.limit(room)
    spool = await store.spool(DIGEST)
    expecting = spool.expect(MIB)
    failed: list[object] = []
    expecting.addErrback(failed.append)
    await spool.discard()
    room.waiting.callback(None)
    assert failed
    assert store.disk_use() == DiskUse()


async def test_what_lies_there_is_read(store: DiskStore) -> None:
    image = make_image()
    await keep(store, image, LATEST)
    assert set(store.stock.names(image.digest)) == set(image.all_blobs())
    assert store.stock.names(DIGEST) == ()
    assert store.stock.tagged(NGINX, LATEST) == image.digest
    assert store.stock.tagged(NGINX, Tag("none")) is None


async def test_a_spool_that_nobody_has_open(folder: Folder, store: DiskStore) -> None:
    """What is open is not seen, and not removed."""
    spool = await store.spool(DIGEST)
    await spool.append([CONTENT])
    [name] = [path.stem for path in (folder.root / "fills").glob("*.spool")]
    assert store.stock.idle_spools() == []
    assert await store.drop_spool(name) is False
    idle = folder.root / "fills" / "sha256-0123.spool"
    idle.write_bytes(bytes(9000))
    (folder.root / "fills" / "sha256-0123.map").write_bytes(b"{}")
    [found] = store.stock.idle_spools()
    assert (found.name, found.disk_bytes) == ("sha256-0123", 12288)
    assert await store.drop_spool(found.name) is True
    assert folder.files("fills") == [f"fills/{name}.map", f"fills/{name}.spool"]
    await spool.discard()


async def test_a_link_to_one_digest_of_two_kinds(store: DiskStore) -> None:
    """Both go at once, and the bytes with them."""
    await fill(store)
    await store.grant(NGINX, DIGEST, Kind.MANIFEST, "", "head", store.stamp(NGINX))
    await store.survey()
    await store.expire(NGINX, DIGEST, due)
    assert store.disk_use() == DiskUse(counted=True)
    await fill(store)
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def half(store: DiskStore) -> ISpool:
    """A transfer that came half way, to the disk too."""
    made = await store.spool(DIGEST)
    await made.expect(len(CONTENT))
    await made.append([CONTENT[: len(CONTENT) // 2]])
    return made


class TestLeft:
    """What broken transfers leave is content of the store, by the one count."""

    async def test_counts_from_its_end_to_the_next_start_and_on(self, folder: Folder) -> None:
        store = folder.open()
        await (await half(store)).keep()
        for _ in range(2):
            [idle] = store.stock.idle_spools()
            taken = idle.disk_bytes
            assert store.disk_use().spools == taken > 0
            assert store.disk_use().pending == 0
            assert (store.occupied.spools, store.occupied.spool_bytes) == (1, taken)
            store = await folder.reopen()

    async def test_taken_up_it_is_on_its_way_and_asks_for_what_is_missing(self, store: DiskStore) -> None:
        await (await half(store)).keep()
        room = Room()
        store.limit(room)
        taken = store.disk_use().spools
        spool = await store.take(DIGEST)
        assert spool is not None
        assert store.occupied.spools == store.occupied.spool_bytes == 0
        assert store.disk_use().spools == taken
        await spool.expect(taken + MIB)
        assert room.asked == [MIB]
        assert store.disk_use().spools >= taken + MIB
        await spool.expect(taken + MIB)
        assert room.asked == [MIB], "it has that already"
        await spool.keep()
        assert store.disk_use().spools == store.occupied.spool_bytes
        assert store.disk_use().pending == 0

    async def test_evicted_nobody_goes_on_from_it(self, folder: Folder, store: DiskStore) -> None:
        await (await half(store)).keep()
        [idle] = store.stock.idle_spools()
        assert await store.drop_spool(idle.name) is True
        assert store.left(DIGEST) is None
        assert await store.take(DIGEST) is None
        assert folder.files("fills") == []
        assert store.disk_use() == DiskUse()
        assert store.occupied.spools == 0
        assert await store.drop_spool(idle.name) is False

    async def test_who_goes_on_with_it_meanwhile_keeps_it(self, store: DiskStore) -> None:
        await (await half(store)).keep()
        [idle] = store.stock.idle_spools()
        spool = await store.take(DIGEST)
        assert spool is not None
        assert await store.drop_spool(idle.name) is False
        await spool.discard()
        assert store.disk_use() == DiskUse()

    async def test_taken_up_before_its_former_transfer_has_closed(self, store: DiskStore) -> None:
        made = await half(store)
        leaving, taking = made.keep(), Deferred.fromCoroutine(taken_up(store))
        await leaving
        spool = await taking
        [name] = [path.stem for path in (store._layout.fills).glob("*.spool")]
        assert await store.drop_spool(name) is False
        assert store.stock.idle_spools() == []
        await spool.discard()

    async def test_removed_while_it_is_read(self, store: DiskStore) -> None:
        made = await half(store)
        file = made.file()
        await made.keep()
        [idle] = store.stock.idle_spools()
        await store.drop_spool(idle.name)
        assert store.disk_use() == DiskUse(unlinked=idle.disk_bytes)
        file.close()
        assert store.disk_use() == DiskUse()

    async def test_taken_away_by_hand_it_counts_until_the_survey(self, store: DiskStore) -> None:
        await (await half(store)).keep()
        for path in store._layout.fills.iterdir():
            path.unlink()
        await store.survey()
        assert store.left(DIGEST) is None
        assert store.disk_use() == DiskUse(counted=True)

    async def test_what_the_disk_does_not_let_go_counts(
        self, store: DiskStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = await half(store)
        with monkeypatch.context() as patched:
            patched.setattr(durable, "remove", refuse)
            with pytest.raises(StorageFailed):
                await made.discard()
            [idle] = store.stock.idle_spools()
            assert store.disk_use() == DiskUse(spools=idle.disk_bytes)
        assert await store.drop_spool(idle.name) is True
        assert store.disk_use() == DiskUse()


async def taken_up(store: DiskStore) -> ISpool:
    """As soon as it is left."""
    for _ in range(1000):
        made = await store.take(DIGEST)
        if made is not None:
            return made
    raise AssertionError("it was never left")


def refuse(path: Path) -> bool:
    raise OSError(errno.EIO, "no")


def test_spools_that_come_and_go() -> None:
    spools = Spools()
    spools.promise("a", 100)
    spools.took("a", 30)
    spools.took("b", 50)
    assert (spools.held_bytes, spools.pending_bytes) == (150, 70)
    spools.took("a", 120)
    assert (spools.held_bytes, spools.pending_bytes) == (170, 0)
    for name in ("a", "b", "b", "c"):
        spools.drop(name)
    assert (spools.held_bytes, spools.pending_bytes, len(spools)) == (0, 0, 0)


async def test_a_blob_that_took_the_place_of_one_that_is_read(store: DiskStore) -> None:
    """The one before counts until it is closed."""
    await fill(store)
    taken = store.disk_use().blobs
    blob = await store.blobs.open(NGINX, DIGEST)
    await fill(store)
    assert store.disk_use() == DiskUse(taken, unlinked=taken)
    blob.close()
    assert store.disk_use() == DiskUse(taken)


def test_a_file_that_had_no_name_when_it_was_opened_once_more(folder: Folder) -> None:
    """By a descriptor of a transfer that was just removed."""
    path = folder.root.parent / "file"
    path.write_bytes(bytes(9000))
    files = OpenFiles()
    with path.open("rb") as file:
        path.unlink()
        with files.lock:
            number = files.opened(os.fstat(file.fileno()))
        assert files.unlinked_bytes == 12288
        files.again(number)
        files.closed(number)
        assert files.unlinked_bytes == 12288
        files.closed(number)
    assert (files.unlinked_bytes, len(files)) == (0, 0)
