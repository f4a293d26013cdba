"""The two local stores, and the hand that spoils their files."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import Clock

from regproxy.oci.digest import Digest
from regproxy.storage.opening import open_store
from regproxy.storage.store import DiskStore
from regproxy.testing.stores import MemoryStore

START_S = 1_800_000_000.0


class Disk:
    """A store on a real folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._now_s = START_S
        self._touched = 0
        self.store: DiskStore = self._open()

    def _open(self) -> DiskStore:
        return open_store(self.root, reactor, self.now_s)

    def now_s(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        self._now_s += seconds

    def _blob(self, digest: Digest) -> Path:
        return self.root / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex

    def touch(self, digest: Digest, content: bytes | None = None) -> None:
        path = self._blob(digest)
        if content is not None:
            path.chmod(0o640)
            path.write_bytes(content)
        self._touched += 1
        os.utime(path, ns=(0, path.stat().st_mtime_ns + self._touched * 1_000_000_000))

    def remove(self, digest: Digest) -> None:
        self._blob(digest).unlink(missing_ok=True)

    def quarantined(self, digest: Digest) -> bytes | None:
        found = [path for path in (self.root / "quarantine").rglob("*") if digest.hex in path.name]
        return found[0].read_bytes() if found else None

    async def restart(self) -> None:
        await self.store.close()
        self.store = self._open()

    async def close(self) -> None:
        await self.store.close()


class Memory:
    """The double."""

    def __init__(self) -> None:
        self._clock = Clock()
        self._clock.rightNow = START_S
        self.store = MemoryStore(self._clock)

    def now_s(self) -> float:
        return self._clock.seconds()

    def advance(self, seconds: float) -> None:
        self._clock.rightNow += seconds

    def touch(self, digest: Digest, content: bytes | None = None) -> None:
        self.store.touch(digest, content)

    def remove(self, digest: Digest) -> None:
        self.store.remove(digest)

    def quarantined(self, digest: Digest) -> bytes | None:
        return self.store.quarantined.get(digest)

    async def restart(self) -> None:
        """It forgets at its end, so it has none."""

    async def close(self) -> None:
        """Nothing is open."""
