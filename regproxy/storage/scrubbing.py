"""Complete blobs looked at again: which there are, what their bytes are, and what becomes of bad ones.

Laws: reading and hashing have a thread of idle priority of their own. Nothing is set aside for one bad
reading: it is read again first. What is done about it is done in the writer thread, and only to the very file
that was read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from zope.interface import implementer

from regproxy.interfaces import Examined, IScrubbed, Kind, Verdict
from regproxy.oci.digest import HEX_LENGTH, Digest
from regproxy.oci.repository import Repository
from regproxy.storage.aside import Rooms, set_aside
from regproxy.storage.idle import give_way
from regproxy.storage.layout import Layout, parse_blob
from regproxy.storage.occupancy import regular
from regproxy.storage.rereading import Rereading
from regproxy.storage.thread import DiskThread

_log = Logger()
_LAST = 255


def blobs_after(layout: Layout, cursor: str) -> list[Digest]:
    """The blobs of the first folder that has some behind ``cursor``, in order. A folder that cannot be read
    is passed over as long as there are others. OSError where nothing else is left."""
    first = int(cursor[:2].ljust(2, "0"), 16) if cursor else 0
    trouble: OSError | None = None
    for number in range(first, _LAST + 1):
        try:
            found = [digest for digest in _blobs_in(layout, f"{number:02x}") if digest.hex > cursor]
        except OSError as error:
            trouble = error
            continue
        if found:
            return sorted(found, key=lambda digest: digest.hex)
    if trouble is not None:
        raise trouble
    return []


def _blobs_in(layout: Layout, prefix: str) -> list[Digest]:
    found = []
    for algorithm in HEX_LENGTH:
        for name in _names(layout.blobs / algorithm / prefix):
            digest = parse_blob((algorithm, prefix, name))
            if digest is not None:
                found.append(digest)
    return found


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


@implementer(IScrubbed)
class Scrubbing:
    """Over the blobs of one store."""

    def __init__(self, rooms: Rooms, reactor: IReactorFromThreads, writer: DiskThread) -> None:
        self._rooms = rooms
        self._writer = writer
        self._thread = DiskThread(reactor, "regproxy-scrub")
        self._settled = False

    def stop(self) -> Deferred[None]:
        """End the thread."""
        return self._thread.stop()

    def held_bytes(self) -> int:
        """As :meth:`IScrubbed.held_bytes`."""
        return self._rooms.occupancy.now.blob_bytes

    def blobs_after(self, cursor: str) -> Deferred[Sequence[Digest]]:
        """As :meth:`IScrubbed.blobs_after`."""
        if not self._settled:
            self._settled = True
            self._thread.run(give_way)
        return self._thread.run(blobs_after, self._rooms.layout, cursor)

    def examine(
        self, digest: Digest, wanted: Callable[[float], bool], rest: Callable[[int], Deferred[None]]
    ) -> Deferred[Examined]:
        """As :meth:`IScrubbed.examine`."""
        return Deferred.fromCoroutine(self._examine(digest, wanted, rest))

    async def _examine(
        self, digest: Digest, wanted: Callable[[float], bool], rest: Callable[[int], Deferred[None]]
    ) -> Examined:
        path = self._rooms.layout.blob(digest)
        reading = await self._thread.run(Rereading.begin, digest, path)
        if reading is None:
            return Examined(Verdict.GONE)
        try:
            if not wanted(reading.found.st_mtime):
                return Examined(Verdict.YOUNG)
            for _ in range(2):  # a bad bus or memory must not cost a good blob
                while count := await self._thread.run(reading.piece):
                    await rest(count)
                if reading.right:
                    return Examined(Verdict.RIGHT, reading.found.st_size)
                lost = reading.lost
                await self._thread.run(reading.again)
            return await self._writer.run(self._condemn, digest, reading.found, lost)
        finally:
            self._thread.run(reading.close).addErrback(lambda _: reading.close())

    def _condemn(self, digest: Digest, found: os.stat_result, lost: bool) -> Examined:
        """In the writer thread."""
        there = regular(self._rooms.layout.blob(digest))
        if there is None or _identity(there) != _identity(found):
            return Examined(Verdict.GONE)
        holders: tuple[tuple[Repository, Kind], ...] = self._rooms.ledger.holders(digest)
        set_aside(self._rooms, digest, found)
        _log.error(
            "{digest} ({size} bytes) {what}; it is served no more, and fetched again when it is asked for",
            digest=str(digest),
            size=found.st_size,
            what="cannot be read any more" if lost else "is not what it was: the disk has changed its bytes",
        )
        return Examined(Verdict.UNREADABLE if lost else Verdict.WRONG, found.st_size, holders)


def _identity(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
