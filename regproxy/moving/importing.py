"""Taking a shipment into the store: each blob verified on its way, then manifests, then tags.

Laws: the source is only read. What is there already, with the right to it, is passed over, so that an import
that was ended goes on when it is begun again. The rights are those that the source gives: the operator
vouches for them. A tag is as old as the source says, so that its upstream is asked at the next pull; one
that was confirmed here later stays. What is wrong is left out and told; what the disk refuses ends it.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from regproxy.errors import ContentError, InvalidManifest
from regproxy.interfaces import ICloningSpool, ILocalStore, ISpool, Kind, TagRecord
from regproxy.moving.holdings import RepositoryFiles
from regproxy.moving.shipment import Remarks, Shipment
from regproxy.moving.tree import Opened
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import MAX_MANIFEST_BYTES, Manifest
from regproxy.oci.media_type import BLOB_TYPE
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.worker import Worker

CHUNK_BYTES = 1024 * 1024
CLONE_BYTES = 128 * 1024
"""From this size on a clone is tried; below it a copy costs less."""


@attrs.define
class Counts:
    """What an import takes, or would take. ``*_bytes`` are of blobs."""

    repositories: int = 0
    tags: int = 0
    manifests: int = 0
    blobs: int = 0
    there: int = 0
    """Blobs that were there already; only the right to them is new, if anything."""
    missing: int = 0
    """What the source names and has not got: it is fetched when it is asked for."""
    kept_tags: int = 0
    """Tags that mean something else here, confirmed later than there."""
    total_bytes: int = 0
    copied_bytes: int = 0
    cloned_bytes: int = 0
    there_bytes: int = 0


@attrs.frozen
class Load:
    """What is to be moved: each blob with who is to hold it, its size, and whether it is there."""

    blobs: dict[Digest, tuple[Repository, ...]]
    sizes: dict[Digest, int]
    there: frozenset[Digest]
    missing: int

    @property
    def coming_bytes(self) -> int:
        """What has to be written."""
        return sum(size for digest, size in self.sizes.items() if digest not in self.there)


def weigh(shipment: Shipment, held_bytes: Callable[[Digest], int | None]) -> Load:
    """Look at every blob that ``shipment`` names; ``held_bytes`` tells what the store has. Blocks.

    OSError.
    """
    holders: dict[Digest, list[Repository]] = {}
    for repository, holding in shipment.repositories.items():
        for digest in sorted(holding.blobs - holding.manifests.keys()):
            holders.setdefault(digest, []).append(repository)
    sizes: dict[Digest, int] = {}
    missing = 0
    for digest in holders:
        opened = shipment.open(digest)
        if opened is None:
            missing += 1
        else:
            sizes[digest] = opened.size_bytes
            opened.close()
    there = frozenset(digest for digest, size in sizes.items() if held_bytes(digest) == size)
    return Load({digest: tuple(holders[digest]) for digest in sizes}, sizes, there, missing)


def foresee(shipment: Shipment, load: Load, held: Callable[[Repository], RepositoryFiles]) -> Counts:
    """What an import would take, by ``held``, what each repository has now. Blocks; StorageFailed."""
    counts = Counts(
        repositories=len(shipment.repositories),
        blobs=len(load.sizes) - len(load.there),
        there=len(load.there),
        missing=load.missing,
        total_bytes=sum(load.sizes.values()),
        copied_bytes=load.coming_bytes,
        there_bytes=sum(load.sizes[digest] for digest in load.there),
    )
    for repository, holding in shipment.repositories.items():
        files = held(repository)
        counts.manifests += sum(not files.links(digest) for digest in holding.manifests)
        for tag, (digest, _) in holding.tags.items():
            known = digest in holding.manifests or files.links(digest)
            counts.missing += not known
            counts.tags += known and files.tagged(tag) != digest
    return counts


class Importer:
    """One import. ``reader`` is the thread in which the source is read; ``moved`` is told of bytes of blobs
    as they are dealt with, ``wrong`` of what is left out."""

    def __init__(
        self,
        store: ILocalStore,
        reader: Worker,
        wall: Callable[[], float],
        moved: Callable[[int], object] = lambda size_bytes: None,
        wrong: Remarks | None = None,
    ) -> None:
        self._store = store
        self._reader = reader
        self._wall = wall
        self._moved = moved
        self.counts = Counts()
        self.wrong = Remarks() if wrong is None else wrong

    async def run(self, shipment: Shipment, load: Load) -> None:
        """All of it. StorageFailed where the disk refuses: what came until then stays.

        Cancelling it ends it cleanly, too.
        """
        self.counts.missing += load.missing
        self.counts.total_bytes = sum(load.sizes.values())
        for digest, repositories in load.blobs.items():
            await self._blob(shipment, digest, repositories, load.sizes[digest])
        for repository in shipment.repositories:
            await self._repository(shipment, repository)

    # blobs

    async def _blob(
        self, shipment: Shipment, digest: Digest, repositories: tuple[Repository, ...], size_bytes: int
    ) -> None:
        if self._store.holds(digest) == size_bytes:
            for repository in repositories:
                if not self._has(repository, digest, Kind.BLOB):
                    since_s = self._store.stamp(repository)
                    await self._store.grant(repository, digest, Kind.BLOB, BLOB_TYPE, "fetch", since_s)
            self.counts.there += 1
            self.counts.there_bytes += size_bytes
            self._moved(size_bytes)
            return
        opened = await self._opened(shipment, digest)
        if opened is None:
            return
        try:
            await self._bring(opened, digest, repositories)
        finally:
            self._let_go(opened)

    def _let_go(self, opened: Opened) -> None:
        """After what the thread may still read of it."""
        self._reader.run(opened.close)

    def _has(self, repository: Repository, digest: Digest, kind: Kind) -> bool:
        found = self._store.link(repository, digest)
        return found is not None and found[0] is kind and found[1].since_s > self._store.revoked_s(repository)

    async def _opened(self, shipment: Shipment, digest: Digest) -> Opened | None:
        try:
            opened: Opened | None = await self._reader.run(shipment.open, digest)
        except OSError as error:
            self.wrong.add(f"{digest}: it cannot be read: {error.strerror}")
            return None
        if opened is None:
            self.counts.missing += 1
        return opened

    async def _bring(self, opened: Opened, digest: Digest, repositories: tuple[Repository, ...]) -> None:
        spool = await self._store.spool(digest)
        try:
            cloned = await self._filled(spool, opened)
            if spool.front == opened.size_bytes and spool.matches():
                await spool.commit({each: self._store.stamp(each) for each in repositories})
                self._count(opened.size_bytes, cloned)
            else:
                self.wrong.add(f"{digest}: its bytes are others")
        except _Unreadable as error:
            self.wrong.add(f"{digest}: it cannot be read: {error}")
        finally:
            await spool.discard()

    def _count(self, size_bytes: int, cloned: bool) -> None:
        self.counts.blobs += 1
        if cloned:
            self.counts.cloned_bytes += size_bytes
        else:
            self.counts.copied_bytes += size_bytes

    async def _filled(self, spool: ISpool, opened: Opened) -> bool:
        """All bytes in the spool and hashed; whether they were cloned."""
        size_bytes = opened.size_bytes
        if opened.whole and size_bytes >= CLONE_BYTES and ICloningSpool.providedBy(spool):
            cloning: ICloningSpool = spool
            if await cloning.clone(opened.descriptor, size_bytes):
                while spool.front < size_bytes:
                    before = spool.front
                    self._moved(await spool.catch_up() - before)
                return True
        await spool.expect(size_bytes)
        await self._copied(spool, opened)
        return False

    async def _copied(self, spool: ISpool, opened: Opened) -> None:
        """The next bytes are read while the last ones are written."""
        start, appending = 0, None
        try:
            while chunk := await self._read(opened, start):
                start += len(chunk)
                if appending is not None:
                    waited, appending = appending, None
                    await waited
                appending = spool.append([chunk])
                self._moved(len(chunk))
        finally:
            if appending is not None:
                await appending

    async def _read(self, opened: Opened, start: int) -> bytes:
        try:
            found: bytes = await self._reader.run(opened.read, start, CHUNK_BYTES)
        except OSError as error:
            raise _Unreadable(error.strerror) from None
        return found

    # manifests and tags

    async def _repository(self, shipment: Shipment, repository: Repository) -> None:
        holding = shipment.repositories[repository]
        self.counts.repositories += 1
        for digest, media_type in holding.manifests.items():
            if self._has(repository, digest, Kind.MANIFEST) and self._store.holds(digest) is not None:
                continue
            manifest = await self._manifest(shipment, digest, media_type)
            if manifest is not None:
                await self._store.put(repository, manifest, self._store.stamp(repository))
                self.counts.manifests += 1
        for tag, (digest, known_s) in holding.tags.items():
            await self._tag(repository, tag, digest, known_s)

    async def _manifest(self, shipment: Shipment, digest: Digest, media_type: str | None) -> Manifest | None:
        opened = await self._opened(shipment, digest)
        if opened is None:
            return None
        try:
            if opened.size_bytes > MAX_MANIFEST_BYTES:
                raise InvalidManifest("it is larger than a manifest may be")
            content = await self._reader.run(opened.read, 0, MAX_MANIFEST_BYTES)
            return Manifest.receive(content, media_type, digest)
        except InvalidManifest as error:
            self.wrong.add(f"{digest}: {error.message}")
        except OSError as error:
            self.wrong.add(f"{digest}: it cannot be read: {error.strerror}")
        finally:
            self._let_go(opened)
        return None

    async def _tag(self, repository: Repository, tag: Tag, digest: Digest, known_s: float) -> None:
        checked_s = max(0.0, min(known_s, self._wall()))
        known = self._store.tag(repository, tag)
        if known is not None and known.checked_s >= checked_s:
            self.counts.kept_tags += known.descriptor.digest != digest
            return
        try:
            descriptor = await self._store.manifests.stat(repository, digest)
        except ContentError:
            self.counts.missing += 1
            return
        await self._store.set_tag(repository, tag, TagRecord(descriptor, None, checked_s))
        self.counts.tags += 1


class _Unreadable(Exception):
    """The source does not give its bytes."""
