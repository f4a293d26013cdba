"""The store as its callers see it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

import pytest
from zope.interface.verify import verifyObject

from regproxy.errors import ContentMissing, ContentUntrusted, StorageFailed
from regproxy.interfaces import (
    IBlob,
    IBlobSource,
    IBody,
    IFile,
    ILocalStore,
    IManifestSource,
    ISpool,
    Kind,
)
from regproxy.oci.digest import Digest
from regproxy.storage import durable
from regproxy.storage.store import DiskStore
from tests.storage.conftest import (
    CONTENT,
    DIGEST,
    MANIFEST,
    NGINX,
    OTHER,
    REDIS,
    Folder,
    fill,
    proofs,
    read_whole,
    reading,
)


async def test_a_disk_that_refused_is_known_to_refuse(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its health says otherwise; nothing is asked of the disk."""
    assert not store.refuses()

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    with monkeypatch.context() as patched:
        patched.setattr(durable, "create", refuse)
        with pytest.raises(StorageFailed):
            await store.spool(DIGEST)
    assert store.refuses()


async def test_provides_the_interfaces(store: DiskStore) -> None:
    """Everything that others call is there, with the right arguments."""
    await fill(store)
    verifyObject(ILocalStore, store)
    verifyObject(IBlobSource, store.blobs)
    verifyObject(IManifestSource, store.manifests)
    spool = await store.spool(DIGEST)
    verifyObject(ISpool, spool)
    adopted, blob = await store.adopt(DIGEST)
    verifyObject(ISpool, adopted)
    verifyObject(IBlob, blob)
    body = blob.body()
    verifyObject(IBody, body)
    file = spool.file()
    verifyObject(IFile, file)
    file.close()
    body.close()
    await spool.discard()
    await adopted.discard()


async def test_a_committed_blob_is_served_also_after_a_restart(folder: Folder) -> None:
    """Bytes, size and link come back from the disk alone."""
    store = folder.open()
    await fill(store)
    for opened in (store, await folder.reopen()):
        assert await opened.blobs.stat(NGINX, DIGEST) == len(CONTENT)
        assert await reading(opened)(NGINX, DIGEST) == CONTENT
        assert opened.holds(DIGEST) == len(CONTENT)
        kind, link = opened.link(NGINX, DIGEST)
        assert (kind, link.size_bytes, link.source) == (Kind.BLOB, len(CONTENT), "fetch")


async def test_modes_are_tight(folder: Folder, store: DiskStore) -> None:
    """Folders 0750, files 0640, blobs read-only."""
    await fill(store)
    await store.put(NGINX, MANIFEST, store.stamp(NGINX))
    for path in folder.root.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        blob = "blobs" in path.parts and not path.is_dir()
        assert mode == (0o750 if path.is_dir() else 0o440 if blob else 0o640), path


async def test_another_repository_is_not_served_without_a_link(store: DiskStore) -> None:
    """Permission is a link of its own (invariant 5)."""
    await fill(store)
    with pytest.raises(ContentMissing):
        await store.blobs.open(OTHER, DIGEST)
    await store.grant(OTHER, DIGEST, Kind.BLOB, "application/octet-stream", "head", store.stamp(OTHER))
    assert await reading(store)(OTHER, DIGEST) == CONTENT
    assert store.link(OTHER, DIGEST)[1].source == "head"


async def test_grant_of_what_is_not_there(store: DiskStore) -> None:
    """There is nothing to link to."""
    with pytest.raises(ContentMissing):
        await store.grant(NGINX, DIGEST, Kind.BLOB, "a/b", "head", store.stamp(NGINX))


async def test_grant_does_not_trust_a_touched_file(folder: Folder, store: DiskStore) -> None:
    """The new link has the mtime that the old one knows, so opening says so."""
    await fill(store)
    os.utime(folder.blob(DIGEST), ns=(5, 5))
    await store.grant(OTHER, DIGEST, Kind.BLOB, "a/b", "head", store.stamp(OTHER))
    with pytest.raises(ContentUntrusted):
        await store.blobs.open(OTHER, DIGEST)


@pytest.mark.parametrize("mtime_ns", [0, 12345])
async def test_grant_of_a_file_that_nothing_vouches_for(folder: Folder, mtime_ns: int) -> None:
    """A file that somebody put there, or whose link the survey has not seen, is hashed first (P31)."""
    path = folder.blob(DIGEST)
    store = folder.open()
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    await store.grant(NGINX, DIGEST, Kind.BLOB, "a/b", "head", store.stamp(NGINX))
    with pytest.raises(ContentUntrusted):
        await store.blobs.open(NGINX, DIGEST)
    spool, blob = await store.adopt(DIGEST)
    await spool.append([read_whole(blob)])
    await spool.commit(proofs(store, NGINX))
    assert await reading(store)(NGINX, DIGEST) == CONTENT


def spoil_short(folder: Folder) -> None:
    os.truncate(folder.blob(DIGEST), 5)


def spoil_missing(folder: Folder) -> None:
    folder.blob(DIGEST).unlink()


def spoil_symlink(folder: Folder) -> None:
    path = folder.blob(DIGEST)
    path.rename(folder.root / "elsewhere")
    path.symlink_to(folder.root / "elsewhere")


def spoil_folder(folder: Folder) -> None:
    folder.blob(DIGEST).unlink()
    (folder.blob(DIGEST) / "x").mkdir(parents=True)


def spoil_fifo(folder: Folder) -> None:
    folder.blob(DIGEST).unlink()
    os.mkfifo(folder.blob(DIGEST))


def spoil_link(folder: Folder) -> None:
    folder.root.joinpath("repositories/docker.io/library/nginx/_layers/sha256", DIGEST.hex).unlink()


SPOILS = [spoil_short, spoil_missing, spoil_symlink, spoil_folder, spoil_fifo, spoil_link]


@pytest.mark.parametrize("spoil", SPOILS)
async def test_what_is_not_whole_is_a_miss_and_can_be_filled_again(
    folder: Folder, spoil: Callable[[Folder], None]
) -> None:
    """Never a 200 with other bytes (P3); the next fill puts it right."""
    store = folder.open()
    await fill(store)
    spoil(folder)
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(ContentMissing):
        await store.blobs.open(NGINX, DIGEST)
    with pytest.raises(ContentMissing):
        await store.blobs.stat(NGINX, DIGEST)
    assert set(os.listdir("/proc/self/fd")) == before
    await fill(store)
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_a_touched_blob_is_adopted_and_all_links_trust_it_again(folder: Folder) -> None:
    """Hashing once restores every link, those of a former process too."""
    await fill(folder.open(), CONTENT, NGINX, OTHER)
    store = await folder.reopen()
    os.utime(folder.blob(DIGEST), ns=(5, 5))
    with pytest.raises(ContentUntrusted):
        await store.blobs.open(NGINX, DIGEST)
    before = store.link(NGINX, DIGEST)
    folder.wall.now_s += 100
    spool, blob = await store.adopt(DIGEST)
    body = blob.body()
    while chunk := body.read(1000):
        await spool.append([chunk])
    assert spool.matches()
    await spool.commit(proofs(store, NGINX))
    body.close()
    assert await reading(store)(NGINX, DIGEST) == CONTENT
    assert await reading(store)(OTHER, DIGEST) == CONTENT
    assert store.link(NGINX, DIGEST) == before


async def test_a_link_to_unverified_bytes_vouches_for_nothing(folder: Folder) -> None:
    """But one that the survey finds later does."""
    await fill(folder.open())
    store = await folder.reopen()
    await store.grant(OTHER, DIGEST, Kind.BLOB, "a/b", "head", store.stamp(OTHER))
    with pytest.raises(ContentUntrusted):
        await store.blobs.open(OTHER, DIGEST)
    await store.survey()
    await store.grant(REDIS, DIGEST, Kind.BLOB, "a/b", "head", store.stamp(REDIS))
    assert await reading(store)(REDIS, DIGEST) == CONTENT


async def test_a_new_fill_keeps_the_mtime_that_links_know(folder: Folder) -> None:
    """So that links which the survey has not come to trust it too."""
    await fill(folder.open(), CONTENT, NGINX, OTHER)
    store = await folder.reopen()
    os.utime(folder.blob(DIGEST), ns=(5, 5))
    with pytest.raises(ContentUntrusted):
        await store.blobs.open(NGINX, DIGEST)
    folder.blob(DIGEST).unlink()
    await fill(store, CONTENT, REDIS)
    for repository in (NGINX, OTHER, REDIS):
        assert await reading(store)(repository, DIGEST) == CONTENT


async def test_a_wrong_adopted_file_goes_to_quarantine(folder: Folder, store: DiskStore) -> None:
    """Its bytes are kept for a person to look at, never served."""
    await fill(store)
    path = folder.blob(DIGEST)
    path.chmod(0o600)
    path.write_bytes(b"X" * len(CONTENT))
    spool, blob = await store.adopt(DIGEST)
    await spool.append([b"X" * len(CONTENT)])
    assert not spool.matches()
    await spool.reject()
    blob.close()
    with pytest.raises(ContentMissing):
        await store.blobs.open(NGINX, DIGEST)
    assert folder.files("quarantine") == [f"quarantine/sha256-{DIGEST.hex}"]
    await fill(store)
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_discarding_an_adopted_file_leaves_it(folder: Folder, store: DiskStore) -> None:
    """Nothing is known of it yet."""
    await fill(store)
    before = folder.blob(DIGEST).stat()
    spool, blob = await store.adopt(DIGEST)
    blob.close()
    await spool.discard()
    await spool.discard()
    assert folder.blob(DIGEST).stat() == before


async def test_adopting_what_is_not_there(store: DiskStore) -> None:
    """It is a miss."""
    with pytest.raises(ContentMissing):
        await store.adopt(DIGEST)


async def test_unlink_removes_the_blob_with_its_last_link(folder: Folder, store: DiskStore) -> None:
    """Only when the survey has seen every link."""
    await fill(store, CONTENT, NGINX, OTHER)
    await store.survey()
    assert await store.unlink(NGINX, DIGEST, Kind.BLOB) is False
    assert await reading(store)(OTHER, DIGEST) == CONTENT
    assert await store.unlink(OTHER, DIGEST, Kind.BLOB) is True
    assert folder.files("blobs") == []
    assert store.link(OTHER, DIGEST) is None


async def test_unlink_before_the_survey_takes_what_the_index_does_not_know(folder: Folder) -> None:
    """Of two links of one repository the other is seen, so the blob stays for it; then it goes."""
    store = folder.open()
    await store.put(NGINX, MANIFEST, store.stamp(NGINX))
    digest = MANIFEST.digest
    await store.grant(NGINX, digest, Kind.BLOB, "a/b", "head", store.stamp(NGINX))
    store = await folder.reopen()
    await store.unlink(NGINX, digest, Kind.BLOB)
    assert store.link(NGINX, digest)[0] is Kind.MANIFEST
    assert store._ledger.mtime_ns(digest) == folder.blob(digest).stat().st_mtime_ns
    await store.survey()
    assert await store.manifests.get(NGINX, digest) == MANIFEST
    assert await store.unlink(NGINX, digest, Kind.MANIFEST) is True


async def test_a_last_link_that_goes_before_the_survey_is_looked_at_when_it_ends(folder: Folder) -> None:
    """A link of another repository that was not known yet keeps the blob."""
    store = folder.open()
    await fill(store, CONTENT, NGINX, OTHER)
    await fill(store, b"alone", NGINX)
    store = await folder.reopen()
    assert await store.unlink(NGINX, DIGEST, Kind.BLOB) is False
    assert await store.unlink(NGINX, Digest.of(b"alone"), Kind.BLOB) is False
    assert store.holds(Digest.of(b"alone")) == 5
    await store.survey()
    assert store.holds(Digest.of(b"alone")) is None
    assert await reading(store)(OTHER, DIGEST) == CONTENT


async def test_close_is_idempotent_and_jobs_after_it_fail(folder: Folder) -> None:
    """Nothing hangs."""
    store = folder.open()
    await fill(store)
    await store.close()
    await store.close()
    with pytest.raises(StorageFailed):
        await store.spool(DIGEST)
