"""A spool's way to the disk's platters: many bytes in a thread of their own, the last ones with the commit.

Laws: the writer thread, which all fills share, waits for few bytes only. The system reports lost
pages once, and the next sync succeeds: a file of which one sync failed is unsound for good. What was
written before a sync began is claimed after it has succeeded, and nothing else is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from io import FileIO
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from regproxy.errors import StorageFailed
from regproxy.extents import Extent, Extents
from regproxy.storage import durable
from regproxy.storage.thread import DiskThread

T = TypeVar("T")

EVERY_BYTES = 32 * 1024 * 1024
EVERY_S = 2.0
"""Or so often, where fewer come: on a slow line they are worth more."""
ALONE_BYTES = 1024 * 1024
"""What fewer bytes need to reach the disk, the writer thread can wait for."""


class Syncing:
    """What has reached the disk of the file ``descriptor``, which its owner closes after the last call.

    ``claim`` is told, in the thread that syncs, of all that is on the disk; ``there`` is, from before.
    """

    def __init__(
        self,
        thread: DiskThread,
        descriptor: int,
        claim: Callable[[tuple[Extent, ...]], None],
        there: Iterable[Extent] = (),
    ) -> None:
        self.unsound = False
        """Whether the disk has lost some of the bytes."""
        self._there = Extents(there)
        self._thread = thread
        self._descriptor = descriptor
        self._claim = claim
        self._fresh = 0
        self._begun_s = time.monotonic()
        self._ended = False
        self._running: Deferred[None] | None = None

    def written(self, start: int, stop: int) -> None:
        """These bytes are written: each EVERY_BYTES are brought to the disk, behind."""
        self._there.add(start, stop)
        self._fresh += stop - start
        if self._running is None and self._is_due():
            self._begin()

    def _is_due(self) -> bool:
        if self._fresh >= EVERY_BYTES:
            return True
        return self._fresh >= ALONE_BYTES and time.monotonic() - self._begun_s >= EVERY_S

    async def nearly_all(self) -> None:
        """Wait until ALONE_BYTES at most are missing on the disk, or a sync has failed."""
        await self._all_but(ALONE_BYTES)

    async def everything(self) -> None:
        """Wait until nothing is, or a sync has failed."""
        await self._all_but(0)

    async def _all_but(self, size_bytes: int) -> None:
        await self._settled()
        if self._fresh > size_bytes:
            self._begin()
            await self._settled()

    def sync(self, descriptor: int, how: Callable[[int], None]) -> None:
        """Sync now, in this thread. OSError."""
        try:
            how(descriptor)
        except OSError:
            self.unsound = True
            raise

    def end(self) -> None:
        """Its owner closes the descriptor; what is under way has one of its own."""
        self._ended = True

    def _begin(self) -> None:
        if self._ended:
            return
        try:
            apart = os.fdopen(os.dup(self._descriptor), "rb", buffering=0)
        except OSError:
            return  # out of descriptors: the commit brings all of it
        self._fresh, self._begun_s = 0, time.monotonic()
        self._running = running = self._thread.run(self._sync_apart, apart, tuple(self._there))
        running.addBoth(_closed, apart)  # also where no job was made of it
        running.addCallbacks(self._done, self._failed)

    def _sync_apart(self, apart: FileIO, there: tuple[Extent, ...]) -> None:
        with apart:
            self.sync(apart.fileno(), durable.sync_data)
        if not self.unsound:
            self._claim(there)

    def _done(self, _: None) -> None:
        self._running = None

    def _failed(self, failure: Failure) -> None:
        """Not told now: the commit says so, if one comes."""
        self._running = None
        failure.trap(StorageFailed)

    async def _settled(self) -> None:
        if self._running is not None:
            waiting: Deferred[None] = Deferred()
            self._running.addBoth(waiting.callback)
            await waiting


def _closed(result: T, file: FileIO) -> T:
    file.close()
    return result
