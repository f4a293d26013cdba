"""Spools: a blob on its way onto the disk.

Laws: ``front`` moves only after bytes are written and hashed, in their order; what was placed behind it
is read back when it comes there. After a write that failed none succeeds. Nothing gets its name under
``blobs/`` before its hash is right and its bytes are fsynced; links come after the name, and the map that
would repeat them goes last (invariants 1 and 7). What an earlier fill has left is hashed in a thread of
its own, which alone moves the front until it is past that.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from functools import partial
from io import FileIO
from typing import ParamSpec, TypeAlias, TypeVar

import attrs
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from regproxy.errors import StorageFailed, TransferStopped
from regproxy.extents import Extent, Extents
from regproxy.interfaces import ICloningSpool, Leftover, Validator
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.storage import durable
from regproxy.storage.commits import make_way, write_links
from regproxy.storage.mapfile import MapFile
from regproxy.storage.maps import Commitment, SpoolMap
from regproxy.storage.space import disk_bytes
from regproxy.storage.syncing import Syncing
from regproxy.storage.thread import shield
from regproxy.storage.workshop import SpoolBase, Workshop

P = ParamSpec("P")
T = TypeVar("T")

CATCH_UP_BYTES = 8 * 1024 * 1024
READ_BACK_BYTES = 256 * 1024

Written: TypeAlias = tuple[int, Extent]
"""The new front, and which bytes were written."""
NOTHING: Extent = (0, 0)


def _passed_on(result: T, over: Deferred[None]) -> T:
    over.callback(None)
    return result


@implementer(ICloningSpool)
class Spool(SpoolBase):
    """A new blob: ``fills/<name>.spool`` and its map."""

    def __init__(self, shop: Workshop, name: str, descriptor: int, known: SpoolMap) -> None:
        super().__init__(shop, known.digest, descriptor, name)
        self._name = name
        self._map = MapFile(shop.layout.map(name), known)
        if known.is_leftover and known.size_bytes is not None:
            self.left = Leftover.of(known.size_bytes, known.there, known.validator)
        there = self.left.there if self.left is not None else ()
        self._edge = self.left.start if self.left is not None else 0
        self._placed = Extents(extent for extent in there if extent[0] >= self._edge)
        self._syncing = Syncing(shop.syncer, descriptor, self._claim, there)
        self._refused: OSError | None = None
        self._committing: Deferred[None] | None = None
        self._sealed = False
        self._named = False

    @classmethod
    def create(cls, shop: Workshop, digest: Digest, name: str) -> Spool:
        """Map first, then the file. In the writer thread. OSError."""
        known = SpoolMap(digest)
        shop.leftovers.with_room(MapFile(shop.layout.map(name), known).write)
        try:
            return cls(shop, name, durable.create(shop.layout.spool(name)), known)
        except OSError:
            durable.remove(shop.layout.map(name))
            raise

    @classmethod
    def take(cls, shop: Workshop, digest: Digest) -> Spool | None:
        """Go on with what an earlier fill has left; None where it is gone. In the writer thread. OSError."""
        left = shop.leftovers.take(digest)
        if left is None:
            return None
        if shop.leftovers.find(left.name, left.map) is None:  # somebody cut it, or took it away
            shop.leftovers.remove(left)
            return None
        try:
            return cls(shop, left.name, durable.open_again(shop.layout.spool(left.name)), left.map)
        except OSError:
            shop.leftovers.add(left)
            raise

    def expect(self, size_bytes: int, validator: Validator | None = None) -> Deferred[None]:
        """Allocate the whole file; StorageFailed when the disk has no room, leftovers gone, or the limits
        leave none. Room is asked for what is missing: what an earlier fill has left counts already."""
        missing = size_bytes - self._shop.occupancy.spools.held(self._name)
        if missing <= 0:
            return self._promised(None, size_bytes, validator)
        return self._shop.reserve(missing).addCallback(self._promised, size_bytes, validator)

    def _promised(self, _: None, size_bytes: int, validator: Validator | None) -> Deferred[None]:
        """In the turn in which the room was given: who asks next finds it taken."""
        if self._open and not self._leaving:
            self._shop.occupancy.spools.promise(self._name, size_bytes)
        return self._later(self._expect, size_bytes, validator)

    def _expect(self, size_bytes: int, validator: Validator | None) -> None:
        self._check_unsealed()
        try:
            self._shop.leftovers.with_room(partial(durable.allocate, self.descriptor, size_bytes))
        finally:
            self._count()
        self._map.write(size_bytes=size_bytes, validator=validator)

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
        if self.front >= self._edge:
            return self._written(self._catch_up_alone)
        return Deferred.fromCoroutine(self._hash_again())

    async def _hash_again(self) -> int:
        self._check_open()
        await shield(self._shop.hasher.run(self._hash_left))
        return await self._written(self._catch_up_alone)

    def _hash_left(self) -> None:
        """A slice of what was left here; in the thread that hashes."""
        self._hash_up_to(min(self._edge, self.front + CATCH_UP_BYTES))

    def _written(self, job: Callable[P, Written], *args: P.args, **kwargs: P.kwargs) -> Deferred[int]:
        if self._committing is not None:
            return fail(TransferStopped("the spool is being committed"))
        return self._later(job, *args, **kwargs).addCallback(self._advanced)

    def _append(self, chunks: list[bytes]) -> Written:
        if self.front < self._edge:
            raise RuntimeError("what was left here comes first")
        content, start = b"".join(chunks), self.front
        self._write(content, start)
        self._hash.update(content)
        self.front += len(content)
        return self._catch_up(), (start, start + len(content))

    def _place(self, offset: int, chunks: list[bytes]) -> Written:
        if offset == self.front:
            return self._append(chunks)
        if offset < max(self.front, self._edge):
            raise RuntimeError("bytes before the front are hashed already, or were left here")
        content = b"".join(chunks)
        self._write(content, offset)
        self._placed.add(offset, offset + len(content))
        return self._catch_up(), (offset, offset + len(content))

    def _count(self) -> None:
        self._shop.occupancy.spools.took(self._name, disk_bytes(os.fstat(self.descriptor)))

    def _write(self, content: bytes, offset: int) -> None:
        self._check_unsealed()
        if self._refused is not None:
            raise self._refused
        try:
            write = partial(durable.write_all, self.descriptor, content, offset)
            self._shop.leftovers.with_room(write)
        except OSError as error:
            self._refused = error
            raise
        finally:
            self._count()

    def _catch_up_alone(self) -> Written:
        return self._catch_up(), NOTHING

    def _catch_up(self) -> int:
        """One slice, so that other fills have their turn."""
        if not self._placed or self.front < self._edge:
            return self.front
        self._hash_up_to(min(self._placed.reach(self.front), self.front + CATCH_UP_BYTES))
        self._placed.remove(0, self.front)
        return self.front

    def _hash_up_to(self, stop: int) -> None:
        while self.front < stop:
            content = os.pread(self.descriptor, min(READ_BACK_BYTES, stop - self.front), self.front)
            if not content:
                raise OSError(errno.EIO, "the spool is shorter than what was written")
            self._hash.update(content)
            self.front += len(content)

    def _advanced(self, written: Written) -> int:
        front, (start, stop) = written
        if self._open and start < stop:
            self._syncing.written(start, stop)
        return front

    def _claim(self, there: tuple[Extent, ...]) -> None:
        """These bytes have reached the disk; in the thread that syncs."""
        self._map.claim(there, self._shop.leftovers.now_s())

    def commit(self, proofs: Mapping[Repository, float]) -> Deferred[None]:
        """As :meth:`SpoolBase.commit`, once its many bytes have reached the disk."""
        self._committing = committing = Deferred.fromCoroutine(self._commit_synced(proofs))
        if committing.called:
            self._committing = None
        return shield(committing)

    async def _commit_synced(self, proofs: Mapping[Repository, float]) -> None:
        if self._open and not self._leaving:
            await self._syncing.nearly_all()
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
        sources = self._map.known.sources
        if repository not in sources:
            self._map.write(sources=(*sources, repository))

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
        done = self._map.known.commitment
        if done is not None:
            everyone = {**done.proofs, **proofs}
            write_links(self._shop.ledger, self.digest, attrs.evolve(done, proofs=everyone))
        self._map.remove()
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
        self._map.write(size_bytes=self.front, commitment=done)

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
        """What the disk keeps all the same counts on, until a survey or the eviction takes it."""
        self._shop.occupancy.spools.settle(self._name)
        if not self._named:
            found = os.fstat(self.descriptor)
            durable.remove(self._shop.layout.spool(self._name))
            self._shop.occupancy.lost_spool(self._name, found)
            self._map.remove()

    def keep(self) -> Deferred[None]:
        """As :meth:`ISpool.keep`; after a commit that is under way, as discard."""
        return shield(Deferred.fromCoroutine(self._keep_all()))

    async def _keep_all(self) -> None:
        await self._after_commit()
        if self._open and not self._leaving:
            await self._syncing.everything()
        await self._leave(self._keep)

    def _keep(self) -> None:
        known = self._map.known
        if self._named or self._syncing.unsound or not known.is_leftover:
            self._discard()
            return
        self._shop.occupancy.spools.settle(self._name)
        durable.truncate(self.descriptor, known.there[-1][1])
        self._map.write()
        left = self._shop.leftovers.find(self._name, known)
        if left is None:  # somebody took it away
            self._discard()
        else:
            self._shop.leftovers.add(left)

    def _quiet(self) -> Deferred[None]:
        return self._shop.hasher.run(_nothing) if self._edge else super()._quiet()


def _nothing() -> None:
    """Whoever waits for it knows that what was asked for before is done."""
