"""What may be done to a storage folder that no daemon has: under its lock, without a reactor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from regproxy.errors import StorageFailed
from regproxy.oci.digest import Digest
from regproxy.storage.aside import set_aside
from regproxy.storage.layout import Layout
from regproxy.storage.ledger import Ledger
from regproxy.storage.lock import FolderLock
from regproxy.storage.occupancy import Occupancy
from regproxy.storage.owner import check_owner
from regproxy.storage.refusals import storage_failed
from regproxy.storage.rereading import Rereading
from regproxy.storage.scrubbing import blobs_after
from regproxy.storage.version import check_version
from regproxy.upkeep.record import Bad, Ended, Pass, Record, RecordFile
from regproxy.upkeep.schedule import place


@attrs.frozen(slots=True)
class Folder:
    """What setting aside takes."""

    layout: Layout
    ledger: Ledger
    occupancy: Occupancy


@contextmanager
def taken(root: Path) -> Iterator[Folder]:
    """The folder, as nobody else has it. StorageLocked, StorageForeign, StorageFailed."""
    check_owner(root)
    layout = Layout(root)
    try:
        if not root.is_dir() or not check_version(layout):
            raise StorageFailed("there is no storage folder yet")
        lock = FolderLock.take(layout.lock)
    except OSError as error:
        raise storage_failed(error) from None
    try:
        yield Folder(layout, Ledger(layout), Occupancy(layout))
    finally:
        lock.release()


def record_of(root: Path) -> Record:
    """How far the scrub of a folder is. StorageFailed."""
    try:
        return RecordFile(root).read() or Record()
    except OSError as error:
        raise storage_failed(error) from None


def scrub_all(folder: Folder, wall: Callable[[], float]) -> Iterator[tuple[float, Record]]:
    """Hash every blob again, a piece at a time: how much is done, and what was found so far; the end last.
    A pass that was begun and not ended, here or by a daemon, goes on. StorageFailed."""
    file = RecordFile(folder.layout.root)
    try:
        record = file.read(ours=True) or Record()
        running = record.full or Pass(wall())
        while found := blobs_after(folder.layout, running.cursor):
            for digest in found:
                examining = _Examining(folder, digest)
                for _ in examining.pieces():
                    yield place(running.cursor), attrs.evolve(record, full=running)
                why = examining.why
                running = _after(running, digest, examining.size_bytes, why)
                if why is not None:
                    record = record.with_bad(Bad(digest, wall(), why))
            file.write(attrs.evolve(record, full=running))
        ended = Ended(running.began_s, wall(), running.blobs, running.bytes, running.bad, full=True)
        record = attrs.evolve(record, full=None, last=ended)
        file.write(record)
    except OSError as error:
        raise storage_failed(error) from None
    yield 1.0, record


def _after(running: Pass, digest: Digest, size_bytes: int, why: str | None) -> Pass:
    return attrs.evolve(
        running,
        cursor=digest.hex,
        blobs=running.blobs + 1,
        bytes=running.bytes + size_bytes,
        bad=running.bad + (why is not None),
    )


class _Examining:
    """One blob. ``why`` it is bad; None: it is right, or gone."""

    def __init__(self, folder: Folder, digest: Digest) -> None:
        self._folder = folder
        self._digest = digest
        self.size_bytes = 0
        self.why: str | None = None

    def pieces(self) -> Iterator[int]:
        """Hash it, a piece at a time; a bad one is out of the way at the end. OSError, StorageFailed."""
        reading = Rereading.begin(self._digest, self._folder.layout.blob(self._digest))
        if reading is None:
            return
        self.size_bytes = reading.found.st_size
        try:
            for _ in range(2):  # a bad bus or memory must not cost a good blob
                while count := reading.piece():
                    yield count
                if reading.right:
                    self.why = None
                    return
                self.why = "unreadable" if reading.lost else "wrong"
                reading.again()
        finally:
            reading.close()
        set_aside(self._folder, self._digest, reading.found)
