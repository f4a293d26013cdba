"""Bad files on disks that take no writes, bad sectors, and a system without descriptors."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import maybeDeferred

from regproxy.errors import ContentMissing, ContentUntrusted, StorageFailed
from regproxy.interfaces import Kind, TagRecord
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.oci.tag import Tag
from regproxy.storage import spoilt
from regproxy.storage.spoilt import Spoilt
from regproxy.storage.store import DiskStore
from tests.storage.conftest import CONTENT, DIGEST, MANIFEST, NGINX, OTHER, Folder, fill, read_whole, reading


def damage(folder: Folder, digest: Digest, size: int) -> None:
    path = folder.blob(digest)
    path.chmod(0o600)
    path.write_bytes(b"x" * size)


def refusing(number: int) -> Callable[..., Any]:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


async def test_a_damaged_manifest_that_cannot_be_moved(
    folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A miss each time, hashed once; a put on a disk that takes writes again puts it right."""
    await store.put(NGINX, MANIFEST, store.stamp(NGINX))
    damage(folder, MANIFEST.digest, len(MANIFEST.content))
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refusing(errno.EROFS))
        for _ in range(2):
            with pytest.raises(ContentMissing):
                await store.manifests.get(NGINX, MANIFEST.digest)
        with pytest.raises(ContentMissing):
            await store.manifests.stat(NGINX, MANIFEST.digest)
        with pytest.raises(ContentMissing):
            await store.blobs.open(NGINX, MANIFEST.digest)
        assert store.holds(MANIFEST.digest) is None
        with pytest.raises(StorageFailed):
            await store.put(NGINX, MANIFEST, store.stamp(NGINX))
    assert folder.blob(MANIFEST.digest).exists()
    await store.put(NGINX, MANIFEST, store.stamp(NGINX))
    assert await store.manifests.get(NGINX, MANIFEST.digest) == MANIFEST
    assert store.holds(MANIFEST.digest) == len(MANIFEST.content)


async def test_a_damaged_blob_that_cannot_be_moved(
    folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """reject is no failure; nothing is served, granted or adopted from it, until it is another file."""
    await fill(store)
    damage(folder, DIGEST, len(CONTENT))
    with pytest.raises(ContentUntrusted):
        await store.blobs.open(NGINX, DIGEST)
    spool, blob = await store.adopt(DIGEST)
    await spool.append([read_whole(blob)])
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refusing(errno.EROFS))
        await spool.reject()
    before = set(os.listdir("/proc/self/fd"))
    for ask in (
        lambda: store.blobs.open(NGINX, DIGEST),
        lambda: store.blobs.stat(NGINX, DIGEST),
        lambda: store.adopt(DIGEST),
        lambda: store.grant(OTHER, DIGEST, Kind.BLOB, "a/b", "head", store.stamp(OTHER)),
    ):
        with pytest.raises(ContentMissing):
            await ask()
    assert set(os.listdir("/proc/self/fd")) == before
    assert store.holds(DIGEST) is None
    os.utime(folder.blob(DIGEST), ns=(7, 7))
    with pytest.raises(ContentUntrusted):
        await store.blobs.open(NGINX, DIGEST)
    await fill(store)
    assert await reading(store)(NGINX, DIGEST) == CONTENT


def test_what_is_known_of_bad_files_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes; an entry is about a file, not about its name."""
    monkeypatch.setattr(spoilt, "MAX_ENTRIES", 3)
    known, found = Spoilt(), os.stat(__file__)
    digests = [Digest.of(b"%d" % number) for number in range(5)]
    for digest in digests:
        known.add(digest, found, wrong=True)
    assert [known.is_wrong(digest, found) for digest in digests] == [False, False, True, True, True]
    assert not known.is_wrong(digests[4], os.stat(os.path.dirname(__file__)))
    known.add(digests[4], found, wrong=False)
    assert (known.is_wrong(digests[4], found), known.is_bad(digests[4], found)) == (False, True)
    known.forget(digests[4])
    assert not known.is_bad(digests[4], found)
    assert len(known) == 2


async def test_a_bad_sector_under_a_manifest_is_a_miss(
    folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written again when it comes; if it does not, the old one may be readable next time."""
    await store.put(NGINX, MANIFEST, store.stamp(NGINX))
    path = folder.blob(MANIFEST.digest)
    inode = path.stat().st_ino
    real = os.pread

    def bad(descriptor: int, *args: Any) -> bytes:
        if os.fstat(descriptor).st_ino == inode:
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, *args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", refusing(errno.EIO))
        patch.setattr(os, "pread", bad)
        with pytest.raises(ContentMissing):
            await store.manifests.get(NGINX, MANIFEST.digest)
    assert await store.manifests.get(NGINX, MANIFEST.digest) == MANIFEST
    os.link(path, folder.root / "old")
    await store.put(NGINX, MANIFEST, store.stamp(NGINX))
    assert path.stat().st_ino != inode
    assert await store.manifests.get(NGINX, MANIFEST.digest) == MANIFEST


@pytest.mark.parametrize("place", ["/blobs/", "/_layers/", "/_tags/", "/_manifests/"])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EIO])
async def test_out_of_descriptors_is_no_miss(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch, place: str, number: int
) -> None:
    """StorageFailed: what is there must not be fetched again, or forgotten, for it."""
    await fill(store)
    await store.put(OTHER, MANIFEST, store.stamp(OTHER))
    record = TagRecord(MANIFEST.descriptor, None, store.stamp(NGINX))
    await store.set_tag(NGINX, Tag.parse("latest"), record)
    real = os.open

    def opener(path: Any, *args: Any, **more: Any) -> int:
        if place in str(path):
            raise OSError(number, os.strerror(number))
        return real(path, *args, **more)

    monkeypatch.setattr(os, "open", opener)
    ask = {
        "/_tags/": lambda: maybeDeferred(store.tag, NGINX, Tag.parse("latest")),
        "/_manifests/": lambda: store.manifests.get(OTHER, MANIFEST.digest),
    }
    with pytest.raises(StorageFailed):
        await ask.get(place, lambda: store.blobs.open(NGINX, DIGEST))()


async def test_a_survey_without_descriptors_forgets_no_holder(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blob stays, though the link that is known goes."""
    await fill(folder.open(), CONTENT, NGINX, OTHER)
    store = await folder.reopen()
    real = os.open

    def opener(path: Any, *args: Any, **more: Any) -> int:
        if "/nginx/_layers/sha256/" in str(path):
            raise OSError(errno.EMFILE, "too many open files")
        return real(path, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", opener)
        assert (await store.survey()).orphans_removed == 0
    assert await store.unlink(OTHER, DIGEST, Kind.BLOB) is False
    assert await reading(store)(NGINX, DIGEST) == CONTENT


@pytest.mark.parametrize("padding", [0, 300_000])
async def test_a_manifest_that_rotted_is_never_served(folder: Folder, padding: int) -> None:
    """Its times are as they were, so nothing but the hash tells; small ones and large ones."""
    content = MANIFEST.content[:-1] + b" " * padding + MANIFEST.content[-1:]
    manifest = Manifest.receive(content, MANIFEST.media_type)
    store = folder.open()
    await store.put(NGINX, manifest, store.stamp(NGINX))
    store = await folder.reopen()
    path = folder.blob(manifest.digest)
    before = path.stat()
    path.chmod(0o640)
    path.write_bytes(content[:-2] + b"?" + content[-1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.manifest_at_hand(NGINX, manifest.digest) is None
    with pytest.raises(ContentMissing):
        await store.manifests.get(NGINX, manifest.digest)
    assert store.holds(manifest.digest) is None
    await store.put(NGINX, manifest, store.stamp(NGINX))
    assert await store.manifests.get(NGINX, manifest.digest) == manifest
