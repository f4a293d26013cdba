"""What content takes on the disk, to the block: complete, on its way, and removed but still read."""

from __future__ import annotations

import os

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer
from zope.interface.verify import verifyObject

from regproxy.errors import StorageFailed
from regproxy.interfaces import DiskUse, IEvictable, IRoom, IStock, Kind
from regproxy.oci.digest import Digest
from regproxy.oci.tag import Tag
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
