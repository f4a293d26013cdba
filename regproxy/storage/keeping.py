"""Single writes to the store: manifests, grants, tags, removals. All of it in the writer thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Set

from regproxy.errors import ContentMissing, InvalidManifest, StorageFailed
from regproxy.interfaces import Fate, Held, Kind, Link, TagRecord, Taken
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import MAX_MANIFEST_BYTES, Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag
from regproxy.storage import durable
from regproxy.storage.aside import set_aside
from regproxy.storage.commits import make_way
from regproxy.storage.files import read_whole
from regproxy.storage.layout import Layout
from regproxy.storage.ledger import Ledger
from regproxy.storage.links import UNVERIFIED_MTIME_NS, clean_media_type
from regproxy.storage.occupancy import Occupancy, regular
from regproxy.storage.records import open_regular, read_record
from regproxy.storage.tags import MAX_TAG_BYTES, carry_on, decode_tag, encode_tag
from regproxy.storage.telling import Teller
from regproxy.storage.underway import UnderWay


class Keeper:
    """Each method is one job, whole before the next one begins. Raises OSError where the disk refuses."""

    def __init__(
        self, layout: Layout, ledger: Ledger, occupancy: Occupancy, under_way: UnderWay, teller: Teller
    ) -> None:
        self.layout = layout
        self.ledger = ledger
        self.occupancy = occupancy
        self._under_way = under_way
        self._teller = teller

    def put(self, repository: Repository, manifest: Manifest, since_s: float) -> None:
        """A manifest's bytes, unless they are there and right, then its link."""
        digest, size = manifest.digest, len(manifest.content)
        if not digest.matches(manifest.content):
            raise InvalidManifest("the bytes are not what their digest names")
        self.ledger.look([(repository, Kind.MANIFEST, digest)])  # it vouches, survey or not
        found = regular(self.layout.blob(digest))
        bad = found is None or found.st_size != size or self.ledger.spoilt.is_bad(digest, found)
        if bad or not (self._as_known(digest, found) or self._right_again(digest)):
            self._write_manifest(manifest, found)
        mtime_ns = self.ledger.mtime_ns(digest) or UNVERIFIED_MTIME_NS
        link = Link(size, mtime_ns, manifest.media_type, since_s, "fetch")
        self.ledger.write(repository, Kind.MANIFEST, digest, link)

    def _as_known(self, digest: Digest, found: os.stat_result | None) -> bool:
        return found is not None and found.st_mtime_ns == self.ledger.mtime_ns(digest)

    def _write_manifest(self, manifest: Manifest, former: os.stat_result | None) -> None:
        """Its file anew, with the mtime that links know; those that no survey has come to may know the
        former one's."""
        digest, path = manifest.digest, self.layout.blob(manifest.digest)
        mtime_ns = self.ledger.mtime_ns(digest) or (former.st_mtime_ns if former is not None else None)
        make_way(self.layout, digest)
        with self.occupancy.changing(digest):
            durable.write_atomic(path, manifest.content, durable.BLOB_MODE, mtime_ns)
        self.ledger.verified(digest, len(manifest.content), os.lstat(path).st_mtime_ns)

    def _right_again(self, digest: Digest) -> bool:
        """Whether the file that is there could be hashed, is right, and is trusted from now on.

        Before the survey nobody may know yet who vouches for it: another file in its place would be one
        that was touched, for all of them.
        """
        try:
            opened = open_regular(self.layout.blob(digest))
            if opened is None:
                return False
            descriptor, found = opened
            try:
                return self._trust_if_right(digest, descriptor, found)
            finally:
                os.close(descriptor)
        except (OSError, StorageFailed):
            return False  # what cannot be read, or is somebody else's, is written anew

    def grant(
        self, repository: Repository, digest: Digest, kind: Kind, media_type: str, source: str, since_s: float
    ) -> None:
        """A link to bytes that are there, trusted as far as another link or a commit vouches for them."""
        found = regular(self.layout.blob(digest))
        if found is None or self.ledger.spoilt.is_wrong(digest, found):
            raise ContentMissing(f"{digest} is not on disk")
        self.ledger.look([(repository, kind, digest)])  # one that is renewed vouches, survey or not
        mtime_ns = self.ledger.mtime_ns(digest) or UNVERIFIED_MTIME_NS
        link = Link(found.st_size, mtime_ns, clean_media_type(media_type), since_s, source)
        self.ledger.write(repository, kind, digest, link)

    def unlink(self, repository: Repository, digest: Digest, kind: Kind) -> bool:
        """The link first, then, with the last one, the blob; whether it went."""
        self._drop(repository, digest, kind)
        removed = self._remove_unheld(digest)
        if not any(self.ledger.read(repository, digest, other) for other in Kind):
            self._teller.gone(repository, digest)
        return removed

    def expire(self, repository: Repository, reference: Reference, due: Callable[[], bool]) -> bool:
        """Remove what is still due: a tag, or all links of a repository to a digest. Whether it was.

        It is told of only after the bytes went too: a failure leaves all of it to be tried again.
        """
        if not due():
            return False
        if isinstance(reference, Tag):
            self.drop_tag(repository, reference)
            return True
        for kind in Kind:
            self._drop(repository, reference, kind)
        self._remove_unheld(reference)
        self._teller.gone(repository, reference)
        return True

    def foresee(
        self, repository: Repository, reference: Reference, before: Set[Repository] = frozenset()
    ) -> Taken | None:
        """What :meth:`purge` would do, had it taken ``reference`` from ``before``; nothing changes."""
        if isinstance(reference, Tag):
            there = os.path.lexists(self.layout.tags(repository) / reference.name)
            return Taken(reference, None) if there else None
        kinds = [k for k in Kind if os.path.lexists(self.layout.link(repository, reference, k))]
        if not kinds:
            return None
        found = regular(self.layout.blob(reference))
        kind = Kind.MANIFEST if Kind.MANIFEST in kinds else Kind.BLOB
        if found is None:
            return Taken(reference, kind)
        return Taken(reference, kind, found.st_size, self._fate(repository, reference, before))

    def _fate(self, repository: Repository, digest: Digest, before: Set[Repository]) -> Fate:
        if any(holder != repository and holder not in before for holder, _ in self.ledger.holders(digest)):
            return Fate.SHARED
        return Fate.FREED if self.ledger.complete and digest not in self._under_way else Fate.LATER

    def purge(self, repository: Repository, reference: Reference) -> Taken | None:
        """As :meth:`expire`, due or not; what became of it, None where there was nothing."""
        found = self.foresee(repository, reference)
        if found is not None:
            self.expire(repository, reference, lambda: True)
        return found

    def _drop(self, repository: Repository, digest: Digest, kind: Kind) -> None:
        self.ledger.look([(repository, kind, digest)])
        self.ledger.drop(repository, kind, digest)

    def reconsider(self, digest: Digest) -> bool:
        """Remove the bytes of ``digest`` if nobody holds them; whether they went."""
        return self._remove_unheld(digest)

    def _remove_unheld(self, digest: Digest) -> bool:
        if self.ledger.holders(digest) or self._under_way.keeps(digest):
            return False
        if not self.ledger.complete:
            return False
        path = self.layout.blob(digest)
        with self.occupancy.changing(digest):
            removed = regular(path) is not None and durable.remove(path)
        self.ledger.forget(digest)
        durable.remove_empty(path.parent, self.layout.blobs)
        return removed

    def recheck(self, repository: Repository, digest: Digest) -> None:
        """Hash a manifest's file again, for one who holds it: trust it anew, or set it aside."""
        self.ledger.look([(repository, Kind.MANIFEST, digest)])
        opened = open_regular(self.layout.blob(digest))
        if opened is None:
            return
        descriptor, found = opened
        try:
            if not self._trust_if_right(digest, descriptor, found):
                set_aside(self, digest, found)
        finally:
            os.close(descriptor)

    def _trust_if_right(self, digest: Digest, descriptor: int, found: os.stat_result) -> bool:
        if found.st_size > MAX_MANIFEST_BYTES or not digest.matches(read_whole(descriptor, found.st_size)):
            return False
        durable.set_mtime(descriptor, self.ledger.mtime_ns(digest))
        durable.set_mode(descriptor, durable.BLOB_MODE)
        durable.sync_file(descriptor)
        self.ledger.verified(digest, found.st_size, os.fstat(descriptor).st_mtime_ns)
        return True

    def set_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> None:
        """Write a tag's record with the history of the one before."""
        path = self.layout.tags(repository) / tag.name
        previous = decode_tag(read_record(path, MAX_TAG_BYTES))
        durable.write_atomic(path, encode_tag(carry_on(previous, record)))
        self._teller.added(Held(repository, tag, None))

    def drop_tag(self, repository: Repository, tag: Tag) -> None:
        """Remove a tag's record, if there is one."""
        folder = self.layout.tags(repository)
        durable.remove(folder / tag.name)
        durable.remove_empty(folder, self.layout.repositories)
        self._teller.gone(repository, tag)
