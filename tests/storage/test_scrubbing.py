"""Hashing blobs again: any flipped bit is found, only bad files are set aside, clients' pages stay."""

from __future__ import annotations

import errno
import mmap
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater

from regproxy.errors import ContentMissing, StorageFailed
from regproxy.interfaces import Examined, Kind, Verdict
from regproxy.oci.digest import Digest
from regproxy.storage import idle, rereading
from regproxy.storage.layout import Layout
from regproxy.storage.rereading import PIECE_BYTES, Rereading
from regproxy.storage.scrubbing import blobs_after
from regproxy.storage.store import DiskStore
from tests.storage.conftest import CONTENT, DIGEST, NGINX, OTHER, Folder, fill, reading


def damage(path: Path, at: int, bit: int = 0) -> None:
    """As a disk does it: nothing but the bytes changes."""
    found = path.stat()
    path.chmod(0o640)
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ (1 << bit)]))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    path.chmod(0o440)


def examine(store: DiskStore, digest: Digest) -> Deferred[Examined]:
    return store.scrubbed.examine(digest, lambda mtime_s: True, lambda count: succeed(None))


async def test_right_ones_stay(folder: Folder, store: DiskStore) -> None:
    await fill(store)
    assert await examine(store, DIGEST) == Examined(Verdict.RIGHT, len(CONTENT))
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_a_flipped_bit_is_found_and_never_served(folder: Folder, store: DiskStore) -> None:
    """It is set aside with its holders told, and the next who asks has it fetched."""
    await fill(store, CONTENT, NGINX, OTHER)
    damage(folder.blob(DIGEST), 17)
    found = await examine(store, DIGEST)
    assert (found.verdict, found.size_bytes) == (Verdict.WRONG, len(CONTENT))
    assert set(found.holders) == {(NGINX, Kind.BLOB), (OTHER, Kind.BLOB)}
    assert folder.files("quarantine") == [f"quarantine/sha256-{DIGEST.hex}"]
    with pytest.raises(ContentMissing):
        await store.blobs.open(NGINX, DIGEST)
    await fill(store)
    assert await reading(store)(OTHER, DIGEST) == CONTENT, "their links hold still"
    assert (await examine(store, DIGEST)).verdict is Verdict.RIGHT


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(content=st.binary(min_size=1, max_size=20_000), data=st.data())
def test_any_bit(tmp_path: Path, content: bytes, data: st.DataObject) -> None:
    path, digest = tmp_path / "blob", Digest.of(content)
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    at, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    assert hashed(digest, path)
    damage(path, at, bit)
    assert not hashed(digest, path)


def hashed(digest: Digest, path: Path) -> bool:
    made = Rereading.begin(digest, path)
    assert made is not None
    while made.piece():
        pass
    made.close()
    return made.right


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 4097])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_every_size_by_way_of_the_disk_or_the_cache(
    tmp_path: Path, size: int, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(size)
    path, digest = tmp_path / "blob", Digest.of(content, algorithm)
    path.write_bytes(content)
    assert hashed(digest, path)
    monkeypatch.setattr(rereading, "_DIRECT", 0)
    assert hashed(digest, path)


@pytest.mark.parametrize(
    ("size", "taken"),
    [
        (0, 4096),
        (1, 4096),
        (4096, 4096),
        (4097, 8192),
        (PIECE_BYTES - 1, PIECE_BYTES),
        (PIECE_BYTES + 1, PIECE_BYTES),
    ],
)
def test_a_small_file_takes_little_memory(
    tmp_path: Path, size: int, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel finds memory for all of the buffer: for a small file that takes longer than to read it."""
    sizes: list[int] = []
    real = mmap.mmap
    monkeypatch.setattr(mmap, "mmap", lambda file, length: sizes.append(length) or real(file, length))
    path = tmp_path / "blob"
    path.write_bytes(bytes(size))
    assert hashed(Digest.of(bytes(size)), path)
    assert sizes == [taken]


def test_on_a_device_with_large_blocks_it_is_read_in_whole_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less than a block is refused there, and the file would be read from memory."""
    sizes: list[int] = []
    real = mmap.mmap
    monkeypatch.setattr(mmap, "mmap", lambda file, length: sizes.append(length) or real(file, length))
    path = tmp_path / "blob"
    for size in (0, 5000, 70_000, PIECE_BYTES - 1):
        path.write_bytes(bytes(size))
        found = path.stat()
        large = os.stat_result(tuple(found), {"st_blksize": 16384})
        rereading = Rereading(Digest.of(bytes(size)), path, os.open(path, os.O_RDONLY), large)
        while rereading.piece():
            pass
        assert rereading.right
        rereading.close()
    assert sizes == [65536, 65536, 131072, PIECE_BYTES]


def test_a_file_system_that_reads_nothing_past_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so at the first read at the latest."""
    path = tmp_path / "blob"
    path.write_bytes(CONTENT)
    made = Rereading.begin(DIGEST, path)
    assert made is not None
    direct, real = made._direct, os.preadv

    def preadv(descriptor: int, *args: Any) -> int:
        if descriptor == direct:
            raise OSError(errno.EINVAL, "not here")
        return real(descriptor, *args)

    monkeypatch.setattr(os, "preadv", preadv)
    while made.piece():
        pass
    assert made.right
    assert not made.past_the_cache
    made.close()


def test_pages_that_were_not_in_memory_are_let_go_and_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "blob"
    path.write_bytes(bytes(2 * PIECE_BYTES))
    digest = Digest.of(bytes(2 * PIECE_BYTES))
    monkeypatch.setattr(rereading, "_DIRECT", 0)
    let_go: list[tuple[int, int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, *args: let_go.append(args))
    real = os.preadv

    def preadv(descriptor: int, buffers: Any, offset: int, flags: int = 0) -> int:
        if flags and offset == PIECE_BYTES:
            raise BlockingIOError(errno.EAGAIN, "cold")
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    assert hashed(digest, path)
    assert let_go == [(PIECE_BYTES, PIECE_BYTES, os.POSIX_FADV_DONTNEED)]


class Failing:
    """``preadv`` that fails as often as told."""

    def __init__(self, error: int, times: int) -> None:
        self.error, self.times, self.real = error, times, os.preadv

    def __call__(self, *args: Any) -> int:
        if self.times:
            self.times -= 1
            raise OSError(self.error, "injected")
        return self.real(*args)


async def test_one_bad_reading_costs_nothing(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is not there the second time."""
    await fill(store)
    monkeypatch.setattr(os, "preadv", Failing(errno.EIO, 1))
    assert (await examine(store, DIGEST)).verdict is Verdict.RIGHT


@pytest.mark.parametrize("error", rereading.UNREADABLE)
async def test_what_the_disk_fails_to_read_is_set_aside(
    folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    await fill(store)
    monkeypatch.setattr(os, "preadv", Failing(error, 2))
    found = await examine(store, DIGEST)
    assert (found.verdict, found.holders) == (Verdict.UNREADABLE, ((NGINX, Kind.BLOB),))
    assert not folder.blob(DIGEST).exists()


async def test_an_error_of_the_system_says_nothing_of_the_blob(
    folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store)
    monkeypatch.setattr(os, "preadv", Failing(errno.ENOMEM, 9))
    with pytest.raises(StorageFailed):
        await examine(store, DIGEST)
    assert folder.blob(DIGEST).exists()


async def test_what_was_replaced_meanwhile_is_left_alone(folder: Folder, store: DiskStore) -> None:
    """The verdict is about the file that was read."""
    await fill(store)
    damage(folder.blob(DIGEST), 3)

    def rest(count: int) -> Deferred[None]:
        path = folder.blob(DIGEST)
        path.rename(path.parent / ".gone")
        path.write_bytes(CONTENT)
        return succeed(None)

    found = await store.scrubbed.examine(DIGEST, lambda mtime_s: True, rest)
    assert found.verdict is Verdict.GONE
    assert folder.blob(DIGEST).read_bytes() == CONTENT


async def test_a_disk_that_lets_nothing_be_moved(
    folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is remembered as wrong, and not served."""
    await fill(store)
    damage(folder.blob(DIGEST), 3)

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(os, "rename", refuse)
    assert (await examine(store, DIGEST)).verdict is Verdict.WRONG
    assert folder.blob(DIGEST).exists()
    with pytest.raises(ContentMissing):
        await store.blobs.open(NGINX, DIGEST)


async def test_readers_go_on_reading_what_is_set_aside(folder: Folder, store: DiskStore) -> None:
    await fill(store)
    blob = await store.blobs.open(NGINX, DIGEST)
    damage(folder.blob(DIGEST), 3)
    await examine(store, DIGEST)
    body = blob.body()
    assert len(body.read(1 << 20) or b"") == len(CONTENT)
    body.close()


async def test_young_and_gone(store: DiskStore) -> None:
    await fill(store)
    young = await store.scrubbed.examine(DIGEST, lambda mtime_s: False, lambda count: succeed(None))
    assert young.verdict is Verdict.YOUNG
    assert (await examine(store, Digest.of(b"no"))).verdict is Verdict.GONE


async def test_cancelling_lets_go_of_the_file(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(store)
    resting: Deferred[None] = Deferred()
    before = len(os.listdir("/proc/self/fd"))
    reached: Deferred[None] = Deferred()

    def rest(count: int) -> Deferred[None]:
        reached.callback(None)
        return resting

    doing = store.scrubbed.examine(DIGEST, lambda mtime_s: True, rest)
    await reached
    await deferLater(reactor, 0)  # not from within what is to be cancelled
    doing.cancel()
    with pytest.raises(CancelledError):
        await doing
    await store.scrubbed.blobs_after("")  # what its thread had to do is done
    assert len(os.listdir("/proc/self/fd")) == before


async def test_the_order_and_both_algorithms(folder: Folder, store: DiskStore) -> None:
    """By their digits alone, a folder of names at a time; strangers are passed over."""
    for number in range(40):
        await fill(store, b"%d" % number)
    other = Digest.of(b"other", "sha512")
    path = folder.blob(other)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"other")
    (folder.root / "blobs/sha256/zz").mkdir()
    (folder.root / "blobs/sha256/00").mkdir(exist_ok=True)
    (folder.root / "blobs/sha256/00/note.txt").touch()
    seen: list[Digest] = []
    while found := await store.scrubbed.blobs_after(seen[-1].hex if seen else ""):
        assert len({digest.hex[:2] for digest in found}) == 1
        seen += found
    assert len(seen) == 41
    assert [digest.hex for digest in seen] == sorted(digest.hex for digest in seen)
    assert other in seen


def test_a_cursor_in_the_middle_of_a_folder(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    digests = [Digest("sha256", "ab" + f"{number:062x}") for number in range(4)]
    for digest in digests:
        path = layout.blob(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert blobs_after(layout, digests[1].hex) == digests[2:]
    assert blobs_after(layout, digests[3].hex) == []
    assert blobs_after(layout, "ab") == digests
    assert blobs_after(layout, "f" * 128) == []


def test_its_thread_alone_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU and, where the system lets us, at the disk."""
    found: dict[str, object] = {}

    def work() -> None:
        found["told"] = idle.give_way()
        found["nice"] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found["nice"] == 19
    assert isinstance(found["told"], bool)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) < 19


def test_a_machine_whose_calls_we_do_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "pdp11")
    thread: Callable[[], bool] = idle.give_way
    monkeypatch.setattr(os, "setpriority", lambda *_: None)
    assert thread() is False


def test_a_folder_that_cannot_be_read_does_not_keep_the_others_from_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing else is left it is told of: it is no end of a pass."""
    first, last = Digest("sha256", "10" + "0" * 62), Digest("sha256", "f0" + "0" * 62)
    layout = Layout(tmp_path)
    for one in (first, last):
        layout.blob(one).parent.mkdir(parents=True)
        layout.blob(one).touch()
    listdir = os.listdir
    broken = layout.blob(first).parent

    def failing(folder: Path) -> list[str]:
        if folder == broken:
            raise OSError(errno.EIO, "it rots")
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", failing)
    assert blobs_after(layout, "") == [last]
    assert blobs_after(layout, last.hex) == []
    broken = layout.blob(last).parent
    assert blobs_after(layout, "") == [first]
    with pytest.raises(OSError, match="rots"):
        blobs_after(layout, first.hex)
