"""Opening a folder: whose it is, who has it, what it can take."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import regproxy
from regproxy.errors import ContentMissing, StorageFailed, StorageForeign, StorageLocked
from regproxy.interfaces import Kind
from regproxy.oci.manifest import Manifest
from regproxy.oci.media_type import OCI_MANIFEST
from regproxy.storage import durable
from regproxy.storage.lock import FolderLock
from regproxy.storage.version import VERSION
from tests.storage.conftest import CONTENT, DIGEST, NGINX, OTHER, Folder, fill, reading
from tests.storage.mortal import MortalOs

HOLDER = """
import sys
from pathlib import Path
from regproxy.storage.lock import FolderLock
lock = FolderLock.take(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(lock: Path) -> Iterator[int]:
    """Another process that has the lock."""
    root = Path(regproxy.__file__).parent.parent
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process.pid
    finally:
        process.communicate(timeout=20)


async def test_the_second_process_is_told_who_has_it(folder: Folder) -> None:
    """And has it when the first one ends."""
    folder.root.mkdir()
    with holder(folder.root / "lock") as pid, pytest.raises(StorageLocked, match=f"process {pid}"):
        folder.open()
    folder.open()


async def test_the_lock_says_our_pid_and_goes_with_close(folder: Folder) -> None:
    """Within one process too."""
    folder.open()
    assert (folder.root / "lock").read_text() == f"{os.getpid()}\n"
    with pytest.raises(StorageLocked, match=r"storage\.root"):
        folder.open()
    await folder.reopen()


def refusing_writes(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes no writes: the tests may be run as root, whom no mode keeps out."""
    real = os.open

    def refuse(path: object, flags: int, mode: int = 0o777, **kwargs: object) -> int:
        if flags & (os.O_CREAT | os.O_RDWR | os.O_WRONLY):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, flags, mode, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(durable, "os", MortalOs(1, OSError(number, os.strerror(number))))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
async def test_a_disk_that_takes_no_writes_is_served(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Everything that was there, and typed errors for the rest (invariant 6)."""
    manifest = Manifest.receive(b'{"schemaVersion":2,"layers":[]}', OCI_MANIFEST)
    store = folder.open()
    await fill(store)
    await store.put(NGINX, manifest, store.stamp(NGINX))
    path = folder.blob(manifest.digest)
    os.utime(path, ns=(5, 5))
    (folder.root / "fills" / "left.spool").write_bytes(b"by a kill")
    await folder.close()
    with monkeypatch.context() as patch:
        refusing_writes(number, patch)
        store = folder.open()
        assert await reading(store)(NGINX, DIGEST) == CONTENT
        assert await store.manifests.get(NGINX, manifest.digest) == manifest
        await store.survey()
        for writing in (
            lambda: store.spool(DIGEST),
            lambda: store.put(OTHER, manifest, store.stamp(OTHER)),
            lambda: store.grant(OTHER, DIGEST, Kind.BLOB, "a/b", "head", store.stamp(OTHER)),
        ):
            with pytest.raises(StorageFailed):
                await writing()
        with pytest.raises(StorageFailed):
            await store.revoke(NGINX)
        with pytest.raises(ContentMissing):
            await store.blobs.open(NGINX, DIGEST)
        await folder.close()


async def test_an_empty_disk_that_takes_no_writes(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts with nothing."""
    folder.root.mkdir()
    with monkeypatch.context() as patch:
        refusing_writes(errno.EROFS, patch)
        store = folder.open()
        assert store.holds(DIGEST) is None
        with pytest.raises(StorageLocked):
            folder.open()
        await folder.close()
    assert folder.files() == []


async def test_the_lock_of_a_read_only_folder_is_the_same_one(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that may write and one that may not keep each other out."""
    folder.open()
    await folder.close()
    with holder(folder.root / "lock") as pid, monkeypatch.context() as patch:
        refusing_writes(errno.EROFS, patch)
        with pytest.raises(StorageLocked, match=f"process {pid}"):
            FolderLock.take(folder.root / "lock")


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """One line, typed."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailed):
        Folder(tmp_path / "file" / "store").open()
    with pytest.raises(StorageFailed):
        Folder(tmp_path / "file").open()


async def test_a_lock_that_is_no_file(folder: Folder) -> None:
    """A folder or a symbolic link in its place is not followed."""
    folder.root.mkdir()
    (folder.root / "lock").symlink_to(folder.root / "elsewhere")
    with pytest.raises(StorageFailed):
        folder.open()
    assert not (folder.root / "elsewhere").exists()


async def test_version_is_written_once(folder: Folder) -> None:
    """And nothing else has to be there, but what file systems and former starts leave."""
    for name in ("lost+found", "blobs"):
        (folder.root / name).mkdir(parents=True)
    folder.open()
    assert (folder.root / "VERSION").read_bytes() == VERSION
    before = (folder.root / "VERSION").stat()
    await folder.reopen()
    assert (folder.root / "VERSION").stat() == before


@pytest.mark.parametrize("content", [b"", b"regproxy storage 2\n", b"\xff" * 9999, b"3"])
async def test_another_version_is_not_touched(folder: Folder, content: bytes) -> None:
    """Nor locked: nothing is written into it."""
    folder.root.mkdir()
    (folder.root / "VERSION").write_bytes(content)
    with pytest.raises(StorageForeign, match="another regproxy"):
        folder.open()
    assert [path.name for path in folder.root.iterdir()] == ["VERSION"]


async def test_somebody_elses_folder_is_not_touched(folder: Folder) -> None:
    """Such as distribution's root."""
    (folder.root / "docker").mkdir(parents=True)
    with pytest.raises(StorageForeign, match="folder of its own"):
        folder.open()
    assert [path.name for path in folder.root.iterdir()] == ["docker"]


async def test_an_admin_socket_that_a_kill_left_is_not_somebody_elses(folder: Folder) -> None:
    folder.root.mkdir()
    (folder.root / "admin.sock").touch()
    store = folder.open()
    await store.close()
    assert (folder.root / "VERSION").exists()
