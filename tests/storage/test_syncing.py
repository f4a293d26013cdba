"""Bytes on their way to the platters: beside the writer, with the commit, lost."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from regproxy.errors import StorageFailed, TransferStopped
from regproxy.oci.digest import Digest
from regproxy.storage import durable, syncing
from regproxy.storage.store import DiskStore
from tests.storage.conftest import (
    CONTENT,
    DIGEST,
    NGINX,
    Folder,
    proofs,
    reading,
)
from tests.storage.mortal import MortalOs


async def test_bytes_go_to_the_disk_on_the_way(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread of their own; the fsync of the commit, for which all writing waits, has little to do."""
    monkeypatch.setattr(syncing, "EVERY_BYTES", 1000)
    monkeypatch.setattr(syncing, "ALONE_BYTES", 0)
    made = await store.spool(DIGEST)
    seen = MortalOs(10**6, OSError())
    monkeypatch.setattr(durable, "os", seen)
    threads: dict[str, str] = {}
    real = durable.sync_data

    def sync_data(descriptor: int) -> None:
        threads["sync"] = threading.current_thread().name
        real(descriptor)

    monkeypatch.setattr(durable, "sync_data", sync_data)
    for start in range(0, 5000, 500):
        await made.append([CONTENT[start : start + 500]])
    await made.append([CONTENT[5000:]])
    await made.commit(proofs(store, NGINX))
    names = [name for name, _ in seen.steps]
    assert names.count("fdatasync") >= 2
    synced = [index for index, name in enumerate(names) if name == "fdatasync"]
    assert synced[-1] < names.index("ftruncate"), "all bytes are there before the commit begins"
    assert threads["sync"] == "regproxy-syncer"


async def test_no_append_slips_into_a_commit(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even while the commit waits for bytes that are on their way to the disk."""
    monkeypatch.setattr(syncing, "ALONE_BYTES", 0)
    made = await store.spool(DIGEST)
    await made.append([CONTENT])
    committing = made.commit(proofs(store, NGINX))
    with pytest.raises(TransferStopped):
        await made.append([b"more"])
    await committing
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_discarded_while_its_bytes_go_to_the_disk(
    store: DiskStore, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit comes first, also for who does not wait for the discard: nothing verified is thrown away."""
    monkeypatch.setattr(syncing, "ALONE_BYTES", 0)
    made = await store.spool(DIGEST)
    await made.append([CONTENT])
    committing = made.commit(proofs(store, NGINX))
    made.discard().addErrback(lambda _: None).cancel()
    await made.discard()
    await committing
    assert folder.files("fills") == []
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_discarded_while_a_commit_fails(
    store: DiskStore, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its turn comes then."""
    monkeypatch.setattr(syncing, "ALONE_BYTES", 0)
    monkeypatch.setattr(durable, "sync_data", refuse)
    made = await store.spool(DIGEST)
    await made.append([CONTENT])
    committing = made.commit(proofs(store, NGINX))
    discarding = made.discard()
    with pytest.raises(StorageFailed, match="lost"):
        await committing
    await discarding
    assert folder.files("fills") == []
    assert store.holds(DIGEST) is None


async def test_no_sync_begins_once_it_is_closed(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of its descriptor is another file's by then, whose lost bytes the system tells once."""
    monkeypatch.setattr(syncing, "EVERY_BYTES", 1000)
    monkeypatch.setattr(syncing, "ALONE_BYTES", 0)
    gate, synced = threading.Event(), []

    def sync_data(descriptor: int) -> None:
        gate.wait(10)
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(durable, "sync_data", sync_data)
    made = await store.spool(DIGEST)
    await made.append([CONTENT[:2000]])
    await made.append([CONTENT[2000:]])
    committing = made.commit(proofs(store, NGINX))
    await made.reject()
    other = await store.spool(Digest.of(b"x"))  # takes the number
    gate.set()
    with pytest.raises(TransferStopped):
        await committing
    await other.discard()
    assert len(synced) == 1, synced


async def test_bytes_that_the_disk_lost_on_the_way_are_never_committed(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system tells once; a second sync that succeeds means nothing (invariant 7)."""
    monkeypatch.setattr(syncing, "EVERY_BYTES", 1000)
    made = await store.spool(DIGEST)
    with monkeypatch.context() as patch:
        patch.setattr(durable, "sync_data", refuse)
        await made.append([CONTENT])
        with pytest.raises(StorageFailed, match="lost"):
            await made.commit(proofs(store, NGINX))
    with pytest.raises(StorageFailed, match="lost"):
        await made.commit(proofs(store, NGINX))
    await made.discard()


async def test_bytes_that_the_disk_lost_at_the_end_are_never_committed(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is trying again of use."""
    made = await store.spool(DIGEST)
    await made.append([CONTENT])
    with monkeypatch.context() as patch:
        patch.setattr(durable, "sync_file", refuse)
        with pytest.raises(StorageFailed, match="EIO"):
            await made.commit(proofs(store, NGINX))
    with pytest.raises(StorageFailed, match="lost"):
        await made.commit(proofs(store, NGINX))
    await made.discard()
    assert store.holds(DIGEST) is None


def refuse(descriptor: int) -> None:
    raise OSError(errno.EIO, "lost")


async def test_the_thread_that_syncs_ends_with_the_store(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "ALONE_BYTES", 0)
    made = await store.spool(DIGEST)
    await made.append([CONTENT])
    await made.commit(proofs(store, NGINX))
    names = {thread.name for thread in threading.enumerate()}
    assert "regproxy-syncer" in names
    await store.close()
    assert "regproxy-syncer" not in {thread.name for thread in threading.enumerate()}
