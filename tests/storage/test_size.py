"""How much lies on the disk: kept by events to the byte, checked by the survey."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.oci.media_type import OCI_MANIFEST
from regproxy.storage import survey as survey_module
from regproxy.storage.store import DiskStore
from tests.storage.conftest import CONTENT, DIGEST, NGINX, OTHER, REDIS, Folder, fill, reading
from tests.storage.watching import Watcher, due, occupied, on_disk


@pytest.fixture
def capture() -> Iterator[list[str]]:
    """What is logged meanwhile."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


async def test_the_size_on_disk_is_kept_to_the_byte(folder: Folder) -> None:
    """By events, over commits, renewals, manifests, removals and quarantine."""
    store = folder.open()
    await store.survey()
    assert store.occupied.counted
    await fill(store, CONTENT, NGINX)
    await fill(store, b"two", NGINX, REDIS)
    await fill(store, b"two", OTHER)
    manifest = Manifest.receive(b'{"schemaVersion":2,"layers":[]}', OCI_MANIFEST)
    await store.put(NGINX, manifest, store.stamp(NGINX))
    await store.put(REDIS, manifest, store.stamp(REDIS))
    assert occupied(store) == on_disk(folder) == (3, len(CONTENT) + 3 + len(manifest.content))
    folder.blob(DIGEST).chmod(0o600)
    folder.blob(DIGEST).write_bytes(b"damaged")
    spool, blob = await store.adopt(DIGEST)
    blob.close()
    await spool.reject()
    await store.expire(NGINX, Digest.of(b"two"), due)
    await store.survey()
    assert occupied(store) == on_disk(folder) == (2, 3 + len(manifest.content))
    for repository in (NGINX, REDIS):
        await store.expire(repository, manifest.digest, due)
    assert occupied(store) == on_disk(folder) == (1, 3)


async def test_the_survey_puts_the_size_right(folder: Folder, store: DiskStore) -> None:
    """What others did to the folder is known after it."""
    await fill(store, CONTENT, NGINX)
    await fill(store, b"two", NGINX)
    await store.survey()
    folder.blob(DIGEST).unlink()
    assert occupied(store) != on_disk(folder)
    await store.survey()
    assert occupied(store) == on_disk(folder) == (1, 3)


async def test_the_size_is_right_whatever_happens_during_the_survey(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blobs come and go in folders that it has counted, and in those that it has not."""
    monkeypatch.setattr(survey_module, "SLICE", 1)
    store = folder.open()
    for number in range(30):
        await fill(store, b"%d" % number, NGINX)
    store = await folder.reopen()
    await store.survey()
    surveyed = store.survey()
    for number in range(30):
        await fill(store, b"new %d" % number, REDIS)
        await store.expire(NGINX, Digest.of(b"%d" % number), due)
        if number % 3 == 0:
            await store.expire(REDIS, Digest.of(b"new %d" % number), due)
    await surveyed
    assert occupied(store) == on_disk(folder)
    assert store.occupied.blobs == 20


async def test_a_difference_is_put_right_and_told_once(
    folder: Folder, store: DiskStore, capture: list[str]
) -> None:
    """Somebody removed a file under the running daemon."""
    await fill(store, CONTENT, NGINX)
    await fill(store, b"two", NGINX)
    await store.survey()
    folder.blob(DIGEST).unlink()
    for _ in range(3):
        await store.survey()
    assert occupied(store) == on_disk(folder) == (1, 3)
    told = [line for line in capture if "of content" in line]
    assert len(told) == 1
    assert told[0].startswith(f"3 bytes of content in 1 files are on disk, not {len(CONTENT) + 3} in 2:")


async def test_a_folder_of_blobs_that_cannot_be_read_is_not_counted_as_empty(
    folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figure that events keep goes on, and the survey says that it was none."""
    await fill(store, CONTENT, NGINX)
    await fill(store, b"two", NGINX)
    assert (await store.survey()).whole
    really = os.listdir

    def refuse(path: Any = ".") -> list[str]:
        if str(path).endswith(f"/blobs/sha256/{DIGEST.hex[:2]}"):
            raise PermissionError(errno.EACCES, "no")
        return really(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert not (await store.survey()).whole
    assert occupied(store) == (2, len(CONTENT) + 3)
    monkeypatch.undo()
    await fill(store, b"three", NGINX)
    assert (await store.survey()).whole
    assert occupied(store) == on_disk(folder)


async def test_a_survey_that_could_not_read_everything_says_so(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told that all was seen, links that went leave their bytes; the next one puts it right."""
    before = folder.open()
    await fill(before, CONTENT, NGINX)
    await fill(before, b"two", REDIS)
    store = await folder.reopen()
    watcher = Watcher()
    store.watch(watcher)
    really = os.scandir

    def refuse(path: Any) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("redis"):
            raise PermissionError(errno.EACCES, "no")
        return really(path)

    monkeypatch.setattr(survey_module.os, "scandir", refuse)
    assert not (await store.survey()).whole
    assert "surveyed" not in watcher.told
    assert await store.expire(NGINX, DIGEST, due)
    assert folder.blob(DIGEST).exists()
    monkeypatch.undo()
    assert (await store.survey()).whole
    assert watcher.told[-1] == "surveyed"
    assert not folder.blob(DIGEST).exists()
    assert await reading(store)(REDIS, Digest.of(b"two")) == b"two"
