"""Spools: growing, followed, committed, let go of, in every order."""

from __future__ import annotations

import errno
import os
import threading
from types import SimpleNamespace

import pytest
from twisted.internet.defer import CancelledError, gatherResults

from regproxy.errors import ContentMissing, StorageFailed, TransferStopped
from regproxy.interfaces import Kind
from regproxy.oci.digest import Digest
from regproxy.storage import durable, spool
from regproxy.storage.store import DiskStore
from tests.storage.conftest import (
    CONTENT,
    DIGEST,
    LATEST,
    NGINX,
    OTHER,
    REDIS,
    Folder,
    fill,
    proofs,
    reading,
)
from tests.storage.mortal import MortalOs

LARGE = 10**16


async def test_a_reader_follows_and_outlives_the_commit(store: DiskStore) -> None:
    """Its descriptor is its own."""
    made = await store.spool(DIGEST)
    file = made.file()
    assert await made.append([CONTENT[:10], CONTENT[10:20]]) == 20
    assert (file.read_at(0, 100), made.front, made.matches()) == (CONTENT[:20], 20, False)
    assert await made.append([CONTENT[20:]]) == len(CONTENT)
    assert made.matches()
    await made.commit(proofs(store, NGINX))
    assert file.read_at(len(CONTENT) - 5, 100) == CONTENT[-5:]
    file.close()
    with pytest.raises(TransferStopped):
        made.file()


async def test_what_was_placed_is_read_back_a_slice_at_a_time(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a job of its own, so that other fills have their turn between them."""
    monkeypatch.setattr(spool, "CATCH_UP_BYTES", 100)
    monkeypatch.setattr(spool, "READ_BACK_BYTES", 30)
    made = await store.spool(DIGEST)
    assert await made.place(50, [CONTENT[50:300]]) == 0
    assert await made.append([CONTENT[:50]]) == 150
    assert await made.catch_up() == 250
    assert await made.place(400, [CONTENT[400:]]) == 300
    assert await made.append([CONTENT[300:400]]) == 500
    while made.front < len(CONTENT):
        before = made.front
        assert await made.catch_up() == min(before + 100, len(CONTENT))
    assert made.matches()
    await made.discard()


async def test_a_reader_outlives_discard(folder: Folder, store: DiskStore) -> None:
    """Nothing is left on disk but what it has open; discarding again, or rejecting, does nothing."""
    made = await store.spool(DIGEST)
    await made.append([CONTENT])
    file = made.file()
    first, second = made.discard(), made.reject()
    await first
    await second
    await made.discard()
    assert folder.files("fills") == []
    assert file.read_at(0, 10) == CONTENT[:10]
    file.close()
    for call in (lambda: made.append([b"x"]), lambda: made.commit({}), lambda: made.expect(1)):
        with pytest.raises(TransferStopped):
            await call()
    assert "open=False" in repr(made)


async def test_discard_after_commit_does_nothing(store: DiskStore) -> None:
    """Also when it is asked for before the commit has ended."""
    made = await store.spool(DIGEST)
    await made.append([CONTENT])
    committed, discarded = made.commit(proofs(store, NGINX)), made.discard()
    await committed
    await discarded
    await made.discard()
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_wrong_bytes_are_never_committed(folder: Folder, store: DiskStore) -> None:
    """Whatever the caller thinks (invariant 1)."""
    made = await store.spool(DIGEST)
    await made.append([CONTENT[:-1]])
    with pytest.raises(StorageFailed):
        await made.commit(proofs(store, NGINX))
    await made.append([CONTENT[-1:]])
    await made.commit(proofs(store, NGINX))
    assert await reading(store)(NGINX, DIGEST) == CONTENT
    wrong = await store.spool(DIGEST)
    await wrong.append([b"x" * len(CONTENT)])
    await wrong.reject()
    assert folder.files("fills") == []


async def test_calls_that_come_after_commit_do_not_change_the_blob(folder: Folder, store: DiskStore) -> None:
    """Nothing under blobs/ ever changes (invariant 1)."""
    made = await store.spool(DIGEST)
    await made.append([CONTENT])
    committed, late = (
        made.commit(proofs(store, NGINX)),
        [made.append([b"x"]), made.expect(LARGE), made.add_source(OTHER)],
    )
    await committed
    for call in late:
        with pytest.raises(TransferStopped):
            await call
    assert folder.files("fills") == []
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_a_blob_of_no_bytes(store: DiskStore) -> None:
    """It has a digest too."""
    assert await fill(store, b"") == Digest.of(b"")
    assert await reading(store)(NGINX, Digest.of(b"")) == b""


async def test_sha512(store: DiskStore) -> None:
    """Under its own name."""
    digest = Digest.of(CONTENT, "sha512")
    made = await store.spool(digest)
    await made.append([CONTENT])
    await made.commit(proofs(store, NGINX))
    assert await reading(store)(NGINX, digest) == CONTENT


async def test_cancelled_calls_run_to_their_end(folder: Folder, store: DiskStore) -> None:
    """The bytes are there, the descriptor is closed, the blob is whole."""
    before = set(os.listdir("/proc/self/fd"))
    made = await store.spool(DIGEST)
    calls = [
        made.expect(len(CONTENT)),
        made.append([CONTENT]),
        made.add_source(OTHER),
        made.commit(proofs(store, NGINX)),
    ]
    for call in calls:
        call.cancel()
        with pytest.raises(CancelledError):
            await call
    await made.discard()
    await store.drop_tag(NGINX, LATEST)
    assert await reading(store)(NGINX, DIGEST) == CONTENT
    assert folder.files("fills") == []
    assert set(os.listdir("/proc/self/fd")) == before


async def test_cancelled_openings_leave_nothing_open(folder: Folder, store: DiskStore) -> None:
    """Neither a spool, nor an adopted file, nor a blob."""
    await fill(store)
    before = set(os.listdir("/proc/self/fd"))
    for opening in (store.spool(DIGEST), store.adopt(DIGEST)):
        opening.cancel()
        with pytest.raises(CancelledError):
            await opening
    (await store.blobs.open(NGINX, DIGEST)).close()
    for _ in range(2):
        await store.drop_tag(NGINX, LATEST)
    assert set(os.listdir("/proc/self/fd")) == before
    assert folder.files("fills") == []


async def test_expect_allocates_and_commit_cuts(folder: Folder, store: DiskStore) -> None:
    """An upstream that announced too much leaves no zeros."""
    made = await store.spool(DIGEST)
    await made.expect(len(CONTENT) * 2)
    (path,) = (folder.root / "fills").glob("*.spool")
    assert path.stat().st_size == len(CONTENT) * 2
    assert path.stat().st_blocks * 512 >= len(CONTENT) * 2
    await made.append([CONTENT])
    await made.commit(proofs(store, NGINX))
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_expect_of_more_than_there_is(store: DiskStore) -> None:
    """StorageFailed before the first byte; the spool goes on as it was."""
    made = await store.spool(DIGEST)
    await made.append([CONTENT])
    file = made.file()
    with pytest.raises(StorageFailed):
        await made.expect(LARGE)
    assert file.read_at(0, 10) == CONTENT[:10]
    file.close()
    await made.commit(proofs(store, NGINX))
    assert await reading(store)(NGINX, DIGEST) == CONTENT


class Room:
    """``os`` with so many bytes free on every file system."""

    def __init__(self, free_bytes: int) -> None:
        self._free_bytes = free_bytes

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def fstatvfs(self, descriptor: int) -> SimpleNamespace:
        return SimpleNamespace(f_bavail=self._free_bytes, f_frsize=1)


@pytest.mark.parametrize(
    ("free_bytes", "reserved"), [(2_000_000, True), (1_999_999, False), (1_000_000, False)]
)
async def test_what_is_promised_takes_half_of_the_free_disk_at_most(
    folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch, free_bytes: int, reserved: bool
) -> None:
    """An upstream that promises much and sends little does not keep the others from their disk."""
    made = await store.spool(DIGEST)
    monkeypatch.setattr(durable, "os", Room(free_bytes))
    await made.expect(1_000_000)
    (path,) = (folder.root / "fills").glob("*.spool")
    assert path.stat().st_size == 1_000_000
    assert (path.stat().st_blocks * 512 >= 1_000_000) is reserved
    await made.discard()


async def test_one_byte_more_than_is_free_is_refused_at_once(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await store.spool(DIGEST)
    monkeypatch.setattr(durable, "os", Room(999_999))
    with pytest.raises(StorageFailed, match="ENOSPC"):
        await made.expect(1_000_000)
    await made.discard()


async def test_expect_where_the_file_system_cannot_allocate(
    folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size is set, after a look at the room."""
    made = await store.spool(DIGEST)
    monkeypatch.setattr(durable, "os", MortalOs(1, OSError(errno.EOPNOTSUPP, "no"), final=False))
    await made.expect(1000)
    (path,) = (folder.root / "fills").glob("*.spool")
    assert path.stat().st_size == 1000
    await made.discard()


async def test_nothing_follows_a_failed_append(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The front and the hash stay, what is below is readable, and what was sent ahead fails as well."""
    made = await store.spool(DIGEST)
    await made.append([CONTENT[:100]])
    with monkeypatch.context() as patch:
        patch.setattr(durable, "os", MortalOs(1, OSError(errno.ENOSPC, "full"), late=True, final=False))
        for appending in [made.append([CONTENT[100:200]]), made.append([CONTENT[200:300]])]:
            with pytest.raises(StorageFailed, match="full"):
                await appending
    with pytest.raises(StorageFailed, match="full"):
        await made.append([CONTENT[100:]])
    assert made.front == 100
    assert made.hasher().hexdigest() == Digest.of(CONTENT[:100]).hex
    file = made.file()
    assert file.read_at(0, 100) == CONTENT[:100]
    file.close()
    await made.discard()


async def test_short_writes_are_continued(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little the system takes at a time."""

    class Short:
        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

        def pwrite(self, descriptor: int, content: memoryview, offset: int) -> int:
            return os.pwrite(descriptor, content[:7], offset)

    monkeypatch.setattr(durable, "os", Short())
    await fill(store, CONTENT[:1000])
    assert await reading(store)(NGINX, Digest.of(CONTENT[:1000])) == CONTENT[:1000]


async def test_two_spools_of_one_digest(folder: Folder, store: DiskStore) -> None:
    """Bytes once on disk, both links good."""
    spools = [await store.spool(DIGEST) for _ in range(2)]
    await gatherResults([made.append([CONTENT]) for made in spools])
    await gatherResults(
        [made.commit(proofs(store, one)) for made, one in zip(spools, (NGINX, OTHER), strict=True)]
    )
    assert len(folder.files("blobs")) == 1
    for repository in (NGINX, OTHER):
        assert await reading(store)(repository, DIGEST) == CONTENT


async def test_the_map_names_sources_once(folder: Folder, store: DiskStore) -> None:
    """They are noted durably, before the end."""
    made = await store.spool(DIGEST)
    for repository in (NGINX, OTHER, NGINX):
        await made.add_source(repository)
    (path,) = (folder.root / "fills").glob("*.map")
    assert path.read_text().count("library/nginx") == 1
    assert str(DIGEST) in path.read_text()
    await made.discard()


async def test_commit_without_repositories_leaves_a_trusted_blob(store: DiskStore) -> None:
    """A link that is granted later vouches for it at once: this process has verified it."""
    made = await store.spool(DIGEST)
    await made.append([CONTENT])
    await made.commit({})
    with pytest.raises(ContentMissing):
        await store.blobs.open(NGINX, DIGEST)
    await store.grant(NGINX, DIGEST, Kind.BLOB, "a/b", "head", store.stamp(NGINX))
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_folders_that_somebody_removed_are_made_again(folder: Folder, store: DiskStore) -> None:
    """As the vacuum does with empty ones."""
    made = await store.spool(DIGEST)
    await made.append([CONTENT])
    await store.drop_tag(NGINX, LATEST)
    await made.commit(proofs(store, NGINX))
    for path in sorted(folder.root.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    await fill(store, b"other", REDIS)
    assert await reading(store)(REDIS, Digest.of(b"other")) == b"other"


async def test_closing_the_store_with_a_commit_under_way(folder: Folder) -> None:
    """What was asked for is done."""
    store = folder.open()
    made = await store.spool(DIGEST)
    gate = threading.Event()
    store._writer.run(gate.wait, 10)
    made.append([CONTENT])
    committed, closed = made.commit(proofs(store, NGINX)), store.close()
    gate.set()
    await committed
    await closed
    store = await folder.reopen()
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_a_cancelled_spool_and_then_close_leaves_nothing(folder: Folder) -> None:
    """close() waits until what nobody wants any more is undone; adopted ones too."""
    store = folder.open()
    await fill(store)
    before = set(os.listdir("/proc/self/fd"))
    for making in (store.spool(DIGEST), store.adopt(DIGEST), store.spool(Digest.of(b"x"))):
        making.cancel()
        with pytest.raises(CancelledError):
            await making
    await store.close()
    assert folder.files("fills") == []
    assert len(os.listdir("/proc/self/fd")) <= len(before)


async def test_nothing_is_begun_while_it_is_let_go_of(folder: Folder, store: DiskStore) -> None:
    """Not even a commit: the last job is the last."""
    made = await store.spool(DIGEST)
    await made.append([CONTENT])
    gate = threading.Event()
    store._writer.run(gate.wait, 10)
    leaving = made.discard()
    late = [
        made.append([b"x"]),
        made.commit(proofs(store, NGINX)),
        made.add_source(NGINX),
        made.expect(LARGE),
    ]
    for call in late:
        with pytest.raises(TransferStopped):
            await call
    gate.set()
    await leaving
    assert store.holds(DIGEST) is None
    assert folder.files("fills") == []
