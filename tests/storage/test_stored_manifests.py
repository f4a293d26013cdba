"""Manifests on disk come back as they were sent, or not at all."""

from __future__ import annotations

import os

import pytest

from regproxy.errors import ContentMissing, InvalidManifest
from regproxy.interfaces import (
    Kind,
)
from regproxy.oci.manifest import Manifest
from regproxy.oci.media_type import OCI_MANIFEST
from regproxy.storage.store import DiskStore
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
