"""The disk store: one folder, one process, one writer thread."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import cast

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from regproxy.errors import StorageFailed
from regproxy.interfaces import (
    UNLIMITED,
    DiskUse,
    IBlob,
    IBlobSource,
    IEvictable,
    IHoldings,
    ILocalStore,
    IManifestSource,
    IPurges,
    IRemovals,
    IRoom,
    IScrubbed,
    ISpool,
    IStock,
    Kind,
    Leftover,
    Link,
    TagRecord,
)
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag
from regproxy.storage.content import DiskBlobs, DiskManifests, Shelf
from regproxy.storage.counting import Counter
from regproxy.storage.files import Files
from regproxy.storage.fingerprints import Fingerprints
from regproxy.storage.health import DiskHealth, probe
from regproxy.storage.keeping import Keeper
from regproxy.storage.layout import Layout
from regproxy.storage.ledger import Ledger
from regproxy.storage.leftovers import FULL, Leftovers
from regproxy.storage.lock import FolderLock
from regproxy.storage.mending import Mender
from regproxy.storage.names import first_names
from regproxy.storage.occupancy import Occupancy, Occupied
from regproxy.storage.purging import Purges
from regproxy.storage.recovery import recover
from regproxy.storage.refusals import storage_failed
from regproxy.storage.remembered import Remembered
from regproxy.storage.revocations import Revocations
from regproxy.storage.scrubbing import Scrubbing
from regproxy.storage.spooling import Spooling
from regproxy.storage.stock import Stock
from regproxy.storage.survey import Survey, Surveyor
from regproxy.storage.tags import look_at_tag, tag_names
from regproxy.storage.telling import Teller
from regproxy.storage.thread import DiskThread, shield
from regproxy.storage.underway import UnderWay
from regproxy.storage.workshop import Workshop

REMEMBERED_TAGS = 4096


@implementer(ILocalStore, IRemovals, IEvictable)
class DiskStore:
    """Content, links and tags below ``root``. Made by ``opening``, which locks the folder."""

    def __init__(
        self,
        root: Path,
        reactor: IReactorFromThreads,
        writer: DiskThread,
        reader: DiskThread,
        wall: Callable[[], float],
        health: DiskHealth,
        lock: FolderLock | None = None,
    ) -> None:
        self._layout = Layout(root)
        self.health = health
        self._lock = lock
        self._writer = writer
        self._reader = reader
        self._own = DiskThread(reactor, "regproxy-survey")
        self._syncer = DiskThread(reactor, "regproxy-syncer", health.refused)
        self._hasher = DiskThread(reactor, "regproxy-hasher", health.refused)
        self._teller = Teller(reactor)
        self._occupancy = Occupancy(self._layout)
        self._files = Files(reader, self._occupancy.open_files)
        self._leftovers = Leftovers(self._layout, wall, self._occupancy)
        under_way = UnderWay()
        self.stock: IStock = Stock(self._layout, under_way)
        self._room: IRoom = UNLIMITED
        self._ledger = Ledger(self._layout, self._teller)
        self._revocations = Revocations(self._layout, wall, self._ledger)
        self._ledger.before_link = self._revocations.record
        self._fingerprints = Fingerprints(self._layout, reader, writer, self.revoke_upstream)
        self._keeper = Keeper(self._layout, self._ledger, self._occupancy, under_way, self._teller)
        self.purges: IPurges = Purges(self._layout, self._keeper, self._own, writer)
        self._counter = Counter(
            self._layout, self._ledger, self._keeper, self._occupancy, under_way, self._leftovers
        )
        self._mender = Mender(self._keeper, under_way)
        self._surveyor = Surveyor(
            self._layout,
            self._counter,
            self._mender,
            self._own,
            writer,
            self._teller,
            cast(IReactorTime, reactor),
        )
        self._scrubbing = Scrubbing(self._keeper, reactor, writer)
        self.scrubbed: IScrubbed = self._scrubbing
        self._shelf = Shelf(self._layout, self._ledger, self._files, self._revocations, writer)
        shop = Workshop(
            self._layout,
            self._ledger,
            self._files,
            writer,
            self._syncer,
            self._hasher,
            self._occupancy,
            under_way,
            self._leftovers,
            self._settled,
            lambda size_bytes: self._room.reserve(size_bytes),
        )
        self._spooling = Spooling(shop)
        self.blobs: IBlobSource = DiskBlobs(self._shelf)
        self._manifests = DiskManifests(self._shelf, self._recheck)
        self.manifests: IManifestSource = self._manifests
        self._tags: Remembered[tuple[Repository, Tag], TagRecord | None] = Remembered(
            lambda key: self._layout.tags(key[0]) / key[1].name, look_at_tag, None, REMEMBERED_TAGS
        )

    def __repr__(self) -> str:
        return f"<DiskStore {self._layout.root} {self._ledger!r} writer={self._writer!r}>"

    # what is there

    def link(self, repository: Repository, digest: Digest) -> tuple[Kind, Link] | None:
        """The link record, as a blob or else as a manifest, revoked or not."""
        for kind in Kind:
            link = self._shelf.link(repository, digest, kind)
            if link is not None:
                return kind, link
        return None

    def holds(self, digest: Digest) -> int | None:
        """The size of the file under ``digest``."""
        try:
            found = os.lstat(self._layout.blob(digest))
        except OSError:
            return None
        known = stat.S_ISREG(found.st_mode) and not self._ledger.spoilt.is_wrong(digest, found)
        return found.st_size if known else None

    def refuses(self) -> bool:
        """Whether the disk is known to take no writes now."""
        return self.health.trouble is not None

    def tag(self, repository: Repository, tag: Tag) -> TagRecord | None:
        """What is known of a tag."""
        return self._tags.get((repository, tag))

    def peek_tag(self, repository: Repository, tag: Tag) -> TagRecord | None:
        """As :meth:`tag`, for who looks at many: memory is left to those that clients ask for."""
        return self._tags.peek((repository, tag))

    def manifest_at_hand(self, repository: Repository, digest: Digest) -> Manifest | None:
        """A manifest that is in memory, by right; None says nothing."""
        return self._manifests.at_hand(repository, digest)

    def tags(self, repository: Repository) -> Deferred[tuple[str, ...]]:
        """The names of all tags on disk, sorted."""
        return self._reader.run(tag_names, self._layout.tags(repository))

    def repositories(
        self, upstream: str, visible: Callable[[Repository], bool], after: str | None, count: int
    ) -> Deferred[tuple[str, ...]]:
        """Names of repositories that hold something; ``visible`` is asked in another thread."""
        return self._own.run(first_names, self._layout, upstream, visible, after, count)

    def stamp(self, repository: Repository) -> float:
        """The moment for a proof that is about to be asked for."""
        return self._revocations.stamp(repository)

    def revoked_s(self, repository: Repository) -> float:
        """When the repository or its upstream was last revoked; 0.0 for never."""
        return self._revocations.revoked_s(repository)

    def survey_by(self, files_s: float | None, kept: Callable[[str], bool]) -> None:
        """Look at so many files in a second at most; ``kept`` says, in any thread, which keys pins keep."""
        self._surveyor.files_s = files_s
        self._mender.kept = kept

    def survey(self) -> Deferred[Survey]:
        """Go through the folder behind everything else; TransferStopped when the store closes."""
        return self._surveyor.run().addCallback(self._redate)

    def _redate(self, found: Survey) -> Deferred[Survey]:
        """What was revoked before all links were known is dated after those."""
        redating = self._writer.run(self._revocations.redate)
        return redating.addErrback(_left_for_later).addCallback(lambda _: found)

    def census(self) -> Deferred[None]:
        """Count what complete blobs take, which is soon done; before the first survey."""
        return Deferred.fromCoroutine(self._surveyor.census())

    def disk_use(self) -> DiskUse:
        """As :meth:`IEvictable.disk_use`."""
        now, spools = self._occupancy.now, self._occupancy.spools
        unlinked = self._occupancy.open_files.unlinked_bytes
        return DiskUse(now.disk_bytes, spools.held_bytes, spools.pending_bytes, unlinked, now.counted)

    def settled(self) -> bool:
        """As :meth:`IEvictable.settled`."""
        return self._ledger.complete

    def drop_spool(self, name: str) -> Deferred[bool]:
        """As :meth:`IEvictable.drop_spool`; the map goes first, so that what it may still link is linked."""
        return self._writer.run(self._drop_spool, name)

    def _drop_spool(self, name: str) -> bool:
        try:
            if self._leftovers.drop_named(name):
                return True
        except OSError as error:
            raise storage_failed(error) from None
        gone = [self._counter.spool(f"{name}.{end}") for end in ("map", "spool")]
        return any(gone)

    def limit(self, room: IRoom) -> None:
        """Ask ``room`` from now on before a transfer takes disk."""
        self._room = room

    def capacity_bytes(self) -> int | None:
        """As :meth:`IRoom.capacity_bytes`."""
        return self._room.capacity_bytes()

    @property
    def occupied(self) -> Occupied:
        """How much lies on disk: complete content, as events and the last survey say, and what fills left."""
        kept = self._occupancy.spools
        return attrs.evolve(self._occupancy.now, spools=kept.kept, spool_bytes=kept.kept_bytes)

    @property
    def removed(self) -> Occupied:
        """How much complete content has left the disk since the start."""
        return self._occupancy.removed

    def room(self) -> Deferred[tuple[int, int]]:
        """Bytes of the file system that are free for this user, and all of them; StorageFailed."""
        return self._reader.run(_room_of, self._layout.root)

    def watch(self, watcher: IHoldings) -> None:
        """Tell ``watcher`` from now on of all that comes, goes and is found."""
        self._teller.watcher = watcher

    # content

    def spool(self, digest: Digest) -> Deferred[ISpool]:
        """A new, empty spool; StorageFailed. Cancelled, it is removed again."""
        return self._spooling.new(digest)

    def left(self, digest: Digest) -> Leftover | None:
        """What an earlier fill has left of it."""
        return self._spooling.left(digest)

    def take(self, digest: Digest) -> Deferred[ISpool | None]:
        """The spool with what was left, None where it is gone; StorageFailed. Cancelled, it is left again."""
        return self._spooling.take(digest)

    def adopt(self, digest: Digest) -> Deferred[tuple[ISpool, IBlob]]:
        """An untrusted file: its bytes, and the spool that hashes them; ContentMissing."""
        return self._spooling.adopt(digest)

    def put(self, repository: Repository, manifest: Manifest, since_s: float) -> Deferred[None]:
        """Write a manifest and its link; InvalidManifest when its digest is not of its bytes."""
        return self._writer.run(self._keeper.put, repository, manifest, since_s)

    def grant(
        self, repository: Repository, digest: Digest, kind: Kind, media_type: str, source: str, since_s: float
    ) -> Deferred[None]:
        """Write or renew a link to what is on disk; ContentMissing.

        Where nothing vouches for the bytes yet, opening them says ContentUntrusted.
        """
        return self._writer.run(self._keeper.grant, repository, digest, kind, media_type, source, since_s)

    def unlink(self, repository: Repository, digest: Digest, kind: Kind) -> Deferred[bool]:
        """Remove a link; with the last one the blob goes too, but not before a survey has finished.

        Whether the blob went.
        """
        return self._writer.run(self._keeper.unlink, repository, digest, kind)

    def expire(self, repository: Repository, reference: Reference, due: Callable[[], bool]) -> Deferred[bool]:
        """As :meth:`IRemovals.expire`; no blob goes before a survey has finished, or under a fill."""
        return self._writer.run(self._keeper.expire, repository, reference, due)

    def _settled(self, digest: Digest) -> None:
        self._writer.run(self._keeper.reconsider, digest).addErrback(_left_for_later)

    def _recheck(self, repository: Repository, digest: Digest) -> Deferred[None]:
        return self._writer.run(self._keeper.recheck, repository, digest)

    # tags

    def set_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> Deferred[None]:
        """Write the record, its history carried on from the one before."""
        return self._writer.run(self._keeper.set_tag, repository, tag, record)

    def drop_tag(self, repository: Repository, tag: Tag) -> Deferred[None]:
        """Forget the tag; idempotent."""
        return self._writer.run(self._keeper.drop_tag, repository, tag)

    # permission

    def revoke(self, repository: Repository) -> Deferred[None]:
        """From now on every link of the repository needs a new proof; on disk when it fires.

        Where the disk holds nothing of the repository it counts in memory, for what is under way.
        """
        revoked_s = self._revocations.announce(self._layout.revoked(repository))
        return self._writer.run(self._revocations.write_known, repository, revoked_s)

    def revoke_upstream(self, upstream: str) -> Deferred[None]:
        """The same for all repositories of an upstream."""
        record = self._layout.upstream_revoked(upstream)
        return self._writer.run(self._revocations.write, record, self._revocations.announce(record))

    def credential_changed(self, upstream: str, fingerprint: bytes) -> Deferred[bool]:
        """Whether an upstream is used with another credential than before: it is revoked then.

        ``fingerprint`` is made of name and password, empty for anonymous. The revocation counts
        even when the Deferred fails with StorageFailed since the disk takes no record.
        """
        return self._fingerprints.changed(upstream, fingerprint)

    # the end

    def look_for_room(self) -> OSError | None:
        """Why the disk takes no writes now, leftovers gone; None when it does. In the writer thread."""
        error = probe(self._layout)
        full = error is not None and error.errno in FULL
        return probe(self._layout) if full and self._leftovers.clear() else error

    def recover(self) -> int:
        """Finish commits that a kill interrupted, keep what fills can go on from, remove other spools.

        Before serving. OSError.
        """
        return recover(self._layout, self._ledger, self._leftovers)

    def close(self) -> Deferred[None]:
        """Finish what is queued, end the threads, release the folder; idempotent."""
        return shield(Deferred.fromCoroutine(self._close()))

    async def _close(self) -> None:
        self._surveyor.stop()
        self.health.close()
        await self._spooling.settled()
        for thread in (
            self._scrubbing,
            self._own,
            self._syncer,
            self._hasher,
            self._writer,
            self._reader,
        ):
            await thread.stop()
        if self._lock is not None:
            self._lock.release()


def _room_of(root: Path) -> tuple[int, int]:
    room = os.statvfs(root)
    return room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize


def _left_for_later(failure: Failure) -> None:
    """The store is closed, or the disk refuses: the next survey finds what nobody holds."""
    failure.trap(StorageFailed)
