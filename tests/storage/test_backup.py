"""A folder restored from an old backup: older records, missing and surplus content, other times of files."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from regproxy.errors import ContentMissing, ContentUntrusted
from regproxy.interfaces import Kind, TagRecord
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor
from regproxy.storage.store import DiskStore
from regproxy.testing.checker import check
from tests.storage.conftest import CONTENT, DIGEST, LATEST, NGINX, OTHER, Folder, fill, read_whole, reading


async def tag(store: DiskStore, digest: Digest) -> None:
    await store.set_tag(NGINX, LATEST, TagRecord(Descriptor(digest, 3, "a/b"), None, 1.0))


async def whole(store: DiskStore, digest: Digest) -> bytes:
    """As the proxy reads it: what is not trusted is hashed while it is read."""
    try:
        return await reading(store)(NGINX, digest)  # type: ignore[no-any-return, misc]
    except ContentUntrusted:
        spool, blob = await store.adopt(digest)
        content = read_whole(blob)
        await spool.append([content])
        await spool.commit({NGINX: store.stamp(NGINX)})
        return content


@pytest.mark.parametrize("copy", [shutil.copy2, shutil.copy], ids=["times kept", "times lost"])
@pytest.mark.parametrize("part", [".", "repositories", "blobs"])
async def test_a_backup_over_what_is_there_and_alone(
    folder: Folder, copy: Callable[..., object], part: str
) -> None:
    """``part`` of it came from the backup, all else is of today."""
    store = folder.open()
    old = await fill(store, b"old", NGINX)
    await fill(store, CONTENT, NGINX, OTHER)
    await tag(store, old)
    await folder.close()
    saved = folder.root.parent / "backup"
    shutil.copytree(folder.root, saved, copy_function=copy)
    store = folder.open()
    await store.survey()
    new = await fill(store, b"new", NGINX)
    await store.unlink(NGINX, old, Kind.BLOB)
    await tag(store, new)
    await folder.close()
    shutil.rmtree(folder.root / part)
    shutil.copytree(saved / part, folder.root / part, copy_function=copy)
    store = folder.open()
    await store.survey()
    assert await whole(store, DIGEST) == CONTENT
    for digest, content in ((old, b"old"), (new, b"new")):
        try:
            assert await whole(store, digest) == content
        except ContentMissing:
            await fill(store, content, NGINX)
            assert await whole(store, digest) == content
    assert (await store.survey()).whole
    record = store.tag(NGINX, LATEST)
    assert record is not None
    assert record.descriptor.digest in (old, new)
    await folder.close()
    assert [finding for finding in check(folder.root) if "stranger" in str(finding)] == []
