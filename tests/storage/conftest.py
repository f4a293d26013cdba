"""Stores on a real folder, closed after each test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor

from regproxy.interfaces import IBlob
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.oci.media_type import OCI_MANIFEST
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.storage.opening import open_store
from regproxy.storage.store import DiskStore


class Wall:
    """A wall clock that a test moves: seconds since the epoch."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


class Folder:
    """A storage folder that stores are opened on, one after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.wall = Wall()
        self._opened: list[DiskStore] = []

    def open(self) -> DiskStore:
        store = open_store(self.root, reactor, self.wall)
        self._opened.append(store)
        return store

    async def close(self) -> None:
        for store in self._opened:
            await store.close()
        self._opened.clear()

    async def reopen(self) -> DiskStore:
        await self.close()
        return self.open()

    def blob(self, digest: Digest) -> Path:
        return self.root / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex

    def files(self, top: str = ".") -> list[str]:
        found = (self.root / top).rglob("*")
        return sorted(str(path.relative_to(self.root)) for path in found if not path.is_dir())


NGINX = Repository.parse("docker.io", "library/nginx")
REDIS = Repository.parse("docker.io", "library/redis")
OTHER = Repository.parse("ghcr.io", "a/b/c")
CONTENT = b"some bytes of a layer" * 1000
DIGEST = Digest.of(CONTENT)


def proofs(store: DiskStore, *repositories: Repository) -> dict[Repository, float]:
    """As if the upstream of each of ``repositories`` were asked now, and had it."""
    return {repository: store.stamp(repository) for repository in repositories}


MANIFEST = Manifest.receive(b'{"schemaVersion":2,"layers":[],"config":{}}', OCI_MANIFEST)
LATEST = Tag.parse("latest")


async def fill(store: DiskStore, content: bytes = CONTENT, *repositories: Repository) -> Digest:
    """Bring ``content`` in as a blob, through a spool."""
    spool = await store.spool(Digest.of(content))
    await spool.append([content])
    await spool.commit(proofs(store, *(repositories or [NGINX])))
    return Digest.of(content)


def read_whole(blob: IBlob) -> bytes:
    """What is at hand of a blob, which is let go of."""
    body = blob.body()
    try:
        return body.read(1 << 20) or b""
    finally:
        body.close()


def reading(store: DiskStore) -> Callable[[Repository, Digest], object]:
    """Open a blob and read all of it."""

    async def read(repository: Repository, digest: Digest) -> bytes:
        blob = await store.blobs.open(repository, digest)
        body = blob.body()
        parts = []
        while (part := body.read(65536)) != b"":
            if part is None:
                await body.ready()
            else:
                parts.append(part)
        body.close()
        return b"".join(parts)

    return read


@pytest.fixture(autouse=True)
def no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test can see whether the disk was flushed, and a busy disk takes seconds for it."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)


@pytest_twisted.async_yield_fixture
async def folder(tmp_path: Path) -> AsyncIterator[Folder]:
    made = Folder(tmp_path / "store")
    yield made
    await made.close()


@pytest_twisted.async_yield_fixture
async def store(folder: Folder) -> AsyncIterator[DiskStore]:
    yield folder.open()
