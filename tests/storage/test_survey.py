"""The survey: it finds what is there, loses nothing that comes meanwhile, touches nothing else."""

from __future__ import annotations

import os
import threading

import pytest
from twisted.internet.defer import CancelledError, Deferred

from regproxy.errors import ContentMissing, StorageFailed, TransferStopped
from regproxy.interfaces import Kind, TagRecord
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor
from regproxy.oci.tag import Tag
from regproxy.storage import durable, survey
from regproxy.storage.store import DiskStore
from regproxy.storage.survey import Survey
from tests.storage.conftest import CONTENT, DIGEST, NGINX, OTHER, REDIS, Folder, fill, reading


async def populate(store: DiskStore) -> None:
    await fill(store, CONTENT, NGINX, OTHER)
    await fill(store, b"two", REDIS)
    await store.set_tag(NGINX, Tag.parse("latest"), TagRecord(Descriptor(DIGEST, 1, "a/b"), None, 1.0))
    await store.revoke(OTHER)


async def test_an_empty_folder(store: DiskStore) -> None:
    """There is nothing."""
    assert await store.survey() == Survey()


async def test_it_counts_what_is_there(folder: Folder) -> None:
    """Each thing once, in bytes where it has some; our own records are no strangers."""
    await populate(folder.open())
    store = await folder.reopen()
    made = await store.spool(Digest.of(b"new"))
    await made.append([b"n"])
    found = await store.survey()
    assert (found.blobs, found.blob_bytes, found.links, found.tags) == (2, len(CONTENT) + 3, 3, 1)
    assert (found.spools, found.quarantined, found.strangers, found.temporaries_removed) == (1, 0, 0, 0)
    await made.discard()


async def test_it_removes_temporaries_of_former_processes_only(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of this one are being written; other dot files are somebody's."""
    store = folder.open()
    await populate(store)
    place = folder.root / "repositories/docker.io/library/nginx/_tags"
    old, own = place / f".{'0' * 16}-{'1' * 16}.tmp", place / f".{durable.PROCESS}-{'1' * 16}.tmp"
    other, outside = place / ".nfs0001", folder.root / f".{'0' * 16}-{'1' * 16}.tmp"
    for path in (old, own, other, outside):
        path.touch()
    assert (await store.survey()).temporaries_removed == 1
    assert [path.exists() for path in (old, own, other, outside)] == [False, True, True, True]


async def test_strangers_are_counted_and_left_alone(folder: Folder) -> None:
    """Nor are symbolic links followed."""
    store = folder.open()
    await populate(store)
    (folder.root / "blobs/sha256/note.txt").touch()
    (folder.root / "repositories/note.txt").touch()
    (folder.root / "repositories/loop").symlink_to(folder.root)
    (folder.root / "elsewhere").mkdir()
    found = await store.survey()
    assert (found.strangers, found.blobs) == (3, 2)
    assert (folder.root / "blobs/sha256/note.txt").exists()


async def test_after_it_a_grant_knows_who_vouches(folder: Folder) -> None:
    """The links of a former process are in the index."""
    await populate(folder.open())
    store = await folder.reopen()
    await store.survey()
    await store.grant(REDIS, DIGEST, Kind.BLOB, "a/b", "head", store.stamp(REDIS))
    assert await reading(store)(REDIS, DIGEST) == CONTENT


async def test_broken_links_are_not_in_the_index(folder: Folder) -> None:
    """The blob goes with its last good link."""
    await fill(folder.open(), CONTENT, NGINX, OTHER)
    folder.root.joinpath("repositories/ghcr.io/a/b/c/_layers/sha256", DIGEST.hex).write_bytes(b"{")
    store = await folder.reopen()
    await store.survey()
    assert await store.unlink(NGINX, DIGEST, Kind.BLOB) is True


async def test_commits_and_unlinks_during_the_survey(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link made meanwhile is known at the end, one removed meanwhile is not, wherever the walk was."""
    monkeypatch.setattr(survey, "SLICE", 1)
    store = folder.open()
    for number in range(12):
        await fill(store, b"%d" % number, NGINX)
    store = await folder.reopen()
    surveyed = store.survey()
    digests = [Digest.of(b"%d" % number) for number in range(12)]
    for number, digest in enumerate(digests):
        await fill(store, b"new %d" % number, OTHER)
        await store.grant(REDIS, digest, Kind.BLOB, "a/b", "head", store.stamp(REDIS))
        await store.unlink(NGINX, digest, Kind.BLOB)
        if number % 2:
            await store.unlink(REDIS, digest, Kind.BLOB)
    await surveyed
    for number, digest in enumerate(digests):
        assert (store.holds(digest) is None) == bool(number % 2)
        new = Digest.of(b"new %d" % number)
        assert store.holds(new) is not None
        assert await store.unlink(OTHER, new, Kind.BLOB) is True


async def test_a_name_that_the_walk_found_and_that_went_does_not_come_back(folder: Folder) -> None:
    """The writer thread looks again at each (the walk only finds names)."""
    store = folder.open()
    await fill(store)
    gate = threading.Event()
    store._writer.run(gate.wait, 10)
    gone = store.unlink(NGINX, DIGEST, Kind.BLOB)
    surveyed = store.survey()
    await store._own.run(int)
    gate.set()
    await gone
    await surveyed
    assert store._ledger.holders(DIGEST) == ()
    assert store.holds(DIGEST) is None


async def test_cancelling_one_who_waits_leaves_it_running(store: DiskStore) -> None:
    """Two who ask share one."""
    await populate(store)
    first, second = store.survey(), store.survey()
    first.cancel()
    with pytest.raises(CancelledError):
        await first
    assert (await second).blobs == 2


async def test_closing_the_store_ends_it(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the slice under way, without an error in the log."""
    monkeypatch.setattr(survey, "SLICE", 1)
    store = folder.open()
    await populate(store)
    surveyed = store.survey()
    outcome: Deferred[object] = surveyed.addErrback(lambda failure: failure.value)
    await store.close()
    assert isinstance(await outcome, TransferStopped | StorageFailed)
    assert not store._ledger.complete


async def test_nothing_but_misses_after_somebody_removed_all(folder: Folder, store: DiskStore) -> None:
    """A folder that changes under the walk is no error."""
    await populate(store)
    folder.blob(DIGEST).unlink()
    os.rename(folder.root / "repositories", folder.root / "gone")
    assert (await store.survey()).links == 0
    with pytest.raises(ContentMissing):
        await store.blobs.stat(NGINX, DIGEST)


async def test_folders_that_a_kill_left_empty_go(folder: Folder, store: DiskStore) -> None:
    """With what is empty above them, up to the roots; one whose only file is stale too, no other."""
    await fill(store, CONTENT, NGINX)
    bare = ("blobs/sha512/ab", "repositories/docker.io/library/gone/_layers/sha256", "repositories/ghcr.io/a")
    for name in (*bare, "quarantine/x", "fills/x"):
        (folder.root / name).mkdir(parents=True)
    (folder.root / "repositories/ghcr.io/a" / f".{'0' * 16}-{'1' * 16}.tmp").touch()
    await store.survey()
    assert os.listdir(folder.root / "blobs") == ["sha256"]
    assert os.listdir(folder.root / "repositories") == ["docker.io"]
    assert os.listdir(folder.root / "repositories/docker.io/library") == ["nginx"]
    assert (folder.root / "quarantine/x").exists()
    assert await reading(store)(NGINX, DIGEST) == CONTENT
