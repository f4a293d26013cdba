"""Spools: a blob on its way onto the disk, or back into trust.

Laws: one file descriptor each, used by jobs in the writer thread, duplicated for readers, and
closed in the reactor's thread after the last job. ``front`` moves only after bytes are written and
hashed, in their order; what was placed behind it is read back when it comes there. After a write
that failed none succeeds. Nothing gets its name under ``blobs/`` before its hash is right and its
bytes are fsynced; links come after the name, and the map that would repeat them goes last
(invariants 1 and 7).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from io import FileIO
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from regproxy.errors import StorageFailed, TransferStopped
from regproxy.extents import Extents
from regproxy.interfaces import ICloningSpool, IFile
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.singleflight import Waiters
from regproxy.storage import durable
from regproxy.storage.commits import make_way, write_links
from regproxy.storage.files import Files
from regproxy.storage.layout import Layout
from regproxy.storage.ledger import Ledger
from regproxy.storage.maps import Commitment, SpoolMap, encode_map
from regproxy.storage.occupancy import Occupancy
from regproxy.storage.space import disk_bytes
from regproxy.storage.syncing import Syncing
from regproxy.storage.thread import DiskThread, shield
from regproxy.storage.underway import UnderWay

if TYPE_CHECKING:
    from hashlib import _Hash

P = ParamSpec("P")
T = TypeVar("T")

CATCH_UP_BYTES = 8 * 1024 * 1024
READ_BACK_BYTES = 256 * 1024


@attrs.frozen(slots=True)
class Workshop:
    """What a spool works with."""

    layout: Layout
    ledger: Ledger
    files: Files
    writer: DiskThread
    syncer: DiskThread
    occupancy: Occupancy
    under_way: UnderWay
    settled: Callable[[Digest], object]
    """Called when the vacuum waits for the last spool of a digest to close, and it has."""
    reserve: Callable[[int], Deferred[None]]
    """Asked before so many bytes are taken from the disk, as :meth:`IRoom.reserve`."""


class SpoolBase:
    """What new and adopted spools share: the hash, the descriptor's life, the calls into the thread."""

    def __init__(
        self, shop: Workshop, digest: Digest, descriptor: int, files_name: str | None = None
    ) -> None:
        self.digest: Digest = digest
        self._files_name = files_name
        shop.under_way.begin(digest, files_name)
        self.front: int = 0
        self._shop = shop
        self.descriptor = descriptor
        self._hash: _Hash = digest.hasher()
        self._open = True
        self._leaving = False
        self._left: Waiters[None] = Waiters()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.digest} front={self.front} open={self._open}>"

    def matches(self) -> bool:
        """Whether the bytes up to the front are what the digest names."""
        return self._hash.hexdigest() == self.digest.hex

    def hasher(self) -> _Hash:
        """A copy of the hash of the bytes up to the front."""
        return self._hash.copy()

    def file(self) -> IFile:
        """A descriptor of its own; TransferStopped once the spool is closed."""
        if not self._open:
            raise TransferStopped("the spool is closed")
        return self._shop.files.duplicate(self.descriptor)

    def commit(self, proofs: Mapping[Repository, float]) -> Deferred[None]:
        """Make it the blob, with a link for each of ``proofs``. After a failure it may be tried again."""
        return shield(self._later(self._commit, dict(proofs)).addCallback(self._close))

    def _commit(self, proofs: Mapping[Repository, float]) -> None:
        raise NotImplementedError

    def _check_hash(self) -> None:
        if not self.matches():
            raise StorageFailed("the bytes are not what their digest names; nothing was kept")

    def _later(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """``job`` in the writer thread, unless the spool is closed or about to be."""
        if self._leaving or not self._open:
            return fail(TransferStopped("the spool is closed"))
        return self._shop.writer.run(job, *args, **kwargs)

    def _leave(self, job: Callable[[], None]) -> Deferred[None]:
        """Run the last job, then close; whoever asks again waits for the same end."""
        if not self._open:
            return succeed(None)
        waiter = self._left.add()
        if not self._leaving:
            self._leaving = True
            self._shop.writer.run(job).addCallbacks(self._gone, self._failed_to_go)
        return waiter

    def _gone(self, _: None) -> None:
        self._close(None)
        self._left.fire(None)

    def _failed_to_go(self, failure: Failure) -> None:
        self._close(None)
        self._left.fail(failure.value or StorageFailed("the spool could not be removed"))

    def _close(self, _: None) -> None:
        if self._open:
            self._open = False
            os.close(self.descriptor)
            if self._files_name is not None:
                self._shop.occupancy.spools.drop(self._files_name)
            if self._shop.under_way.end(self.digest, self._files_name):
                self._shop.settled(self.digest)


def _passed_on(result: T, over: Deferred[None]) -> T:
    over.callback(None)
    return result


@implementer(ICloningSpool)
class Spool(SpoolBase):
    """A new blob: ``fills/<name>.spool`` and its map."""

    def __init__(self, shop: Workshop, digest: Digest, name: str, descriptor: int) -> None:
        super().__init__(shop, digest, descriptor, name)
        self._name = name
        self._map = SpoolMap(digest)
        self._syncing = Syncing(shop.syncer, descriptor)
        self._placed = Extents()
        self._refused: OSError | None = None
        self._committing: Deferred[None] | None = None
        self._sealed = False
        self._named = False

    @classmethod
    def create(cls, shop: Workshop, digest: Digest, name: str) -> Spool:
        """Map first, then the file. In the writer thread. OSError."""
        durable.write_atomic(shop.layout.map(name), encode_map(SpoolMap(digest)))
        try:
            return cls(shop, digest, name, durable.create(shop.layout.spool(name)))
        except OSError:
            durable.remove(shop.layout.map(name))
            raise

    def expect(self, size_bytes: int) -> Deferred[None]:
        """Allocate the whole file; StorageFailed when the disk has no room, or the limits leave none."""
        return self._shop.reserve(size_bytes).addCallback(self._promised, size_bytes)

    def _promised(self, _: None, size_bytes: int) -> Deferred[None]:
        """In the turn in which the room was given: who asks next finds it taken."""
        if self._open:
            self._shop.occupancy.spools.promise(self._name, size_bytes)
        return self._later(self._expect, size_bytes)

    def _expect(self, size_bytes: int) -> None:
        self._check_unsealed()
        durable.allocate(self.descriptor, size_bytes)
        self._count()
        self._write_map(attrs.evolve(self._map, size_bytes=size_bytes))

    def clone(self, source: int, size_bytes: int) -> Deferred[bool]:
        """As :meth:`ICloningSpool.clone`."""
        return self._shop.reserve(size_bytes).addCallback(self._cloning, source, size_bytes)

    def _cloning(self, _: None, source: int, size_bytes: int) -> Deferred[bool]:
        if self._leaving or not self._open:
            return fail(TransferStopped("the spool is closed"))
        own = os.fdopen(os.dup(source), "rb", buffering=0)  # whoever leaves may close the other one
        return self._later(self._clone, own, size_bytes)

    def _clone(self, source: FileIO, size_bytes: int) -> bool:
        with source:
            self._check_unsealed()
            if self.front or self._placed or not durable.clone(self.descriptor, source.fileno()):
                return False
        durable.truncate(self.descriptor, size_bytes)
        self._count()
        self._placed.add(0, size_bytes)
        return True

    def append(self, chunks: list[bytes]) -> Deferred[int]:
        """Write and hash ``chunks`` after the front; a failed append leaves the front where it was."""
        return self._written(self._append, chunks)

    def place(self, offset: int, chunks: list[bytes]) -> Deferred[int]:
        """As :meth:`ISpool.place`."""
        return self._written(self._place, offset, chunks)

    def catch_up(self) -> Deferred[int]:
        """As :meth:`ISpool.catch_up`."""
        return self._written(self._catch_up)

    def _written(self, job: Callable[P, int], *args: P.args, **kwargs: P.kwargs) -> Deferred[int]:
        if self._committing is not None:
            return fail(TransferStopped("the spool is being committed"))
        return self._later(job, *args, **kwargs).addCallback(self._advanced)

    def _append(self, chunks: list[bytes]) -> int:
        content = b"".join(chunks)
        self._write(content, self.front)
        self._hash.update(content)
        self.front += len(content)
        return self._catch_up()

    def _place(self, offset: int, chunks: list[bytes]) -> int:
        if offset == self.front:
            return self._append(chunks)
        if offset < self.front:
            raise RuntimeError("bytes before the front are hashed already")
        content = b"".join(chunks)
        self._write(content, offset)
        self._placed.add(offset, offset + len(content))
        return self._catch_up()

    def _count(self) -> None:
        self._shop.occupancy.spools.took(self._name, disk_bytes(os.fstat(self.descriptor)))

    def _write(self, content: bytes, offset: int) -> None:
        self._check_unsealed()
        if self._refused is not None:
            raise self._refused
        try:
            durable.write_all(self.descriptor, content, offset)
        except OSError as error:
            self._refused = error
            raise
        finally:
            self._count()

    def _catch_up(self) -> int:
        """One slice, so that other fills have their turn."""
        if not self._placed:
            return self.front
        stop = min(self._placed.reach(self.front), self.front + CATCH_UP_BYTES)
        while self.front < stop:
            content = os.pread(self.descriptor, min(READ_BACK_BYTES, stop - self.front), self.front)
            if not content:
                raise OSError(errno.EIO, "the spool is shorter than what was written")
            self._hash.update(content)
            self.front += len(content)
        self._placed.remove(0, self.front)
        return self.front

    def _advanced(self, front: int) -> int:
        if self._open:
            self._syncing.written(front)
        return front

    def commit(self, proofs: Mapping[Repository, float]) -> Deferred[None]:
        """As :meth:`SpoolBase.commit`, once its many bytes have reached the disk."""
        self._committing = committing = Deferred.fromCoroutine(self._commit_synced(proofs))
        if committing.called:
            self._committing = None
        return shield(committing)

    async def _commit_synced(self, proofs: Mapping[Repository, float]) -> None:
        if self._open and not self._leaving:
            await self._syncing.nearly_all(self.front)
        try:
            await super().commit(proofs)
        finally:
            self._committing = None

    def _close(self, _: None) -> None:
        self._syncing.end()
        super()._close(_)

    def _check_unsealed(self) -> None:
        """A call that came after commit() must not change what has its name now."""
        if self._sealed:
            raise TransferStopped("the spool is being committed")

    def add_source(self, repository: Repository) -> Deferred[None]:
        """Note in the map that ``repository`` waits for this blob, and that its upstream has it."""
        return self._later(self._add_source, repository)

    def _add_source(self, repository: Repository) -> None:
        self._check_unsealed()
        if repository not in self._map.sources:
            self._write_map(attrs.evolve(self._map, sources=(*self._map.sources, repository)))

    def _commit(self, proofs: Mapping[Repository, float]) -> None:
        self._check_hash()
        if self._syncing.unsound:
            raise StorageFailed("the disk has lost some of the bytes; nothing was kept")
        layout = self._shop.layout
        if not self._named:
            self._seal(proofs)
            make_way(layout, self.digest)
            with self._shop.occupancy.changing(self.digest):
                durable.move(layout.spool(self._name), layout.blob(self.digest))
            self._named = True
            self._shop.occupancy.spools.drop(self._name)
        durable.sync_folder(layout.blob(self.digest).parent)
        durable.sync_folder(layout.fills)
        done = self._map.commitment
        if done is not None:
            everyone = {**done.proofs, **proofs}
            write_links(self._shop.ledger, self.digest, attrs.evolve(done, proofs=everyone))
        durable.remove(layout.map(self._name))
        self._shop.ledger.promised.difference_update(done.proofs if done is not None else ())

    def _seal(self, proofs: Mapping[Repository, float]) -> None:
        """Bytes, times and the intention on disk: from the rename on, a kill only delays the links."""
        self._sealed = True
        descriptor, known = self.descriptor, self._shop.ledger.mtime_ns(self.digest)
        durable.truncate(descriptor, self.front)
        durable.set_mode(descriptor, durable.BLOB_MODE)
        durable.set_mtime(descriptor, known)
        self._syncing.sync(descriptor, durable.sync_file)
        mtime_ns = os.fstat(descriptor).st_mtime_ns
        done = Commitment(self.front, mtime_ns, proofs)
        self._shop.ledger.promise(proofs)
        self._write_map(attrs.evolve(self._map, size_bytes=self.front, commitment=done))

    def discard(self) -> Deferred[None]:
        """Remove it; nothing after commit. One that got its name already keeps it, and its map.

        A commit that is under way comes first: what was verified is not thrown away.
        """
        return shield(self._after_commit().addCallback(lambda _: self._leave(self._discard)))

    def _after_commit(self) -> Deferred[None]:
        over: Deferred[None] = Deferred()
        if self._committing is None:
            over.callback(None)
        else:
            self._committing.addBoth(_passed_on, over)
        return over

    def reject(self) -> Deferred[None]:
        """Its bytes are wrong: as discard."""
        return self._leave(self._discard)

    def _discard(self) -> None:
        if not self._named:
            found = os.fstat(self.descriptor)
            durable.remove(self._shop.layout.spool(self._name))
            self._shop.occupancy.open_files.unlinked(found)
            self._shop.occupancy.spools.drop(self._name)
            durable.remove(self._shop.layout.map(self._name))

    def _write_map(self, changed: SpoolMap) -> None:
        durable.write_atomic(self._shop.layout.map(self._name), encode_map(changed))
        self._map = changed
