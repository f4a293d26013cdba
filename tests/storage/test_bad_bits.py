"""Whatever bits flip in the folder: no wrong byte is given out as right, and the store goes on."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest_twisted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed

from regproxy.errors import ContentMissing, ContentUntrusted, StorageFailed
from regproxy.interfaces import TagRecord
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor
from regproxy.oci.media_type import OCI_MANIFEST
from regproxy.storage.store import DiskStore, open_store
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


@pytest_twisted.async_fixture
async def template(folder: Folder) -> Path:
    """A folder with something of each kind, that nobody has open."""
    await populate(folder.open())
    await folder.close()
    return folder.root


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


FLIPS = st.lists(
    st.tuples(st.integers(0, 1000), st.integers(0, 30_000), st.integers(0, 7)), min_size=1, max_size=6
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10, deadline=None)
@given(flips=FLIPS, silent=st.booleans())
def test_any_bits_of_blobs_records_and_tags(
    template: Path, flips: list[tuple[int, int, int]], silent: bool
) -> None:
    """What was written over is seen at once; what rots in silence once the scrub was there."""
    root = template.parent / "flipped"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(template, root)
    pytest_twisted.blockon(Deferred.fromCoroutine(_flips(root, flips, silent)))
