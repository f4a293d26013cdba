"""Files and bodies: cold pages, spans, the end, closing in the middle."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, gatherResults

from regproxy.errors import StorageFailed, TransferStopped
from regproxy.interfaces import How
from regproxy.storage import files as files_module
from regproxy.storage.bodies import FileBlob, FileBody
from regproxy.storage.files import Files, StoredFile
from regproxy.storage.thread import DiskThread

CONTENT = bytes(range(256)) * 4096


class ColdOs:
    """An ``os`` whose pages are never in memory, or that cannot tell."""

    def __init__(self, answer: OSError) -> None:
        self.answer = answer
        self.preads = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def preadv(self, *_: object) -> int:
        raise self.answer

    def pread(self, *args: Any) -> bytes:
        self.preads += 1
        return os.pread(*args)


@pytest_twisted.async_yield_fixture
async def reader() -> AsyncIterator[DiskThread]:
    thread = DiskThread(reactor, "test-reader")
    yield thread
    await thread.stop()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(CONTENT)
    return made


def opened(path: Path, reader: DiskThread) -> StoredFile:
    file = Files(reader).open(path)
    assert file is not None
    return file


def body(path: Path, reader: DiskThread, start: int, stop: int) -> FileBody:
    made = FileBlob(opened(path, reader), len(CONTENT)).body(start, stop)
    assert isinstance(made, FileBody)
    return made


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> ColdOs:
    made = ColdOs(BlockingIOError(errno.EAGAIN, "cold"))
    monkeypatch.setattr(files_module, "os", made)
    return made


async def test_warm_pages_are_read_at_once(path: Path, reader: DiskThread) -> None:
    """Up to what was asked for, and nothing past the end."""
    file = opened(path, reader)
    assert file.read_at(10, 5) == CONTENT[10:15]
    assert file.read_at(len(CONTENT), 5) == b""
    assert file.read_at(0, 1 << 30) == CONTENT[: 1 << 20]
    file.close()
    file.close()
    with pytest.raises(TransferStopped):
        file.read_at(0, 1)
    with pytest.raises(TransferStopped):
        await file.warm(0, 1)


async def test_cold_pages_are_read_in_the_thread(path: Path, reader: DiskThread, cold: ColdOs) -> None:
    """The reactor never reads them; every wait brings bytes, also where memory never keeps them."""
    made = body(path, reader, 3, 700_000)
    parts: list[bytes] = []
    waits = 0
    while (part := made.read(100_000)) != b"":
        if part is None:
            waits += 1
            await made.ready()
        else:
            parts.append(part)
    assert b"".join(parts) == CONTENT[3:700_000]
    assert waits == cold.preads == 1
    made.close()


async def test_eight_cold_blobs_at_once(path: Path, reader: DiskThread, cold: ColdOs) -> None:
    """Each of them is waited for in the thread: the reactor's never reads, and stays free for others."""
    readers: set[int] = set()
    real = cold.pread

    def pread(*args: Any) -> bytes:
        readers.add(threading.get_ident())
        return real(*args)

    cold.pread = pread  # type: ignore[method-assign]
    bodies = [body(path, reader, 0, len(CONTENT)) for _ in range(8)]
    assert [made.read(1 << 20) for made in bodies] == [None] * 8
    await gatherResults([made.ready() for made in bodies])
    assert [made.read(1 << 20) for made in bodies] == [CONTENT] * 8
    assert threading.get_ident() not in readers
    assert cold.preads == 8
    for made in bodies:
        made.close()


class HalfColdOs(ColdOs):
    """Pages from ``border`` on are not in memory."""

    def __init__(self, border: int) -> None:
        super().__init__(BlockingIOError(errno.EAGAIN, "cold"))
        self.border = border
        self.sent: list[tuple[int, int]] = []

    def preadv(self, descriptor: int, buffers: Any, offset: int, flags: int) -> int:  # type: ignore[override]
        if offset >= self.border:
            raise self.answer
        return os.preadv(descriptor, buffers, offset)

    def sendfile(self, out: int, descriptor: int, offset: int, count: int) -> int:
        self.sent.append((offset, count))
        return count


@pytest.mark.parametrize(
    ("border", "sent"),
    [(1 << 20, 1 << 19), (400_000, 1 << 17), (100_000, 1 << 15), (10_000, 4096), (0, None)],
)
async def test_no_more_is_sent_at_once_than_is_in_memory(
    path: Path, reader: DiskThread, monkeypatch: pytest.MonkeyPatch, border: int, sent: int | None
) -> None:
    """Where pages behind the first are cold, sendfile would wait for the disk in the reactor's thread."""
    half = HalfColdOs(border)
    monkeypatch.setattr(files_module, "os", half)
    file = opened(path, reader)
    assert file.send_at(-1, 0, 1 << 19) == sent
    assert all(offset + count <= border or count <= 4096 for offset, count in half.sent)
    file.close()


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
async def test_where_the_kernel_cannot_tell(
    path: Path, reader: DiskThread, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It is read in the thread (tmpfs, other systems), never in the reactor's."""
    strange = ColdOs(OSError(number, "no"))
    monkeypatch.setattr(files_module, "os", strange)
    file = opened(path, reader)
    assert file.read_at(5, 5) is None
    await file.warm(5, 5)
    assert file.read_at(5, 5) == CONTENT[5:10]
    assert file.read_at(10, 5) is None
    assert strange.preads == 1
    file.close()


async def test_sending_where_the_kernel_cannot_tell(
    path: Path, reader: DiskThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than what the thread has brought in, in as many pieces as the socket likes."""
    monkeypatch.setattr(files_module, "os", ColdOs(OSError(errno.EOPNOTSUPP, "no")))
    file = opened(path, reader)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    assert file.send_at(ours.fileno(), 5, 10) is None
    await file.warm(5, 10)
    assert file.send_at(ours.fileno(), 5, 4) == 4
    assert file.send_at(ours.fileno(), 9, 100) == 6
    assert file.send_at(ours.fileno(), 15, 100) is None
    assert theirs.recv(100) == CONTENT[5:15]
    await file.warm(15, 1 << 20)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while sent < 1 << 20:
            sent += file.send_at(ours.fileno(), 15 + sent, 1 << 20) or 0
    assert sent < 1 << 20
    theirs.recv(1 << 20)
    assert file.send_at(ours.fileno(), 15 + sent, 10) == 10
    for end in (ours, theirs, file):
        end.close()


async def test_a_broken_disk_is_an_error_of_ours(
    path: Path, reader: DiskThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not OSError."""
    monkeypatch.setattr(files_module, "os", ColdOs(OSError(errno.EIO, "broken")))
    file = opened(path, reader)
    with pytest.raises(StorageFailed):
        file.read_at(5, 5)
    file.close()


async def test_a_disk_that_breaks_while_one_waits(path: Path, reader: DiskThread, cold: ColdOs) -> None:
    """ready() fires, read() raises."""
    made = body(path, reader, 0, 10)
    assert made.read(10) is None
    await reader.stop()
    await made.ready()
    for _ in range(2):
        with pytest.raises(StorageFailed):
            made.read(10)
    await made.ready()
    made.close()


async def test_warm_bytes_of_another_place_are_not_mixed_up(
    path: Path, reader: DiskThread, cold: ColdOs
) -> None:
    """A reader that jumps gets what it asks for."""
    file = opened(path, reader)
    await file.warm(0, 10)
    assert file.read_at(5, 5) is None
    assert file.read_at(0, 10) is None
    await file.warm(20, 10)
    assert file.read_at(20, 4) == CONTENT[20:24]
    assert file.read_at(24, 40) == CONTENT[24:30]
    assert file.read_at(30, 4) is None
    file.close()


async def test_a_span_is_kept(path: Path, reader: DiskThread) -> None:
    """Never a byte past it; an empty one is at its end."""
    made = body(path, reader, 5, 9)
    assert (made.read(100), made.read(100)) == (CONTENT[5:9], b"")
    await made.ready()
    made.close()
    empty = body(path, reader, 5, 5)
    assert empty.read(100) == b""
    empty.close()


async def test_a_file_that_shrinks_is_never_a_short_body(path: Path, reader: DiskThread) -> None:
    """It is an error (P3)."""
    made = body(path, reader, 0, len(CONTENT))
    os.truncate(path, 10)
    assert made.read(100) == CONTENT[:10]
    for _ in range(2):
        with pytest.raises(StorageFailed):
            made.read(100)
    made.close()


async def test_close_while_the_thread_reads(path: Path, reader: DiskThread, cold: ColdOs) -> None:
    """ready() fails, the descriptor stays until the thread has done with it, then goes."""
    gate = threading.Event()
    reader.run(gate.wait, 10)
    made = body(path, reader, 0, 100)
    descriptor = made._file._descriptor
    waiting = made.ready()
    made.close()
    made.close()
    with pytest.raises(TransferStopped):
        await waiting
    os.fstat(descriptor)
    gate.set()
    await reader.run(int)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)
    for call in (lambda: made.read(1), made.ready):
        with pytest.raises(TransferStopped):
            await call()


async def test_cancelling_ready_harms_nothing(path: Path, reader: DiskThread, cold: ColdOs) -> None:
    """It can be asked for again."""
    gate = threading.Event()
    reader.run(gate.wait, 10)
    made = body(path, reader, 0, 100)
    waiting = made.ready()
    waiting.cancel()
    with pytest.raises(CancelledError):
        await waiting
    gate.set()
    await made.ready()
    assert made.read(100) == CONTENT[:100]
    made.close()


async def test_a_blob_gives_one_body(path: Path, reader: DiskThread) -> None:
    """Spans outside of it are refused; closing it after that changes nothing."""
    blob = FileBlob(opened(path, reader), len(CONTENT))
    assert (blob.size, blob.how) == (len(CONTENT), How.HIT)
    for span in ((-1, 5), (5, 4), (0, len(CONTENT) + 1)):
        with pytest.raises(ValueError, match="not within"):
            blob.body(*span)
    made = blob.body()
    blob.close()
    assert made.read(5) == CONTENT[:5]
    with pytest.raises(ValueError, match="taken"):
        blob.body()
    made.close()
    other = FileBlob(opened(path, reader), len(CONTENT))
    other.close()
    other.close()
    with pytest.raises(ValueError, match="closed"):
        other.body()
