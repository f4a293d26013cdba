"""Manifests on disk come back as they were sent, or not at all."""

from __future__ import annotations

import errno
import os

import pytest

from regproxy.errors import ContentMissing, InvalidManifest
from regproxy.interfaces import (
    Kind,
)
from regproxy.oci.manifest import Manifest
from regproxy.oci.media_type import OCI_MANIFEST
from regproxy.storage import keeping
from regproxy.storage.store import DiskStore
from regproxy.testing.checker import check
from tests.storage.conftest import (
    DIGEST,
    LATEST,
    MANIFEST,
    NGINX,
    OTHER,
    Folder,
    fill,
    reading,
)


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


async def test_put_for_another_repository_before_the_survey_leaves_the_file(folder: Folder) -> None:
    """Nobody knows yet who vouches for it: were it written anew, it would be touched for all of these."""
    store = folder.open()
    await store.put(NGINX, MANIFEST, store.stamp(NGINX))
    before = folder.blob(MANIFEST.digest).stat()
    store = await folder.reopen()
    await store.put(OTHER, MANIFEST, store.stamp(OTHER))
    after = folder.blob(MANIFEST.digest).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert check(folder.root) == []
    for repository in (NGINX, OTHER):
        assert (await store.blobs.stat(repository, MANIFEST.digest)) == len(MANIFEST.content)
        assert store.link(repository, MANIFEST.digest)[1].mtime_ns == before.st_mtime_ns


async def test_put_of_a_touched_manifest_gives_it_its_time_again(folder: Folder) -> None:
    """By the repository's own link, before the survey too; a mode that is too wide is mended as well."""
    store = folder.open()
    await store.put(NGINX, MANIFEST, store.stamp(NGINX))
    path = folder.blob(MANIFEST.digest)
    before = path.stat()
    os.utime(path, ns=(5, 5))
    path.chmod(0o640)
    store = await folder.reopen()
    await store.put(NGINX, MANIFEST, store.stamp(NGINX))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert check(folder.root) == []


@pytest.mark.parametrize("unreadable", [False, True])
async def test_put_writes_anew_what_is_wrong_with_the_time_that_links_know(
    folder: Folder, unreadable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rotten on the disk, which touches no time; before the survey too."""
    store = folder.open()
    await store.put(NGINX, MANIFEST, store.stamp(NGINX))
    path = folder.blob(MANIFEST.digest)
    before = path.stat()
    path.chmod(0o600)
    path.write_bytes(b"x" * len(MANIFEST.content))
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
    store = await folder.reopen()
    if unreadable:
        monkeypatch.setattr(keeping, "read_whole", _bad_sector)
    await store.put(OTHER, MANIFEST, store.stamp(OTHER))
    assert path.read_bytes() == MANIFEST.content
    assert check(folder.root) == []


def _bad_sector(descriptor: int, size_bytes: int) -> bytes:
    raise OSError(errno.EIO, "Input/output error")


async def test_a_manifest_that_is_hashed_again_before_the_survey_keeps_its_time(folder: Folder) -> None:
    """Who asked for it has a link, which knows it: all others agree with that one."""
    store = folder.open()
    for repository in (NGINX, OTHER):
        await store.put(repository, MANIFEST, store.stamp(repository))
    path = folder.blob(MANIFEST.digest)
    right = path.stat().st_mtime_ns
    os.utime(path, ns=(5, 5))
    store = await folder.reopen()
    assert await store.manifests.get(NGINX, MANIFEST.digest) == MANIFEST
    await store.drop_tag(NGINX, LATEST)
    assert path.stat().st_mtime_ns == right
    assert check(folder.root) == []
