"""A spool's way to the disk's platters: many bytes in a thread of their own, the last ones with the commit.

Laws: the writer thread, which all fills share, waits for few bytes only. The system reports lost
pages once, and the next sync succeeds: a file of which one sync failed is unsound for good.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from io import FileIO
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from regproxy.errors import StorageFailed
from regproxy.storage import durable
from regproxy.storage.thread import DiskThread

T = TypeVar("T")

EVERY_BYTES = 32 * 1024 * 1024
ALONE_BYTES = 1024 * 1024
"""What fewer bytes need to reach the disk, the writer thread can wait for."""


class Syncing:
    """What has reached the disk of the file ``descriptor``, which its owner closes after the last call."""

    def __init__(self, thread: DiskThread, descriptor: int) -> None:
        self.unsound = False
        """Whether the disk has lost some of the bytes."""
        self._thread = thread
        self._descriptor = descriptor
        self._begun = 0
        self._ended = False
        self._running: Deferred[None] | None = None

    def written(self, front: int) -> None:
        """So many bytes are written: each EVERY_BYTES are brought to the disk, behind."""
        if front - self._begun >= EVERY_BYTES and self._running is None:
            self._begin(front)

    async def nearly_all(self, front: int) -> None:
        """Wait until less than ALONE_BYTES of ``front`` are missing on the disk, or a sync has failed."""
        await self._settled()
        if front - self._begun > ALONE_BYTES:
            self._begin(front)
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

    def _begin(self, front: int) -> None:
        if self._ended:
            return
        try:
            apart = os.fdopen(os.dup(self._descriptor), "rb", buffering=0)
        except OSError:
            return  # out of descriptors: the commit brings all of it
        self._begun = front
        self._running = running = self._thread.run(self._sync_apart, apart)
        running.addBoth(_closed, apart)  # also where no job was made of it
        running.addCallbacks(self._done, self._failed)

    def _sync_apart(self, apart: FileIO) -> None:
        with apart:
            self.sync(apart.fileno(), durable.sync_data)

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
