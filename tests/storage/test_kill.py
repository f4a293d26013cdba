"""A kill, or a disk that refuses, at every single step of every write (invariants 1 and 7)."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import pytest

from regproxy.errors import ContentMissing, StorageFailed
from regproxy.interfaces import Kind, TagRecord
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.media_type import OCI_MANIFEST
from regproxy.oci.tag import Tag
from regproxy.storage import durable
from regproxy.storage.store import DiskStore
from tests.storage.conftest import CONTENT, DIGEST, NGINX, OTHER, REDIS, Folder, fill, proofs, reading
from tests.storage.mortal import Killed, MortalOs

MANIFEST = Manifest.receive(b'{"schemaVersion":2,"layers":[],"config":{}}', OCI_MANIFEST)
LATEST = Tag.parse("latest")
MAX_STEPS = 80


def check_blobs(folder: Folder) -> None:
    """Nothing unverified is under blobs/ (temporary names apart)."""
    for path in (folder.root / "blobs").rglob("*"):
        if not path.is_dir() and not path.name.startswith("."):
            assert Digest(path.parts[-3], path.name).matches(path.read_bytes())


async def pull(store: DiskStore) -> None:
    """A fill from its first to its last step; the descriptor is closed as a kill would."""
    spool = await store.spool(DIGEST)
    try:
        await spool.expect(len(CONTENT))
        await spool.append([CONTENT[:100], CONTENT[100:]])
        await spool.add_source(REDIS)
        await spool.commit(proofs(store, NGINX, OTHER))
    finally:
        spool._close(None)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("before", ["empty", "touched"])
async def test_kill_at_each_step_of_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool, before: str
) -> None:
    """After it there is the whole thing with all its links, or nothing; and the next fill works."""
    outcomes = set()
    for at in range(1, MAX_STEPS):
        folder = Folder(tmp_path / str(at))
        store = folder.open()
        if before == "touched":
            await fill(store, CONTENT, REDIS)
            folder.blob(DIGEST).unlink()
        mortal = MortalOs(at, Killed, late)
        with monkeypatch.context() as patch:
            patch.setattr(durable, "os", mortal)
            with contextlib.suppress(Killed):
                await pull(store)
            check_blobs(folder)
        await folder.close()
        monkeypatch.setattr(durable, "PROCESS", f"{at:016x}")
        store = folder.open()
        outcomes.add(await check_outcome(folder, store))
        await folder.close()
        if not mortal.reached:
            break
    else:
        pytest.fail("the scenario has more steps than were tried")
    assert outcomes == {True, False}


async def check_outcome(folder: Folder, store: DiskStore) -> bool:
    """Whether the blob is there; it is, for each confirmed repository and no other, or for none."""
    assert folder.files("fills") == []
    there = store.holds(DIGEST) is not None
    for repository in (NGINX, OTHER):
        if there:
            assert await reading(store)(repository, DIGEST) == CONTENT
        else:
            assert store.link(repository, DIGEST) is None
    await store.survey()
    assert not [name for name in folder.files() if "/." in name]
    await fill(store, CONTENT, NGINX)
    assert await reading(store)(NGINX, DIGEST) == CONTENT
    return there


async def test_a_kill_never_links_a_source_that_was_not_confirmed(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for a fill is not yet permitted (invariant 5)."""
    store = folder.open()
    with monkeypatch.context() as patch:
        mortal = MortalOs(10**6, Killed)
        patch.setattr(durable, "os", mortal)
        patch.setattr(durable, "move", move_then_die(mortal))
        with pytest.raises(Killed):
            await pull(store)
    assert folder.blob(DIGEST).exists()
    store = await folder.reopen()
    assert store.link(NGINX, DIGEST) is not None
    assert store.link(REDIS, DIGEST) is None


def move_then_die(mortal: MortalOs) -> object:
    real = durable.move

    def move(source: Path, target: Path) -> None:
        real(source, target)
        if "blobs" in target.parts:
            mortal.at = len(mortal.steps)

    return move


async def test_recovered_links_do_not_outlive_a_revocation(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are dated by the commit, not by the start after it."""
    store = folder.open()
    with monkeypatch.context() as patch:
        mortal = MortalOs(10**6, Killed)
        patch.setattr(durable, "os", mortal)
        patch.setattr(durable, "move", move_then_die(mortal))
        with pytest.raises(Killed):
            await pull(store)
    folder.wall.now_s += 10
    await store.revoke(NGINX)
    folder.wall.now_s += 10
    store = await folder.reopen()
    assert store.link(NGINX, DIGEST) is not None
    with pytest.raises(ContentMissing):
        await store.blobs.stat(NGINX, DIGEST)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
async def test_a_disk_that_refuses_at_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """StorageFailed; what is below the front stays readable, discard leaves nothing behind."""
    for at in range(1, MAX_STEPS):
        folder = Folder(tmp_path / str(at))
        store = folder.open()
        spool = await store.spool(DIGEST)
        await spool.append([CONTENT])
        mortal = MortalOs(at, OSError(number, os.strerror(number)))
        with monkeypatch.context() as patch:
            patch.setattr(durable, "os", mortal)
            failed = False
            try:
                await spool.commit(proofs(store, NGINX, OTHER))
            except StorageFailed:
                failed = True
                file = spool.file()
                assert file.read_at(0, 1 << 20) == CONTENT
                file.close()
            check_blobs(folder)
        if at % 2 or not failed:
            await spool.discard()
            store = await folder.reopen()
            assert folder.files("fills") == []
            if store.holds(DIGEST) is not None:
                assert await reading(store)(OTHER, DIGEST) == CONTENT
        elif spool._syncing.unsound:
            with pytest.raises(StorageFailed):
                await spool.commit(proofs(store, NGINX, OTHER))
            await spool.discard()
        else:
            await spool.commit(proofs(store, NGINX, OTHER))
            assert await reading(store)(OTHER, DIGEST) == CONTENT
        await folder.close()
        if not mortal.reached:
            assert not failed
            return
    pytest.fail("the scenario has more steps than were tried")


def record(letter: str, checked_s: float) -> TagRecord:
    return TagRecord(Descriptor(Digest.of(letter.encode()), 1, OCI_MANIFEST), None, checked_s)


@pytest.mark.parametrize("late", [False, True])
async def test_kill_at_each_step_of_small_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """A manifest, a grant, a tag, a revocation: the old state or the new one, never a broken record."""
    for at in range(1, MAX_STEPS):
        folder = Folder(tmp_path / str(at))
        store = folder.open()
        await fill(store)
        await store.set_tag(NGINX, LATEST, record("a", 1))
        mortal = MortalOs(at, Killed, late)
        with monkeypatch.context() as patch:
            patch.setattr(durable, "os", mortal)
            try:
                await store.put(OTHER, MANIFEST, store.stamp(OTHER))
                await store.grant(OTHER, DIGEST, Kind.BLOB, "a/b", "head", store.stamp(OTHER))
                await store.set_tag(NGINX, LATEST, record("b", 2))
                await store.revoke(NGINX)
            except Killed:
                pass
        store = await folder.reopen()
        check_blobs(folder)
        known = store.tag(NGINX, LATEST)
        assert known is not None
        assert known.descriptor.digest in (Digest.of(b"a"), Digest.of(b"b"))
        if store.link(OTHER, MANIFEST.digest) is not None:
            assert await store.manifests.get(OTHER, MANIFEST.digest) == MANIFEST
        if store.link(OTHER, DIGEST) is not None:
            assert await reading(store)(OTHER, DIGEST) == CONTENT
        await store.put(NGINX, MANIFEST, store.stamp(NGINX))
        await folder.close()
        if not mortal.reached:
            return
    pytest.fail("the scenario has more steps than were tried")


async def test_the_order_of_a_commit(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes, then the name, then the folder, then the links, the map last: what a power cut respects."""
    store = folder.open()
    spool = await store.spool(DIGEST)
    await spool.append([CONTENT])
    spooled = os.readlink(f"/proc/self/fd/{spool.descriptor}")
    mortal = MortalOs(10**6, Killed)
    monkeypatch.setattr(durable, "os", mortal)
    await spool.commit(proofs(store, NGINX))
    seen = [(name, str(args[-1] if name == "rename" else args[0])) for name, args in mortal.steps]
    named = max(i for i, (name, path) in enumerate(seen) if name == "rename" and "/blobs/" in path)
    linked = max(i for i, (name, path) in enumerate(seen) if name == "rename" and "/_layers/" in path)
    unmapped = next(i for i, (name, path) in enumerate(seen) if name == "unlink" and path.endswith(".map"))
    sealed = seen.index(("fsync", spooled))
    assert sealed < named < linked < unmapped
    assert [name for name, _ in seen[:named]].index("ftruncate") < sealed
    assert seen[named + 1] == ("fsync", str(folder.blob(DIGEST).parent))
    assert seen[linked - 1][0] == seen[linked + 1][0] == "fsync"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"digest":"sha256:../../x","sources":[],"committed":null}',
        b"[" * 9999,
    ],
)
async def test_broken_maps_and_strange_files_are_cleaned_at_start(folder: Folder, content: bytes) -> None:
    """They stop no start."""
    await fill(folder.open())
    await folder.close()
    for name in ("x.map", "x.spool", "noise", ".hidden"):
        (folder.root / "fills" / name).write_bytes(content)
    (folder.root / "fills" / "link.map").symlink_to("/etc/passwd")
    folder.open()
    assert folder.files("fills") == []
    assert Path("/etc/passwd").exists()


async def test_a_map_whose_blob_is_of_another_size_links_nothing(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blob was cut meanwhile."""
    store = folder.open()
    with monkeypatch.context() as patch:
        mortal = MortalOs(10**6, Killed)
        patch.setattr(durable, "os", mortal)
        patch.setattr(durable, "move", move_then_die(mortal))
        with pytest.raises(Killed):
            await pull(store)
    os.truncate(folder.blob(DIGEST), 3)
    store = await folder.reopen()
    assert store.link(NGINX, DIGEST) is None
    assert folder.files("fills") == []
