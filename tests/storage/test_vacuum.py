"""The vacuum: links first, bytes with the last one, folders when they are empty; never by accident."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer
from zope.interface.verify import verifyObject

from regproxy.errors import ContentMissing, StorageFailed
from regproxy.interfaces import Held, IHoldings, IRemovals, Kind, TagRecord
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.media_type import OCI_MANIFEST
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag
from regproxy.storage import durable, ledger
from regproxy.storage import survey as survey_module
from regproxy.storage.store import DiskStore
from tests.storage.conftest import CONTENT, DIGEST, NGINX, OTHER, REDIS, Folder, fill, proofs, reading

LATEST = Tag("latest")


@pytest.fixture
def capture() -> Iterator[list[str]]:
    """What is logged meanwhile."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


@implementer(IHoldings)
class Watcher:
    """Keeps the account that a scheduler keeps."""

    def __init__(self) -> None:
        self.held: dict[tuple[Repository, Reference], Held] = {}
        self.told: list[str] = []

    def added(self, held: Held) -> None:
        self.held[held.repository, held.reference] = held
        self.told.append("added")

    def gone(self, repository: Repository, reference: Reference) -> None:
        self.held.pop((repository, reference), None)
        self.told.append("gone")

    def found(self, held: Sequence[Held]) -> None:
        for one in held:
            self.held.setdefault((one.repository, one.reference), one)
        self.told.append("found")

    def surveyed(self) -> None:
        self.told.append("surveyed")


def due() -> bool:
    return True


def record() -> TagRecord:
    return TagRecord(Descriptor(DIGEST, 1, "a/b"), None, 1.0)


def on_disk(folder: Folder) -> tuple[int, int]:
    sizes = [path.stat().st_size for path in (folder.root / "blobs").rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def occupied(store: DiskStore) -> tuple[int, int]:
    return store.occupied.blobs, store.occupied.blob_bytes


async def test_it_is_what_an_expiry_removes_through(store: DiskStore) -> None:
    assert verifyObject(IRemovals, store)


async def test_the_blob_goes_with_its_last_link_never_before(folder: Folder, store: DiskStore) -> None:
    """A repository that shares it goes on serving it (P3, #2367)."""
    await fill(store, CONTENT, NGINX, REDIS)
    await store.survey()
    assert await store.expire(NGINX, DIGEST, due)
    with pytest.raises(ContentMissing):
        await store.blobs.open(NGINX, DIGEST)
    assert await reading(store)(REDIS, DIGEST) == CONTENT
    assert await store.expire(REDIS, DIGEST, due)
    assert folder.files("blobs") == folder.files("repositories") == []


async def test_both_links_of_a_repository_go(folder: Folder, store: DiskStore) -> None:
    """As a blob and as a manifest."""
    content = b'{"schemaVersion":2,"layers":[]}'
    manifest = Manifest.receive(content, OCI_MANIFEST)
    await store.put(NGINX, manifest, store.stamp(NGINX))
    await store.grant(NGINX, manifest.digest, Kind.BLOB, "", "head", store.stamp(NGINX))
    await store.survey()
    assert await store.expire(NGINX, manifest.digest, due)
    assert folder.files("blobs") == folder.files("repositories") == []


async def test_what_was_used_meanwhile_stays(store: DiskStore) -> None:
    """The question is asked in the writer thread, right before the removal."""
    await fill(store)
    await store.survey()
    assert not await store.expire(NGINX, DIGEST, lambda: False)
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_a_tag_goes_alone(folder: Folder, store: DiskStore) -> None:
    """Its content has a life of its own; its folder goes when it is empty."""
    await fill(store)
    await store.set_tag(NGINX, LATEST, record())
    assert await store.expire(NGINX, LATEST, due)
    assert store.tag(NGINX, LATEST) is None
    assert not (folder.root / "repositories/docker.io/library/nginx/_tags").exists()
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_empty_folders_go_and_come_back(folder: Folder, store: DiskStore) -> None:
    """Up to the roots of each tree, not further; others' folders stay."""
    await fill(store, CONTENT, NGINX)
    await fill(store, b"two", REDIS)
    await store.survey()
    await store.expire(NGINX, DIGEST, due)
    assert not (folder.root / "repositories/docker.io/library/nginx").exists()
    assert (folder.root / "repositories/docker.io/library/redis").exists()
    assert not folder.blob(DIGEST).parent.exists()
    await store.expire(REDIS, Digest.of(b"two"), due)
    assert os.listdir(folder.root / "repositories") == os.listdir(folder.root / "blobs") == []
    await fill(store, CONTENT, NGINX)
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_a_commit_whose_folder_goes_under_its_hands(
    folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody removes empty folders meanwhile, perhaps cron: they are made again."""
    await fill(store, b"first")
    really, gone = os.rename, []
    folder.blob(DIGEST).parent.mkdir(parents=True)

    def rename(source: Any, target: Any) -> None:
        if Path(target) == folder.blob(DIGEST) and not gone:
            gone.append(target)
            Path(target).parent.rmdir()
        really(source, target)

    monkeypatch.setattr(os, "rename", rename)
    spool = await store.spool(DIGEST)
    await spool.append([CONTENT])
    await spool.commit(proofs(store, NGINX))
    assert gone == [folder.blob(DIGEST)]
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_a_reader_reads_on(store: DiskStore) -> None:
    """The open file outlives its name."""
    await fill(store)
    await store.survey()
    blob = await store.blobs.open(NGINX, DIGEST)
    await store.expire(NGINX, DIGEST, due)
    body = blob.body()
    got = b""
    while len(got) < len(CONTENT):
        part = body.read(65536)
        if part is None:
            await body.ready()
        else:
            got += part
    body.close()
    assert got == CONTENT


async def test_not_under_a_fill_that_reads_it_from_the_disk(folder: Folder, store: DiskStore) -> None:
    """A file that is hashed again keeps its name until the fill is over; without a link it goes then."""
    await fill(store)
    await store.survey()
    spool, blob = await store.adopt(DIGEST)
    assert await store.expire(NGINX, DIGEST, due)
    assert folder.blob(DIGEST).exists()
    blob.close()
    await spool.discard()
    await store.expire(REDIS, Digest.of(b"behind it in the queue"), due)
    assert not folder.blob(DIGEST).exists()


async def test_a_fill_that_ends_well_keeps_it(folder: Folder, store: DiskStore) -> None:
    """Its commit writes the links anew."""
    await fill(store)
    await store.survey()
    spool, blob = await store.adopt(DIGEST)
    await store.expire(NGINX, DIGEST, due)
    blob.close()
    await spool.append([CONTENT])
    await spool.commit(proofs(store, NGINX))
    await store.expire(REDIS, Digest.of(b"behind it in the queue"), due)
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_the_last_link_during_the_survey(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """No blob goes before it has ended; then it does."""
    monkeypatch.setattr(survey_module, "SLICE", 1)
    await fill(folder.open(), CONTENT, NGINX)
    store = await folder.reopen()
    assert await store.expire(NGINX, DIGEST, due)
    assert folder.blob(DIGEST).exists()
    await store.survey()
    assert not folder.blob(DIGEST).exists()


async def test_used_during_the_survey_by_another(folder: Folder) -> None:
    """The one whose link the survey has not seen yet keeps the blob."""
    await fill(folder.open(), CONTENT, NGINX, OTHER)
    store = await folder.reopen()
    surveyed = store.survey()
    await store.expire(NGINX, DIGEST, due)
    await surveyed
    assert await reading(store)(OTHER, DIGEST) == CONTENT


async def test_a_removal_that_fails_half_way_can_be_tried_again(
    folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link is gone, the blob is not: it is told of as gone only when both are (P2)."""
    watcher = Watcher()
    store.watch(watcher)
    await fill(store)
    await store.survey()
    really = durable.remove

    def refuse(path: Path) -> bool:
        if "blobs" in path.parts:
            raise OSError(errno.EROFS, "read-only")
        return really(path)

    monkeypatch.setattr(durable, "remove", refuse)
    with pytest.raises(StorageFailed):
        await store.expire(NGINX, DIGEST, due)
    assert (NGINX, DIGEST) in watcher.held
    monkeypatch.setattr(durable, "remove", really)
    assert await store.expire(NGINX, DIGEST, due)
    assert watcher.held == {}
    assert folder.files("blobs") == []


# what the survey clears away


async def test_orphans_go(folder: Folder) -> None:
    """A blob that no repository holds: left by a kill between unlink and unlink."""
    store = folder.open()
    await fill(store)
    orphan = Digest.of(b"orphan")
    folder.blob(orphan).parent.mkdir(parents=True)
    folder.blob(orphan).write_bytes(b"orphan")
    found = await store.survey()
    assert (found.orphans_removed, found.blobs) == (1, 1)
    assert not folder.blob(orphan).parent.exists()
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_no_orphan_under_a_fill(folder: Folder, store: DiskStore) -> None:
    """What a fill reads from the disk waits for its link."""
    folder.blob(DIGEST).parent.mkdir(parents=True)
    folder.blob(DIGEST).write_bytes(CONTENT)
    spool, blob = await store.adopt(DIGEST)
    blob.close()
    assert (await store.survey()).orphans_removed == 0
    await spool.append([CONTENT])
    await spool.commit(proofs(store, NGINX))
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_no_orphans_when_a_folder_cannot_be_read(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its links may be what keeps them; nor does any blob go later."""
    await fill(folder.open(), CONTENT, NGINX)
    store = await folder.reopen()
    really = os.scandir

    def refuse(path: Any) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("library"):
            raise PermissionError(errno.EACCES, "no")
        return really(path)

    monkeypatch.setattr(survey_module.os, "scandir", refuse)
    assert (await store.survey()).orphans_removed == 0
    monkeypatch.undo()
    await store.expire(OTHER, DIGEST, due)
    assert await reading(store)(NGINX, DIGEST) == CONTENT
    await store.survey()
    assert await reading(store)(NGINX, DIGEST) == CONTENT


def no_descriptors(path: Path) -> None:
    raise StorageFailed("too many open files")


async def test_no_orphans_when_files_run_out(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that cannot be opened is not a link that is not there."""
    await fill(folder.open(), CONTENT, NGINX)
    store = await folder.reopen()

    def refuse(path: Path) -> None:
        raise StorageFailed("too many open files")

    monkeypatch.setattr(ledger, "read_link", no_descriptors)
    assert (await store.survey()).orphans_removed == 0
    monkeypatch.undo()
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_a_broken_link_expires(folder: Folder) -> None:
    """It vouches for nothing, and does not lie there for ever."""
    await fill(folder.open())
    (path,) = (folder.root / "repositories").rglob(DIGEST.hex)
    path.write_bytes(b"{")
    store = await folder.reopen()
    watcher = Watcher()
    store.watch(watcher)
    await store.survey()
    assert list(watcher.held) == [(NGINX, DIGEST)]
    await store.expire(NGINX, DIGEST, due)
    assert folder.files("repositories") == []


async def test_old_spools_go(folder: Folder, store: DiskStore) -> None:
    """Those that a start could not remove; one that is being filled stays."""
    spool = await store.spool(DIGEST)
    await spool.append([CONTENT])
    for name in ("sha256-old.spool", "sha256-old.map", "note.txt"):
        (folder.root / "fills" / name).write_bytes(b"{}")
    (folder.root / "fills" / "folder").mkdir()
    assert (await store.survey()).spools_removed == 3
    await spool.commit(proofs(store, NGINX))
    assert await reading(store)(NGINX, DIGEST) == CONTENT
    assert (await store.survey()).spools_removed == 0
    assert os.listdir(folder.root / "fills") == ["folder"]


# telling


async def test_what_comes_and_goes_is_told_before_whoever_did_it_knows(store: DiskStore) -> None:
    """So an account of it is never behind."""
    watcher = Watcher()
    store.watch(watcher)
    await fill(store, CONTENT, NGINX, REDIS)
    assert set(watcher.held) == {(NGINX, DIGEST), (REDIS, DIGEST)}
    assert watcher.held[NGINX, DIGEST] == Held(NGINX, DIGEST, Kind.BLOB, len(CONTENT))
    await store.set_tag(NGINX, LATEST, record())
    assert (NGINX, LATEST) in watcher.held
    await store.drop_tag(NGINX, LATEST)
    await store.unlink(REDIS, DIGEST, Kind.BLOB)
    assert list(watcher.held) == [(NGINX, DIGEST)]


async def test_a_survey_tells_what_is_there(folder: Folder) -> None:
    """Links and tags of a former process, then that this was all."""
    store = folder.open()
    await fill(store, CONTENT, NGINX, OTHER)
    await store.set_tag(NGINX, LATEST, record())
    store = await folder.reopen()
    watcher = Watcher()
    store.watch(watcher)
    await store.survey()
    assert set(watcher.held) == {(NGINX, DIGEST), (OTHER, DIGEST), (NGINX, LATEST)}
    assert watcher.told[-1] == "surveyed"


# how much


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
