"""Whatever bits flip in the folder: no wrong byte is given out as right, and the store goes on."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed

from regproxy.errors import ContentMissing, ContentUntrusted, StorageFailed
from regproxy.interfaces import TagRecord
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor
from regproxy.oci.media_type import OCI_MANIFEST
from regproxy.storage.opening import open_store
from regproxy.storage.store import DiskStore
from tests.storage.conftest import (
    CONTENT,
    DIGEST,
    LATEST,
    MANIFEST,
    NGINX,
    OTHER,
    REDIS,
    Folder,
    fill,
    reading,
)

BLOBS = (CONTENT, b"two" * 500, b"3")


async def populate(store: DiskStore) -> None:
    for content in BLOBS:
        await fill(store, content, NGINX, OTHER)
    await store.put(NGINX, MANIFEST, store.stamp(NGINX))
    descriptor = Descriptor(MANIFEST.digest, len(MANIFEST.content), OCI_MANIFEST)
    await store.set_tag(NGINX, LATEST, TagRecord(descriptor, '"etag"', 1.0))
    await store.revoke(REDIS)


def flip(path: Path, at: int, bit: int, silent: bool) -> None:
    """``silent``: as a disk does it, without a trace in the file's times."""
    found, content = path.stat(), bytearray(path.read_bytes())
    content[at % len(content)] ^= 1 << bit
    path.chmod(0o640)
    path.write_bytes(content)
    path.chmod(found.st_mode & 0o777)
    if silent:
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


async def look(store: DiskStore) -> None:
    """All that is given out is right, or it is a miss."""
    for repository in (NGINX, OTHER, REDIS):
        for content in BLOBS:
            with suppress(ContentMissing, ContentUntrusted, StorageFailed):
                assert await reading(store)(repository, Digest.of(content)) == content
        with suppress(ContentMissing, StorageFailed):
            assert (await store.manifests.get(repository, MANIFEST.digest)).content == MANIFEST.content
        at_hand = store.manifest_at_hand(repository, MANIFEST.digest)
        assert at_hand is None or at_hand.content == MANIFEST.content
        record = store.tag(repository, LATEST)
        assert record is None or isinstance(record.descriptor.digest, Digest)


async def scrubbed(store: DiskStore) -> None:
    def rest(count: int) -> Deferred[None]:
        return succeed(None)

    cursor = ""
    while found := await store.scrubbed.blobs_after(cursor):
        for digest in found:
            await store.scrubbed.examine(digest, lambda mtime_s: True, rest)
            cursor = digest.hex


async def _flips(root: Path, flips: list[tuple[int, int, int]], silent: bool) -> None:
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.parent != root)
    for which, at, bit in flips:
        path = files[which % len(files)]
        if path.stat().st_size:
            flip(path, at, bit, silent)
    store = open_store(root, reactor, lambda: 1_800_000_100.0)
    try:
        if silent:
            await scrubbed(store)
        await look(store)
        await store.survey()
        await look(store)
        for content in BLOBS:
            await fill(store, content, NGINX)
        assert await reading(store)(NGINX, DIGEST) == CONTENT, "it is fetched again, and kept"
    finally:
        await store.close()


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("seed", range(12))
async def test_any_bits_of_blobs_records_and_tags(folder: Folder, seed: int, silent: bool) -> None:
    """What was written over is seen at once; what rots in silence once the scrub was there."""
    await populate(folder.open())
    await folder.close()
    random = Random(seed)
    flips = [
        (random.randrange(1000), random.randrange(30_000), random.randrange(8)) for _ in range(1 + seed % 6)
    ]
    await _flips(folder.root, flips, silent)
