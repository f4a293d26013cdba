"""The store as its callers see it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

import pytest
from zope.interface.verify import verifyObject

from regproxy.errors import ContentMissing, ContentUntrusted, InvalidManifest, StorageFailed
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
from regproxy.oci.manifest import Manifest
from regproxy.oci.media_type import OCI_MANIFEST
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.storage.store import DiskStore
from tests.storage.conftest import (
    CONTENT,
    DIGEST,
    NGINX,
    OTHER,
    REDIS,
    Folder,
    fill,
    proofs,
    read_whole,
    reading,
)

MANIFEST = Manifest.receive(b'{"schemaVersion":2,"layers":[],"config":{}}', OCI_MANIFEST)
LATEST = Tag.parse("latest")


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


async def test_manifests_come_back_as_they_were_sent(folder: Folder) -> None:
    """Exact bytes, and the media type of the link; on /blobs/ too (R21)."""
    store = folder.open()
    await store.put(NGINX, MANIFEST, store.stamp(NGINX))
    store = await folder.reopen()
    assert await store.manifests.get(NGINX, MANIFEST.digest) == MANIFEST
    assert await store.manifests.stat(NGINX, MANIFEST.digest) == MANIFEST.descriptor
    assert await reading(store)(NGINX, MANIFEST.digest) == MANIFEST.content
    assert store.link(NGINX, MANIFEST.digest)[0] is Kind.MANIFEST
    with pytest.raises(ContentMissing):
        await store.manifests.get(OTHER, MANIFEST.digest)


async def test_a_manifest_of_another_digest_is_not_put(folder: Folder, store: DiskStore) -> None:
    """Nothing unverified is ever under blobs/ (invariant 1)."""
    with pytest.raises(InvalidManifest):
        await store.put(NGINX, Manifest(b"{}", OCI_MANIFEST, DIGEST), store.stamp(NGINX))
    assert folder.files("blobs") == []


async def test_a_layer_is_no_manifest(store: DiskStore) -> None:
    """What is linked as a blob only is not answered on /manifests/."""
    await fill(store)
    with pytest.raises(ContentMissing):
        await store.manifests.get(NGINX, DIGEST)


async def test_a_touched_manifest_is_hashed_again_and_trusted(folder: Folder, store: DiskStore) -> None:
    """Its links know its mtime again."""
    await store.put(NGINX, MANIFEST, store.stamp(NGINX))
    path = folder.blob(MANIFEST.digest)
    right = path.stat().st_mtime_ns
    os.utime(path, ns=(5, 5))
    assert await store.manifests.get(NGINX, MANIFEST.digest) == MANIFEST
    await store.tags(NGINX)
    await store.drop_tag(NGINX, LATEST)
    assert path.stat().st_mtime_ns == right
    assert await reading(store)(NGINX, MANIFEST.digest) == MANIFEST.content


async def test_a_damaged_manifest_is_a_miss_and_set_aside(folder: Folder, store: DiskStore) -> None:
    """Same size, other bytes: found by its mtime (P31)."""
    await store.put(NGINX, MANIFEST, store.stamp(NGINX))
    path = folder.blob(MANIFEST.digest)
    path.chmod(0o600)
    path.write_bytes(b" " * len(MANIFEST.content))
    with pytest.raises(ContentMissing):
        await store.manifests.get(NGINX, MANIFEST.digest)
    assert not path.exists()
    assert len(folder.files("quarantine")) == 1
    await store.put(NGINX, MANIFEST, store.stamp(NGINX))
    assert await store.manifests.get(NGINX, MANIFEST.digest) == MANIFEST


async def test_put_again_keeps_the_bytes_and_the_other_links(folder: Folder, store: DiskStore) -> None:
    """Bytes once on disk, trusted by both."""
    await store.put(NGINX, MANIFEST, store.stamp(NGINX))
    inode = folder.blob(MANIFEST.digest).stat().st_ino
    await store.put(OTHER, MANIFEST, store.stamp(OTHER))
    assert folder.blob(MANIFEST.digest).stat().st_ino == inode
    assert await store.manifests.get(NGINX, MANIFEST.digest) == await store.manifests.get(
        OTHER, MANIFEST.digest
    )


async def test_revoked_links_need_a_new_proof(folder: Folder) -> None:
    """Both for a repository and for an upstream, over a restart, at the same second."""
    store = folder.open()
    await fill(store, CONTENT, NGINX, REDIS, OTHER)
    await store.revoke(NGINX)
    with pytest.raises(ContentMissing):
        await store.blobs.open(NGINX, DIGEST)
    await store.blobs.stat(REDIS, DIGEST)
    await store.revoke_upstream("docker.io")
    store = await folder.reopen()
    for repository in (NGINX, REDIS):
        with pytest.raises(ContentMissing):
            await store.blobs.stat(repository, DIGEST)
    assert store.revoked_s(REDIS) == folder.wall.now_s
    assert store.revoked_s(OTHER) == 0.0
    await store.blobs.stat(OTHER, DIGEST)
    await store.grant(REDIS, DIGEST, Kind.BLOB, "a/b", "head", store.stamp(REDIS))
    assert await store.blobs.stat(REDIS, DIGEST) == len(CONTENT)


async def test_a_revocation_after_the_clock_was_set_back(folder: Folder) -> None:
    """It is dated after the links, whatever the clock says, and a new proof after it."""
    await fill(folder.open())
    store = await folder.reopen()
    await store.survey()
    folder.wall.now_s -= 3600
    await store.revoke(NGINX)
    with pytest.raises(ContentMissing):
        await store.blobs.stat(NGINX, DIGEST)
    store = await folder.reopen()
    await store.grant(NGINX, DIGEST, Kind.BLOB, "a/b", "head", store.stamp(NGINX))
    assert await store.blobs.stat(NGINX, DIGEST) == len(CONTENT)


async def test_many_holders_of_one_digest(folder: Folder) -> None:
    """The blob stays for each of them, and goes with the last."""
    many = [Repository.parse("docker.io", f"a/n{number}") for number in range(12)]
    await fill(folder.open(), CONTENT, *many)
    store = await folder.reopen()
    await store.survey()
    for repository in many:
        assert store.holds(DIGEST) == len(CONTENT)
        await store.unlink(repository, DIGEST, Kind.BLOB)
    assert store.holds(DIGEST) is None


async def test_a_revocation_counts_before_it_is_written(store: DiskStore) -> None:
    """Nothing is served between the decision and the disk's answer."""
    await fill(store)
    written = store.revoke(NGINX)
    with pytest.raises(ContentMissing):
        await store.blobs.open(NGINX, DIGEST)
    await written


@pytest.mark.parametrize("record", [b"", b"{}", b"\xff", b'{"revoked":-1}', b"[" * 5000])
async def test_a_broken_revocation_still_revokes(folder: Folder, store: DiskStore, record: bytes) -> None:
    """It was written when its file was."""
    await fill(store)
    path = folder.root / "repositories/docker.io/_revoked"
    path.write_bytes(record)
    os.utime(path, (folder.wall.now_s + 5,) * 2)
    assert store.revoked_s(NGINX) == folder.wall.now_s + 5
    with pytest.raises(ContentMissing):
        await store.blobs.open(NGINX, DIGEST)


async def test_a_changed_credential_revokes(folder: Folder) -> None:
    """Noticed at the next start; the fingerprint itself is nowhere on disk."""
    store = folder.open()
    assert await store.credential_changed("docker.io", b"me\0secret") is False
    await fill(store)
    store = await folder.reopen()
    assert await store.credential_changed("docker.io", b"me\0secret") is False
    await store.blobs.stat(NGINX, DIGEST)
    assert await store.credential_changed("docker.io", b"") is True
    with pytest.raises(ContentMissing):
        await store.blobs.stat(NGINX, DIGEST)
    assert b"secret" not in (folder.root / "repositories/docker.io/_credential").read_bytes()


async def test_content_of_an_unknown_credential_is_revoked(store: DiskStore) -> None:
    """It may be somebody else's."""
    await fill(store)
    assert await store.credential_changed("docker.io", b"new") is True


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
