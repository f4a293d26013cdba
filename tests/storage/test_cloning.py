"""A spool that shares the bytes of a file: tried, checked like any other bytes, or copied after all."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.defer import fail

from regproxy.errors import StorageFailed, TransferStopped
from regproxy.interfaces import ICloningSpool
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.storage.opening import open_store

CONTENT = os.urandom(300_000)
REPOSITORY = Repository("docker.io", "org/app")


@pytest.fixture
def source(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "source").write_bytes(CONTENT)
    descriptor = os.open(tmp_path / "source", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


async def with_spool(tmp_path: Path, work) -> None:
    store = open_store(tmp_path / "root", reactor, lambda: 1000.0)
    try:
        spool = await store.spool(Digest.of(CONTENT))
        assert ICloningSpool.providedBy(spool)
        try:
            await work(store, spool)
        finally:
            await spool.discard()
    finally:
        await store.close()


def cloning(content: bytes = CONTENT):
    """As a file system that can."""

    def ioctl(descriptor: int, request: int, source: int) -> int:
        assert request == 0x40049409
        assert os.pread(source, 1 << 20, 0) == CONTENT
        os.pwrite(descriptor, content, 0)
        return 0

    return ioctl


async def test_shared_bytes_are_hashed_and_committed(tmp_path: Path, source: int, monkeypatch) -> None:
    async def work(store, spool) -> None:
        assert await spool.clone(source, len(CONTENT)) is True
        assert spool.front == 0
        while spool.front < len(CONTENT):
            await spool.catch_up()
        await spool.commit({REPOSITORY: 1000.0})
        assert store.holds(spool.digest) == len(CONTENT)

    monkeypatch.setattr(fcntl, "ioctl", cloning())
    await with_spool(tmp_path, work)


@pytest.mark.parametrize("content", [b"x" + CONTENT[1:], CONTENT[:-1], CONTENT + b"x"])
async def test_a_source_that_changes_meanwhile(
    tmp_path: Path, source: int, monkeypatch, content: bytes
) -> None:
    """What came is judged: longer is cut, anything else is wrong."""

    async def work(store, spool) -> None:
        assert await spool.clone(source, len(CONTENT))
        await spool.catch_up()
        assert spool.matches() is content.startswith(CONTENT)
        if not spool.matches():
            with pytest.raises(StorageFailed):
                await spool.commit({REPOSITORY: 1000.0})
            assert store.holds(spool.digest) is None

    monkeypatch.setattr(fcntl, "ioctl", cloning(content))
    await with_spool(tmp_path, work)


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY])
async def test_where_it_cannot_nothing_changes(tmp_path: Path, source: int, monkeypatch, number: int) -> None:
    def ioctl(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    async def work(store, spool) -> None:
        assert await spool.clone(source, len(CONTENT)) is False
        await spool.append([CONTENT])
        assert spool.matches()

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    await with_spool(tmp_path, work)


async def test_a_full_disk_says_so(tmp_path: Path, source: int, monkeypatch) -> None:
    def ioctl(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    async def work(store, spool) -> None:
        with pytest.raises(StorageFailed, match="full"):
            await spool.clone(source, len(CONTENT))

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    await with_spool(tmp_path, work)


async def test_not_over_what_is_there_nor_without_room(tmp_path: Path, source: int, monkeypatch) -> None:
    class Full:
        def reserve(self, size_bytes: int):
            return fail(StorageFailed(f"no room for {size_bytes}"))

    async def work(store, spool) -> None:
        await spool.append([CONTENT[:5]])
        assert await spool.clone(source, len(CONTENT)) is False
        store.limit(Full())
        with pytest.raises(StorageFailed, match="no room for 300000"):
            await spool.clone(source, len(CONTENT))

    monkeypatch.setattr(fcntl, "ioctl", cloning())
    await with_spool(tmp_path, work)


async def test_not_into_a_closed_one(tmp_path: Path, source: int) -> None:
    async def work(store, spool) -> None:
        await spool.discard()
        with pytest.raises(TransferStopped):
            await spool.clone(source, len(CONTENT))

    await with_spool(tmp_path, work)
