"""Revocations: before a survey, with a clock that is behind, and of what the disk does not hold."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from regproxy.errors import ContentMissing, StorageFailed
from regproxy.interfaces import Kind
from regproxy.oci.repository import Repository
from regproxy.storage import durable, revocations
from regproxy.storage.store import DiskStore
from tests.storage.conftest import CONTENT, DIGEST, NGINX, OTHER, REDIS, Folder, fill, proofs, reading

YEAR_S = 365 * 86400


async def refused(store: DiskStore, repository: Repository = NGINX) -> bool:
    try:
        (await store.blobs.open(repository, DIGEST)).close()
    except ContentMissing:
        return True
    return False


async def behind(folder: Folder) -> DiskStore:
    """A machine without a clock of its own, started again before it was told the time."""
    await fill(folder.open(), CONTENT, NGINX, REDIS, OTHER)
    folder.wall.now_s -= YEAR_S
    return await folder.reopen()


@pytest.mark.parametrize("surveyed", [False, True])
@pytest.mark.parametrize("whole", [False, True])
async def test_a_revocation_before_the_survey_with_a_clock_behind(
    folder: Folder, surveyed: bool, whole: bool
) -> None:
    """Links of the former process are void whatever their date: now, after the survey, after a restart."""
    store = await behind(folder)
    await (store.revoke_upstream("docker.io") if whole else store.revoke(NGINX))
    if surveyed:
        await store.survey()
    else:
        folder.wall.now_s += 2 * YEAR_S
    assert await refused(store)
    assert await refused(store, REDIS) is whole
    assert not await refused(store, OTHER)
    for _ in range(2):
        store = await folder.reopen()
        assert await refused(store)
        await store.survey()
        assert await refused(store)
    (record,) = (folder.root / "repositories").rglob("_revoked")
    assert b"early" not in record.read_bytes()
    await store.grant(NGINX, DIGEST, Kind.BLOB, "a/b", "head", store.stamp(NGINX))
    assert not await refused(store)
    assert not await refused(await folder.reopen())


async def test_it_reads_as_revoked_to_who_compares_dates(folder: Folder) -> None:
    """The link first, then when it was revoked: as the proxy does."""
    store = await behind(folder)
    await store.revoke(NGINX)
    found = store.link(NGINX, DIGEST)
    assert found is not None
    assert found[1].since_s <= store.revoked_s(NGINX) < store.stamp(NGINX)


async def test_a_new_proof_during_the_survey_counts(folder: Folder) -> None:
    """Nothing makes it void that was there before it."""
    store = await behind(folder)
    await store.revoke(NGINX)
    assert await refused(store)
    await store.grant(NGINX, DIGEST, Kind.BLOB, "a/b", "head", store.stamp(NGINX))
    assert not await refused(store)
    await store.survey()
    assert not await refused(store)
    await store.survey()
    assert not await refused(store)


async def test_a_changed_credential_with_a_clock_behind(folder: Folder) -> None:
    """As a revocation of the upstream."""
    await folder.open().credential_changed("docker.io", b"old")
    await folder.close()
    store = await behind(folder)
    assert await store.credential_changed("docker.io", b"new") is True
    assert await refused(store)


async def test_names_that_nothing_is_held_of_leave_nothing_on_disk(folder: Folder, store: DiskStore) -> None:
    """Clients can name any number of them."""
    for number in range(20):
        await store.revoke(Repository.parse("docker.io", f"typo/n{number}"))
    assert folder.files("repositories") == []
    assert not (folder.root / "repositories").exists()
    await fill(store)
    await store.revoke(NGINX)
    await store.revoke(REDIS)
    assert [name for name in folder.files("repositories") if "_revoked" in name] == [
        "repositories/docker.io/library/nginx/_revoked"
    ]


async def test_what_was_asked_before_is_void_though_nothing_was_held(folder: Folder) -> None:
    """The record is written before the first link, so it holds after a restart."""
    store = folder.open()
    asked = proofs(store, NGINX)
    await store.revoke(NGINX)
    assert store.revoked_s(NGINX) >= asked[NGINX]
    spool = await store.spool(DIGEST)
    await spool.append([CONTENT])
    await spool.commit(asked)
    assert await refused(store)
    assert await refused(await folder.reopen())


async def test_so_many_names_are_told_apart(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are forgotten still void what was asked before them; what is asked after counts."""
    monkeypatch.setattr(revocations, "MAX_UNKNOWN", 3)
    store = folder.open()
    await fill(store, CONTENT, OTHER)
    asked = proofs(store, NGINX)
    await store.revoke(NGINX)
    for number in range(5):
        await store.revoke(Repository.parse("docker.io", f"typo/n{number}"))
    assert len(store._revocations._unknown) == 3
    assert store._revocations._pending == {}
    folder.wall.now_s += 1
    await store.grant(REDIS, DIGEST, Kind.BLOB, "a/b", "head", store.stamp(REDIS))
    assert not await refused(store, REDIS)
    await store.grant(NGINX, DIGEST, Kind.BLOB, "a/b", "head", asked[NGINX])
    for opened in (store, await folder.reopen()):
        assert await refused(opened)
        assert not await refused(opened, OTHER)


@asynccontextmanager
async def no_links(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A disk that takes blobs and maps, but no link."""
    real = durable.write_atomic

    def refuse(path: object, *args: object) -> None:
        if "_layers" in str(path):
            raise OSError(5, "refused")
        real(path, *args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(durable, "write_atomic", refuse)
        yield


async def test_a_link_that_a_map_promises_is_held(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start would write it: a revocation before that is on disk."""
    store = folder.open()
    spool = await store.spool(DIGEST)
    await spool.append([CONTENT])
    async with no_links(monkeypatch):
        with pytest.raises(StorageFailed):
            await spool.commit(proofs(store, NGINX))
    await spool.discard()
    await store.revoke(NGINX)
    store = await folder.reopen()
    assert store.link(NGINX, DIGEST) is not None
    assert await refused(store)


async def test_a_recovered_link_is_of_the_former_process(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the start writes it: a revocation with a clock behind is after it."""
    store = folder.open()
    spool = await store.spool(DIGEST)
    await spool.append([CONTENT])
    async with no_links(monkeypatch):
        with pytest.raises(StorageFailed):
            await spool.commit(proofs(store, NGINX))
    await spool.discard()
    folder.wall.now_s -= YEAR_S
    store = await folder.reopen()
    assert not await refused(store)
    await store.revoke(NGINX)
    assert await refused(store)


async def test_recovery_keeps_a_newer_link(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The map of a commit that failed is older than the proof that came since."""
    store = folder.open()
    spool = await store.spool(DIGEST)
    await spool.append([CONTENT])
    async with no_links(monkeypatch):
        with pytest.raises(StorageFailed):
            await spool.commit(proofs(store, NGINX))
    await spool.discard()
    folder.wall.now_s += 10
    late = store.stamp(NGINX)
    await store.grant(NGINX, DIGEST, Kind.BLOB, "a/b", "head", late)
    store = await folder.reopen()
    found = store.link(NGINX, DIGEST)
    assert found is not None
    assert (found[1].since_s, found[1].source) == (late, "head")
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_a_commit_that_is_tried_again_takes_the_later_proof(
    folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one of its map is older."""
    spool = await store.spool(DIGEST)
    await spool.append([CONTENT])
    async with no_links(monkeypatch):
        with pytest.raises(StorageFailed):
            await spool.commit(proofs(store, NGINX, OTHER))
    await store.revoke(NGINX)
    await spool.commit(proofs(store, NGINX))
    for repository in (NGINX, OTHER):
        assert await reading(store)(repository, DIGEST) == CONTENT


async def test_stamps_never_go_back(folder: Folder, store: DiskStore) -> None:
    """Nor are they before a revocation of another process."""
    first = store.stamp(NGINX)
    folder.wall.now_s -= 100
    assert store.stamp(OTHER) >= first
    await fill(store)
    await store.revoke(NGINX)
    revoked_s = store.revoked_s(NGINX)
    folder.wall.now_s -= 100
    store = await folder.reopen()
    assert store.stamp(NGINX) > revoked_s
    assert store.stamp(OTHER) >= store.stamp(NGINX)


async def test_a_record_that_cannot_be_opened_is_no_permission(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of descriptors: nobody knows when it was revoked."""
    await fill(store)
    await store.revoke(NGINX)
    real = os.open

    def refuse(path: object, *args: object) -> int:
        if str(path).endswith("_revoked"):
            raise OSError(24, "too many open files")
        return real(path, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageFailed):
        await store.blobs.open(NGINX, DIGEST)


@pytest.mark.parametrize("whole", [False, True])
async def test_it_counts_while_its_record_gets_to_the_disk(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """The writer thread may write it, and forget it in memory, between two looks of the reactor's."""
    await fill(store)
    known = store._revocations
    path = store._layout.upstream_revoked(NGINX.upstream) if whole else store._layout.revoked(NGINX)
    revoked_s = known.announce(path)
    real = known._records.get

    def get(asked: Path) -> tuple[float, bool]:
        found = real(asked)
        if asked == path:
            known.write(path, revoked_s)
        return found

    monkeypatch.setattr(known._records, "get", get)
    assert store.revoked_s(NGINX) == revoked_s
