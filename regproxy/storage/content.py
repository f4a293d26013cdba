"""The disk as a source of blobs and manifests: the link first, then the bytes it is about."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from regproxy.errors import ContentMissing, ContentUntrusted, StorageFailed
from regproxy.interfaces import IBlob, IBlobSource, IManifestSource, Kind, Link
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import MAX_MANIFEST_BYTES, Descriptor, Manifest
from regproxy.oci.repository import Repository
from regproxy.storage.bodies import FileBlob
from regproxy.storage.files import Files, StoredFile, read_whole
from regproxy.storage.layout import Layout, blob_of
from regproxy.storage.ledger import Ledger
from regproxy.storage.links import UNVERIFIED_MTIME_NS, look_at_link
from regproxy.storage.records import open_regular
from regproxy.storage.remembered import Remembered
from regproxy.storage.revocations import Revocations
from regproxy.storage.spoilt import Spoilt
from regproxy.storage.thread import DiskThread

_log = Logger()

REMEMBERED_LINKS = 16_384
MEMORY_BYTES = 16 * 1024 * 1024
"""So many bytes of manifests stay in memory; what fills more than MEMORY_EACH is read each time."""
MEMORY_EACH = 256 * 1024


@attrs.frozen(slots=True)
class Shelf:
    """What both sources read."""

    layout: Layout
    ledger: Ledger
    files: Files
    revocations: Revocations
    writer: DiskThread
    links: Remembered[tuple[Repository, Digest, Kind], Link | None] = attrs.field(
        default=attrs.Factory(lambda self: self._remembered(), takes_self=True)
    )

    def _remembered(self) -> Remembered[tuple[Repository, Digest, Kind], Link | None]:
        return Remembered(lambda key: self.layout.link(*key), look_at_link, None, REMEMBERED_LINKS)

    def permitted(self, repository: Repository, digest: Digest, kinds: tuple[Kind, ...]) -> tuple[Kind, Link]:
        """The first link that is younger than the last revocation; ContentMissing."""
        for kind in kinds:
            link = self.link(repository, digest, kind)
            if link is not None and link.since_s > self.revocations.revoked_s(repository):
                return kind, link
        raise ContentMissing(f"{repository} holds no {digest} here")

    def link(self, repository: Repository, digest: Digest, kind: Kind) -> Link | None:
        """The record, whose date a revocation from before the survey takes into account."""
        link = self.links.get((repository, digest, kind))
        if link is not None and not self.ledger.knows(repository, kind, digest):
            self.revocations.heed(link.since_s)
        return link

    def open(self, digest: Digest, link: Link) -> StoredFile:
        """The blob's file, of the size that the link says; ContentMissing."""
        file = self.files.open(self.layout.blob(digest))
        if file is None:
            raise ContentMissing(f"{digest} is not on disk")
        found = file.stat()
        if found.st_size != link.size_bytes or self.ledger.spoilt.is_wrong(digest, found):
            file.close()
            raise ContentMissing(f"{digest} on disk is not what its link says")
        return file


def trusted(link: Link, found: os.stat_result) -> bool:
    """Whether the file is as it was when its bytes were verified."""
    return link.mtime_ns != UNVERIFIED_MTIME_NS and link.mtime_ns == found.st_mtime_ns


@implementer(IBlobSource)
class DiskBlobs:
    """Blobs on disk. A manifest is one too, by its link as a manifest (R21)."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def stat(self, repository: Repository, digest: Digest) -> Deferred[int | None]:
        """The blob's size; ContentMissing when link or file is not there (P3)."""
        return maybeDeferred(self._stat, repository, digest)

    def _stat(self, repository: Repository, digest: Digest) -> int | None:
        _, link = self._shelf.permitted(repository, digest, (Kind.BLOB, Kind.MANIFEST))
        self._shelf.open(digest, link).close()
        return link.size_bytes

    def open(self, repository: Repository, digest: Digest) -> Deferred[IBlob]:
        """The blob; ContentMissing, or ContentUntrusted when the file was touched (P31)."""
        return maybeDeferred(self._open, repository, digest)

    def _open(self, repository: Repository, digest: Digest) -> IBlob:
        kind, link = self._shelf.permitted(repository, digest, (Kind.BLOB, Kind.MANIFEST))
        file = self._shelf.open(digest, link)
        if not trusted(link, file.stat()):
            file.close()
            self._tell_ledger(repository, kind, digest)
            raise ContentUntrusted(f"{digest} on disk was touched since it was verified")
        return FileBlob(file, link.size_bytes)

    def _tell_ledger(self, repository: Repository, kind: Kind, digest: Digest) -> None:
        """What adopts the file must know this link, also before the survey has come to it."""
        look = self._shelf.writer.run(self._shelf.ledger.look, [(repository, kind, digest)])
        look.addErrback(_note_refusal)


@implementer(IManifestSource)
class DiskManifests:
    """Manifests on disk, read whole: at once when they are in memory, else in the reader thread.

    ``recheck`` has the writer thread hash a file again, to trust it anew or to set it aside.
    """

    def __init__(self, shelf: Shelf, recheck: Callable[[Repository, Digest], Deferred[None]]) -> None:
        self._shelf = shelf
        self._recheck = recheck
        self._memory: Remembered[Digest, tuple[int, bytes] | None] = Remembered(
            shelf.layout.blob, self._look, None, MEMORY_BYTES, _weigh
        )

    def _look(self, path: Path) -> tuple[tuple[int, bytes] | None, os.stat_result | None]:
        """The file's mtime and bytes; nothing where they are large, would be waited for, or are wrong."""
        file = self._shelf.files.open(path)
        if file is None:
            return None, None
        try:
            found = file.stat()
            small = found.st_size <= MEMORY_EACH
            content = file.read_at(0, found.st_size) if small else None
        finally:
            file.close()
        if content is None or not blob_of(path).matches(content):
            return None, None
        return (found.st_mtime_ns, content), found

    def at_hand(self, repository: Repository, digest: Digest) -> Manifest | None:
        """The manifest where nothing needs waiting: right bytes of an untouched file, by right."""
        try:
            _, link = self._shelf.permitted(repository, digest, (Kind.MANIFEST,))
        except (ContentMissing, StorageFailed):
            return None
        content = self._in_memory(digest, link)
        return None if content is None else Manifest(content, link.media_type, digest)

    def _in_memory(self, digest: Digest, link: Link) -> bytes | None:
        try:
            kept = self._memory.get(digest)
        except StorageFailed:
            return None  # the reader thread tells what it is
        if kept is None or link.mtime_ns != kept[0] or link.size_bytes != len(kept[1]):
            return None
        return kept[1]

    def stat(self, repository: Repository, digest: Digest) -> Deferred[Descriptor]:
        """Size and type, as the link says; ContentMissing when link or file is not there."""
        return maybeDeferred(self._stat, repository, digest)

    def _stat(self, repository: Repository, digest: Digest) -> Descriptor:
        _, link = self._shelf.permitted(repository, digest, (Kind.MANIFEST,))
        self._shelf.open(digest, link).close()
        return Descriptor(digest, link.size_bytes, link.media_type)

    def get(self, repository: Repository, digest: Digest) -> Deferred[Manifest]:
        """The manifest. A touched file is hashed again: trusted anew, or ContentMissing and set aside."""
        return Deferred.fromCoroutine(self._get(repository, digest))

    async def _get(self, repository: Repository, digest: Digest) -> Manifest:
        _, link = self._shelf.permitted(repository, digest, (Kind.MANIFEST,))
        content = self._in_memory(digest, link)
        if content is None:
            content = await self._from_disk(repository, digest, link)
        return Manifest(content, link.media_type, digest)

    async def _from_disk(self, repository: Repository, digest: Digest, link: Link) -> bytes:
        path = self._shelf.layout.blob(digest)
        try:
            content, touched = await self._shelf.files.reader.run(
                _read_manifest, path, digest, link, self._shelf.ledger.spoilt
            )
        except ContentUntrusted as error:
            await self._recheck(repository, digest)
            raise ContentMissing(str(error)) from None
        if touched:
            self._recheck(repository, digest).addErrback(_note_refusal)
        return content


def _read_manifest(path: Path, digest: Digest, link: Link, spoilt: Spoilt) -> tuple[bytes, bool]:
    """The bytes, and whether the file was touched; ContentUntrusted when they are wrong. Blocks.

    They are hashed in any case: a manifest is small, and a disk rots without touching times. Bytes
    that the disk cannot read any more are missing: they are fetched and written again.
    """
    opened = open_regular(path)
    if opened is None:
        raise ContentMissing(f"{digest} is not on disk")
    descriptor, found = opened
    try:
        fits = found.st_size == link.size_bytes and found.st_size <= MAX_MANIFEST_BYTES
        if not fits or spoilt.is_wrong(digest, found):
            raise ContentMissing(f"{digest} on disk is not what its link says")
        content = read_whole(descriptor, found.st_size)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        spoilt.add(digest, found, wrong=False)
        raise ContentMissing(f"the disk fails to read {digest}") from None
    finally:
        os.close(descriptor)
    if not digest.matches(content):
        raise ContentUntrusted(f"{digest} on disk was damaged; it was set aside")
    return content, not trusted(link, found)


def _weigh(kept: tuple[int, bytes] | None) -> int:
    """Bytes of content, and about what it costs to remember a file."""
    return 512 + (len(kept[1]) if kept is not None else 0)


def _note_refusal(failure: Failure) -> None:
    """The bytes are right and were served; only their trust could not be written down."""
    failure.trap(StorageFailed)
    _log.debug("a manifest's trust could not be restored: {reason}", reason=failure.getErrorMessage())
