"""Files on disk that are hashed again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from regproxy.errors import StorageFailed
from regproxy.interfaces import Kind
from regproxy.storage.store import DiskStore
from tests.storage.conftest import (
    CONTENT,
    DIGEST,
    MANIFEST,
    NGINX,
    OTHER,
    Folder,
    fill,
    proofs,
    read_whole,
    reading,
)


async def test_an_adopted_file_that_changes_is_not_trusted(folder: Folder, store: DiskStore) -> None:
    """Touched, grown or replaced while it was hashed."""
    await fill(store)

    def grow(path: Path) -> None:
        with path.open("ab") as file:
            file.write(b"x")

    def replace(path: Path) -> None:
        path.rename(path.with_name("old"))
        path.write_bytes(b"y" * len(CONTENT))
        old = path.with_name("old").stat()
        os.utime(path, ns=(old.st_mtime_ns, old.st_mtime_ns))

    for change in (lambda path: os.utime(path, ns=(9, 9)), grow, replace):
        adopted, blob = await store.adopt(DIGEST)
        await adopted.append([read_whole(blob)])
        change(folder.blob(DIGEST))
        with pytest.raises(StorageFailed):
            await adopted.commit(proofs(store, NGINX))
        await adopted.discard()
        folder.blob(DIGEST).unlink()
        await fill(store)


async def test_rejecting_does_not_move_a_file_that_took_its_place(folder: Folder, store: DiskStore) -> None:
    """A fill has put the right bytes there meanwhile."""
    await fill(store)
    adopted, blob = await store.adopt(DIGEST)
    blob.close()
    await fill(store)
    await adopted.reject()
    assert await reading(store)(NGINX, DIGEST) == CONTENT
    assert folder.files("quarantine") == []


async def test_an_adopted_spool_of_another_size(store: DiskStore) -> None:
    """What was announced is not what lies there."""
    await fill(store)
    adopted, blob = await store.adopt(DIGEST)
    blob.close()
    await adopted.expect(len(CONTENT))
    await adopted.add_source(OTHER)
    with pytest.raises(StorageFailed):
        await adopted.expect(1)
    await adopted.discard()


async def test_an_adopted_manifest_keeps_its_kind(folder: Folder) -> None:
    """A repository that holds it as a manifest gets no second link (R21)."""
    store = folder.open()
    await store.put(NGINX, MANIFEST, store.stamp(NGINX))
    store = await folder.reopen()
    os.utime(folder.blob(MANIFEST.digest), ns=(5, 5))
    adopted, blob = await store.adopt(MANIFEST.digest)
    await adopted.append([read_whole(blob)])
    await adopted.commit(proofs(store, NGINX))
    assert store.link(NGINX, MANIFEST.digest)[0] is Kind.MANIFEST
    assert await reading(store)(NGINX, MANIFEST.digest) == MANIFEST.content
