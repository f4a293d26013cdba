"""Rights on disk: proofs, revocations, another credential."""

from __future__ import annotations

import os

import pytest

from regproxy.errors import ContentMissing
from regproxy.interfaces import (
    Kind,
)
from regproxy.oci.repository import Repository
from regproxy.storage.store import DiskStore
from tests.storage.conftest import (
    CONTENT,
    DIGEST,
    NGINX,
    OTHER,
    REDIS,
    Folder,
    fill,
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
