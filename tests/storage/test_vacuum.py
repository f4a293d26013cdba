"""The vacuum: links first, bytes with the last one, folders when they are empty; never by accident."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from zope.interface.verify import verifyObject

from regproxy.errors import ContentMissing, StorageFailed
from regproxy.interfaces import Held, IRemovals, Kind
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.oci.media_type import OCI_MANIFEST
from regproxy.storage import durable, ledger
from regproxy.storage import survey as survey_module
from regproxy.storage.store import DiskStore
from tests.storage.conftest import CONTENT, DIGEST, LATEST, NGINX, OTHER, REDIS, Folder, fill, proofs, reading
from tests.storage.watching import Watcher, due, record


async def test_it_is_what_an_expiry_removes_through(store: DiskStore) -> None:
    assert verifyObject(IRemovals, store)


async def test_the_blob_goes_with_its_last_link_never_before(folder: Folder, store: DiskStore) -> None:
    """A repository that shares it goes on serving it (P3, #2367)."""
    await fill(store, CONTENT, NGINX, REDIS)
    await store.survey()
    assert await store.expire(NGINX, DIGEST, due)
    with pytest.raises(ContentMissing):
        await store.blobs.open(NGINX, DIGEST)
    assert await reading(store)(REDIS, DIGEST) == CONTENT
    assert await store.expire(REDIS, DIGEST, due)
    assert folder.files("blobs") == folder.files("repositories") == []


async def test_both_links_of_a_repository_go(folder: Folder, store: DiskStore) -> None:
    """As a blob and as a manifest."""
    content = b'{"schemaVersion":2,"layers":[]}'
    manifest = Manifest.receive(content, OCI_MANIFEST)
    await store.put(NGINX, manifest, store.stamp(NGINX))
    await store.grant(NGINX, manifest.digest, Kind.BLOB, "", "head", store.stamp(NGINX))
    await store.survey()
    assert await store.expire(NGINX, manifest.digest, due)
    assert folder.files("blobs") == folder.files("repositories") == []


async def test_what_was_used_meanwhile_stays(store: DiskStore) -> None:
    """The question is asked in the writer thread, right before the removal."""
    await fill(store)
    await store.survey()
    assert not await store.expire(NGINX, DIGEST, lambda: False)
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_a_tag_goes_alone(folder: Folder, store: DiskStore) -> None:
    """Its content has a life of its own; its folder goes when it is empty."""
    await fill(store)
    await store.set_tag(NGINX, LATEST, record())
    assert await store.expire(NGINX, LATEST, due)
    assert store.tag(NGINX, LATEST) is None
    assert not (folder.root / "repositories/docker.io/library/nginx/_tags").exists()
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_empty_folders_go_and_come_back(folder: Folder, store: DiskStore) -> None:
    """Up to the roots of each tree, not further; others' folders stay."""
    await fill(store, CONTENT, NGINX)
    await fill(store, b"two", REDIS)
    await store.survey()
    await store.expire(NGINX, DIGEST, due)
    assert not (folder.root / "repositories/docker.io/library/nginx").exists()
    assert (folder.root / "repositories/docker.io/library/redis").exists()
    assert not folder.blob(DIGEST).parent.exists()
    await store.expire(REDIS, Digest.of(b"two"), due)
    assert os.listdir(folder.root / "repositories") == os.listdir(folder.root / "blobs") == []
    await fill(store, CONTENT, NGINX)
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_a_commit_whose_folder_goes_under_its_hands(
    folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody removes empty folders meanwhile, perhaps cron: they are made again."""
    await fill(store, b"first")
    really, gone = os.rename, []
    folder.blob(DIGEST).parent.mkdir(parents=True)

    def rename(source: Any, target: Any) -> None:
        if Path(target) == folder.blob(DIGEST) and not gone:
            gone.append(target)
            Path(target).parent.rmdir()
        really(source, target)

    monkeypatch.setattr(os, "rename", rename)
    spool = await store.spool(DIGEST)
    await spool.append([CONTENT])
    await spool.commit(proofs(store, NGINX))
    assert gone == [folder.blob(DIGEST)]
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_a_reader_reads_on(store: DiskStore) -> None:
    """The open file outlives its name."""
    await fill(store)
    await store.survey()
    blob = await store.blobs.open(NGINX, DIGEST)
    await store.expire(NGINX, DIGEST, due)
    body = blob.body()
    got = b""
    while len(got) < len(CONTENT):
        part = body.read(65536)
        if part is None:
            await body.ready()
        else:
            got += part
    body.close()
    assert got == CONTENT


async def test_not_under_a_fill_that_reads_it_from_the_disk(folder: Folder, store: DiskStore) -> None:
    """A file that is hashed again keeps its name until the fill is over; without a link it goes then."""
    await fill(store)
    await store.survey()
    spool, blob = await store.adopt(DIGEST)
    assert await store.expire(NGINX, DIGEST, due)
    assert folder.blob(DIGEST).exists()
    blob.close()
    await spool.discard()
    await store.expire(REDIS, Digest.of(b"behind it in the queue"), due)
    assert not folder.blob(DIGEST).exists()


async def test_a_fill_that_ends_well_keeps_it(folder: Folder, store: DiskStore) -> None:
    """Its commit writes the links anew."""
    await fill(store)
    await store.survey()
    spool, blob = await store.adopt(DIGEST)
    await store.expire(NGINX, DIGEST, due)
    blob.close()
    await spool.append([CONTENT])
    await spool.commit(proofs(store, NGINX))
    await store.expire(REDIS, Digest.of(b"behind it in the queue"), due)
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_the_last_link_during_the_survey(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """No blob goes before it has ended; then it does."""
    monkeypatch.setattr(survey_module, "SLICE", 1)
    await fill(folder.open(), CONTENT, NGINX)
    store = await folder.reopen()
    assert await store.expire(NGINX, DIGEST, due)
    assert folder.blob(DIGEST).exists()
    await store.survey()
    assert not folder.blob(DIGEST).exists()


async def test_used_during_the_survey_by_another(folder: Folder) -> None:
    """The one whose link the survey has not seen yet keeps the blob."""
    await fill(folder.open(), CONTENT, NGINX, OTHER)
    store = await folder.reopen()
    surveyed = store.survey()
    await store.expire(NGINX, DIGEST, due)
    await surveyed
    assert await reading(store)(OTHER, DIGEST) == CONTENT


async def test_a_removal_that_fails_half_way_can_be_tried_again(
    folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link is gone, the blob is not: it is told of as gone only when both are (P2)."""
    watcher = Watcher()
    store.watch(watcher)
    await fill(store)
    await store.survey()
    really = durable.remove

    def refuse(path: Path) -> bool:
        if "blobs" in path.parts:
            raise OSError(errno.EROFS, "read-only")
        return really(path)

    monkeypatch.setattr(durable, "remove", refuse)
    with pytest.raises(StorageFailed):
        await store.expire(NGINX, DIGEST, due)
    assert (NGINX, DIGEST) in watcher.held
    monkeypatch.setattr(durable, "remove", really)
    assert await store.expire(NGINX, DIGEST, due)
    assert watcher.held == {}
    assert folder.files("blobs") == []


async def test_orphans_go(folder: Folder) -> None:
    """A blob that no repository holds: left by a kill between unlink and unlink."""
    store = folder.open()
    await fill(store)
    orphan = Digest.of(b"orphan")
    folder.blob(orphan).parent.mkdir(parents=True)
    folder.blob(orphan).write_bytes(b"orphan")
    found = await store.survey()
    assert (found.orphans_removed, found.blobs) == (1, 1)
    assert not folder.blob(orphan).parent.exists()
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_no_orphan_under_a_fill(folder: Folder, store: DiskStore) -> None:
    """What a fill reads from the disk waits for its link."""
    folder.blob(DIGEST).parent.mkdir(parents=True)
    folder.blob(DIGEST).write_bytes(CONTENT)
    spool, blob = await store.adopt(DIGEST)
    blob.close()
    assert (await store.survey()).orphans_removed == 0
    await spool.append([CONTENT])
    await spool.commit(proofs(store, NGINX))
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_no_orphans_when_a_folder_cannot_be_read(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its links may be what keeps them; nor does any blob go later."""
    await fill(folder.open(), CONTENT, NGINX)
    store = await folder.reopen()
    really = os.scandir

    def refuse(path: Any) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("library"):
            raise PermissionError(errno.EACCES, "no")
        return really(path)

    monkeypatch.setattr(survey_module.os, "scandir", refuse)
    assert (await store.survey()).orphans_removed == 0
    monkeypatch.undo()
    await store.expire(OTHER, DIGEST, due)
    assert await reading(store)(NGINX, DIGEST) == CONTENT
    await store.survey()
    assert await reading(store)(NGINX, DIGEST) == CONTENT


def no_descriptors(path: Path) -> None:
    raise StorageFailed("too many open files")


async def test_no_orphans_when_files_run_out(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that cannot be opened is not a link that is not there."""
    await fill(folder.open(), CONTENT, NGINX)
    store = await folder.reopen()

    def refuse(path: Path) -> None:
        raise StorageFailed("too many open files")

    monkeypatch.setattr(ledger, "read_link", no_descriptors)
    assert (await store.survey()).orphans_removed == 0
    monkeypatch.undo()
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_a_broken_link_expires(folder: Folder) -> None:
    """It vouches for nothing, and does not lie there for ever."""
    await fill(folder.open())
    (path,) = (folder.root / "repositories").rglob(DIGEST.hex)
    path.write_bytes(b"{")
    store = await folder.reopen()
    watcher = Watcher()
    store.watch(watcher)
    await store.survey()
    assert list(watcher.held) == [(NGINX, DIGEST)]
    await store.expire(NGINX, DIGEST, due)
    assert folder.files("repositories") == []


async def test_old_spools_go(folder: Folder, store: DiskStore) -> None:
    """Those that a start could not remove; one that is being filled stays."""
    spool = await store.spool(DIGEST)
    await spool.append([CONTENT])
    for name in ("sha256-old.spool", "sha256-old.map", "note.txt"):
        (folder.root / "fills" / name).write_bytes(b"{}")
    (folder.root / "fills" / "folder").mkdir()
    assert (await store.survey()).spools_removed == 3
    await spool.commit(proofs(store, NGINX))
    assert await reading(store)(NGINX, DIGEST) == CONTENT
    assert (await store.survey()).spools_removed == 0
    assert os.listdir(folder.root / "fills") == ["folder"]


async def test_what_comes_and_goes_is_told_before_whoever_did_it_knows(store: DiskStore) -> None:
    """So an account of it is never behind."""
    watcher = Watcher()
    store.watch(watcher)
    await fill(store, CONTENT, NGINX, REDIS)
    assert set(watcher.held) == {(NGINX, DIGEST), (REDIS, DIGEST)}
    assert watcher.held[NGINX, DIGEST] == Held(NGINX, DIGEST, Kind.BLOB, len(CONTENT))
    await store.set_tag(NGINX, LATEST, record())
    assert (NGINX, LATEST) in watcher.held
    await store.drop_tag(NGINX, LATEST)
    await store.unlink(REDIS, DIGEST, Kind.BLOB)
    assert list(watcher.held) == [(NGINX, DIGEST)]


async def test_a_survey_tells_what_is_there(folder: Folder) -> None:
    """Links and tags of a former process, then that this was all."""
    store = folder.open()
    await fill(store, CONTENT, NGINX, OTHER)
    await store.set_tag(NGINX, LATEST, record())
    store = await folder.reopen()
    watcher = Watcher()
    store.watch(watcher)
    await store.survey()
    assert set(watcher.held) == {(NGINX, DIGEST), (OTHER, DIGEST), (NGINX, LATEST)}
    assert watcher.told[-1] == "surveyed"
