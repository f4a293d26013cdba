"""A purge on a real folder: links first, bytes that nobody else holds, never under a fill or a reader."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from zope.interface.verify import verifyObject

from regproxy.errors import ContentMissing
from regproxy.interfaces import Fate, Inventory, IPurges, Kind, TagRecord, Taken
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag
from regproxy.proxy.purging import Purging
from regproxy.storage import durable
from regproxy.storage.store import DiskStore
from regproxy.testing.images import Image, make_image, make_index
from regproxy.testing.layers import sized_layer
from tests.storage.conftest import (
    CONTENT,
    DIGEST,
    LATEST,
    NGINX,
    OTHER,
    REDIS,
    Folder,
    fill,
    proofs,
    read_whole,
    reading,
)
from tests.storage.watching import Watcher, occupied, on_disk

IMAGE = make_index(make_image(sized_layer(5000)), make_image(sized_layer(3000, 2), architecture="s390x"))
NEXT = make_image(sized_layer(5000), sized_layer(2500, 7))
"""Has the first layer of IMAGE too."""
SECOND = Tag.parse("second")


async def keep(store: DiskStore, image: Image, tag: Tag, repository: object = NGINX) -> None:
    """As a pull leaves it."""
    for content in image.all_blobs().values():
        await fill(store, content, repository)  # type: ignore[arg-type]
    for manifest in image.all_manifests():
        await store.put(repository, manifest, store.stamp(repository))  # type: ignore[arg-type]
    await store.set_tag(repository, tag, TagRecord(image.descriptor, None, 1.0))  # type: ignore[arg-type]


async def inventory(store: DiskStore, repository: Repository, depth: bool = True) -> Inventory:
    """What a purge decides by."""
    found: list[Inventory] = []

    def look(held: Inventory) -> list[Reference]:
        found.append(held)
        return []

    await store.purges.decide(repository, depth, look)
    return found[0]


def test_the_store_has_one(tmp_path: Path, folder: Folder) -> None:
    assert verifyObject(IPurges, folder.open().purges)


async def test_what_a_repository_holds(store: DiskStore) -> None:
    await keep(store, IMAGE, LATEST)
    held = await inventory(store, NGINX)
    assert held.tags == {LATEST: IMAGE.digest}
    assert held.blobs == set(IMAGE.all_blobs())
    assert held.manifests[IMAGE.digest] == {child.digest for child in IMAGE.children}
    assert set(held.manifests) == {manifest.digest for manifest in IMAGE.all_manifests()}
    assert await inventory(store, OTHER) == Inventory({}, {}, frozenset())
    assert set((await inventory(store, NGINX, depth=False)).manifests.values()) == {frozenset()}


async def test_records_that_are_broken_and_files_that_are_none_of_ours(
    folder: Folder, store: DiskStore
) -> None:
    await keep(store, IMAGE, LATEST)
    home = folder.root / "repositories/docker.io/library/nginx"
    (home / "_tags/latest").write_text("nonsense")
    (home / "_tags/.hidden").write_text("x")
    (home / "_layers/sha256/README").write_text("x")
    folder.blob(IMAGE.digest).chmod(0o600)
    folder.blob(IMAGE.digest).write_bytes(b"[[[[")
    held = await inventory(store, NGINX)
    assert held.tags == {LATEST: None}
    assert held.manifests[IMAGE.digest] == frozenset()
    assert held.blobs == set(IMAGE.all_blobs())


async def test_a_tag_and_all_that_only_it_names(folder: Folder, store: DiskStore) -> None:
    await keep(store, IMAGE, LATEST)
    await keep(store, NEXT, SECOND)
    await store.survey()
    before = on_disk(folder)
    purged = await Purging(store.purges).purge(NGINX, LATEST, dry_run=False)
    assert purged.failed is None
    assert {each.fate for each in purged.first if each.kind is not None} == {Fate.FREED}
    freed = sum(each.size_bytes for each in purged.first)
    assert on_disk(folder) == occupied(store) == (before[0] - len(purged.first) + 1, before[1] - freed)
    assert store.tag(NGINX, LATEST) is None
    for digest, content in NEXT.all_blobs().items():
        assert await reading(store)(NGINX, digest) == content
    assert (await store.manifests.get(NGINX, NEXT.digest)).content == NEXT.content


async def test_a_dry_run_says_the_same_and_changes_nothing(folder: Folder, store: DiskStore) -> None:
    await keep(store, IMAGE, LATEST)
    await fill(store, next(iter(IMAGE.all_blobs().values())), REDIS)
    await store.survey()
    before = folder.files()
    foreseen = await Purging(store.purges).purge(NGINX, LATEST, dry_run=True)
    assert folder.files() == before
    assert await Purging(store.purges).purge(NGINX, LATEST, dry_run=False) == foreseen
    assert Fate.SHARED in {each.fate for each in foreseen.first}


async def test_what_another_repository_holds_stays(store: DiskStore) -> None:
    """A purge is of one repository; the other serves it as before, and the first has no right to it."""
    await fill(store, CONTENT, NGINX, REDIS)
    await store.survey()
    purged = await Purging(store.purges).purge(NGINX, None, dry_run=False)
    assert purged.first == [Taken(DIGEST, Kind.BLOB, len(CONTENT), Fate.SHARED)]
    with pytest.raises(ContentMissing):
        await store.blobs.open(NGINX, DIGEST)
    assert await reading(store)(REDIS, DIGEST) == CONTENT


@pytest.mark.parametrize("surveyed", [True, False])
async def test_what_all_of_a_selection_hold_is_freed_with_the_last(
    folder: Folder, store: DiskStore, surveyed: bool
) -> None:
    """Each digest counts once; what somebody else holds stays; a dry run says the same."""
    for repository in (NGINX, REDIS):
        await keep(store, IMAGE, LATEST, repository)
    await fill(store, CONTENT, NGINX, REDIS, OTHER)
    if surveyed:
        await store.survey()
    else:
        store = await folder.reopen()
    before = folder.files()
    meant: dict[Repository, None] = {NGINX: None, REDIS: None}
    foreseen = await Purging(store.purges).purge_all(meant, dry_run=True)
    assert folder.files() == before
    purged = await Purging(store.purges).purge_all(meant, dry_run=False)
    assert purged == foreseen
    manifests, blobs = list(IMAGE.all_manifests()), IMAGE.all_blobs()
    assert purged.kinds == {None: 2, Kind.MANIFEST: len(manifests), Kind.BLOB: len(blobs) + 1}
    if surveyed:
        assert purged.size_bytes == {Fate.FREED: IMAGE.size_bytes, Fate.SHARED: len(CONTENT)}
        assert folder.files("blobs") == [str(folder.blob(DIGEST).relative_to(folder.root))]
    else:
        assert purged.size_bytes[Fate.LATER] == IMAGE.size_bytes + len(CONTENT)
        await store.survey()
    assert await reading(store)(OTHER, DIGEST) == CONTENT


async def test_who_holds_it_outside_of_a_selection_keeps_it(store: DiskStore) -> None:
    """One in the selection too, of which only some tags are meant."""
    for repository in (NGINX, REDIS):
        await keep(store, IMAGE, LATEST, repository)
    await store.set_tag(REDIS, SECOND, TagRecord(IMAGE.descriptor, None, 1.0))
    await store.survey()
    meant = {NGINX: LATEST, REDIS: LATEST}
    foreseen = await Purging(store.purges).purge_all(meant, dry_run=True)
    purged = await Purging(store.purges).purge_all(meant, dry_run=False)
    assert purged == foreseen
    assert +purged.size_bytes == {Fate.SHARED: IMAGE.size_bytes}


async def test_a_whole_repository_leaves_nothing(folder: Folder, store: DiskStore) -> None:
    await keep(store, IMAGE, LATEST)
    await keep(store, NEXT, SECOND)
    await store.survey()
    await Purging(store.purges).purge(NGINX, None, dry_run=False)
    assert folder.files("blobs") == folder.files("repositories") == []
    assert occupied(store) == (0, 0)


async def test_a_revocation_outlives_it(folder: Folder, store: DiskStore) -> None:
    """Or a proof of before would count again."""
    await fill(store)
    since_s = store.stamp(NGINX)
    await store.revoke(NGINX)
    await store.survey()
    await Purging(store.purges).purge(NGINX, None, dry_run=False)
    assert folder.files("repositories") == ["repositories/docker.io/library/nginx/_revoked"]
    assert store.revoked_s(NGINX) >= since_s


async def test_whoever_watches_is_told_of_each(store: DiskStore) -> None:
    """So that no entry of it is left with the scheduler."""
    watcher = Watcher()
    store.watch(watcher)
    await keep(store, IMAGE, LATEST)
    await Purging(store.purges).purge(NGINX, LATEST, dry_run=False)
    assert watcher.held == {}


async def test_before_a_survey_the_links_go_and_the_bytes_at_its_end(
    folder: Folder, store: DiskStore
) -> None:
    """Nobody knows yet who else holds them."""
    await fill(store, CONTENT, NGINX, REDIS)
    await fill(store, b"mine", NGINX)
    store = await folder.reopen()
    purged = await Purging(store.purges).purge(NGINX, None, dry_run=False)
    assert {each.fate for each in purged.first} == {Fate.LATER}
    assert folder.blob(Digest.of(b"mine")).exists()
    await store.survey()
    assert not folder.blob(Digest.of(b"mine")).exists()
    assert await reading(store)(REDIS, DIGEST) == CONTENT


async def test_a_fill_of_it_goes_on_and_what_it_brings_stays(folder: Folder, store: DiskStore) -> None:
    await fill(store)
    await store.survey()
    spool = await store.spool(DIGEST)
    await spool.append([CONTENT])
    purged = await Purging(store.purges).purge(NGINX, DIGEST, dry_run=False)
    assert [each.fate for each in purged.first] == [Fate.LATER]
    assert folder.blob(DIGEST).exists(), "the spool keeps the name that it is about to take"
    await spool.commit(proofs(store, REDIS))
    assert await reading(store)(REDIS, DIGEST) == CONTENT


async def test_the_bytes_go_when_the_fill_was_given_up(folder: Folder, store: DiskStore) -> None:
    await fill(store)
    await store.survey()
    spool = await store.spool(DIGEST)
    await Purging(store.purges).purge(NGINX, DIGEST, dry_run=False)
    await spool.discard()
    await store.purges.foresee(NGINX, DIGEST)  # the writer thread has done what was queued
    assert not folder.blob(DIGEST).exists()


async def test_a_reader_reads_on(store: DiskStore) -> None:
    await fill(store)
    await store.survey()
    blob = await store.blobs.open(NGINX, DIGEST)
    await Purging(store.purges).purge(NGINX, None, dry_run=False)
    assert read_whole(blob) == CONTENT


async def test_a_manifest_in_memory_is_gone_too(store: DiskStore) -> None:
    await keep(store, IMAGE, LATEST)
    await store.survey()
    await store.manifests.get(NGINX, IMAGE.digest)
    assert store.manifest_at_hand(NGINX, IMAGE.digest) is not None
    await Purging(store.purges).purge(NGINX, LATEST, dry_run=False)
    assert store.manifest_at_hand(NGINX, IMAGE.digest) is None
    assert store.tag(NGINX, LATEST) is None


async def test_what_is_a_manifest_and_a_blob_at_once(folder: Folder, store: DiskStore) -> None:
    manifest: Manifest = NEXT.manifest
    await store.put(NGINX, manifest, store.stamp(NGINX))
    await store.grant(NGINX, manifest.digest, Kind.BLOB, "", "head", store.stamp(NGINX))
    await store.survey()
    purged = await Purging(store.purges).purge(NGINX, manifest.digest, dry_run=False)
    assert [each.kind for each in purged.first] == [Kind.MANIFEST]
    assert folder.files("blobs") == folder.files("repositories") == []


async def test_a_disk_that_takes_no_writes(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused is told; nothing is half gone: the link is there as long as the bytes are served."""
    await fill(store)
    await store.survey()

    def refuse(path: Path) -> bool:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(durable, "remove", refuse)
    purged = await Purging(store.purges).purge(NGINX, None, dry_run=False)
    assert purged.first == []
    assert "read-only" in (purged.failed or "").lower()
    monkeypatch.undo()
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_a_link_that_points_at_nothing(folder: Folder, store: DiskStore) -> None:
    await fill(store)
    folder.blob(DIGEST).unlink()
    purged = await Purging(store.purges).purge(NGINX, None, dry_run=False)
    assert purged.first == [Taken(DIGEST, Kind.BLOB)]
    assert purged.first[0].fate is Fate.ABSENT
    assert folder.files("repositories") == []
