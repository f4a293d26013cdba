"""Single writes to the store: manifests, grants, tags, removals. All of it in the writer thread."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from regproxy.errors import ContentMissing, InvalidManifest
from regproxy.interfaces import Kind, Link, TagRecord
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import MAX_MANIFEST_BYTES, Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.storage import durable
from regproxy.storage.commits import make_way
from regproxy.storage.files import read_whole
from regproxy.storage.layout import Layout
from regproxy.storage.ledger import Ledger
from regproxy.storage.links import UNVERIFIED_MTIME_NS, clean_media_type
from regproxy.storage.records import open_regular, read_record
from regproxy.storage.tags import MAX_TAG_BYTES, carry_on, decode_tag, encode_tag


class Keeper:
    """Each method is one job, whole before the next one begins. Raises OSError where the disk refuses."""

    def __init__(self, layout: Layout, ledger: Ledger) -> None:
        self._layout = layout
        self._ledger = ledger
        self._suspects: set[Digest] = set()

    def put(self, repository: Repository, manifest: Manifest, since_s: float) -> None:
        """A manifest's bytes, unless they are there and trusted, then its link."""
        digest, size = manifest.digest, len(manifest.content)
        if not digest.matches(manifest.content):
            raise InvalidManifest("the bytes are not what their digest names")
        path, known = self._layout.blob(digest), self._ledger.mtime_ns(digest)
        found = _regular(path)
        if found is None or (found.st_size, found.st_mtime_ns) != (size, known):
            make_way(self._layout, digest)
            durable.write_atomic(path, manifest.content, durable.BLOB_MODE, known)
            self._ledger.verified(digest, size, os.lstat(path).st_mtime_ns)
        mtime_ns = self._ledger.mtime_ns(digest) or UNVERIFIED_MTIME_NS
        link = Link(size, mtime_ns, manifest.media_type, since_s, "fetch")
        self._ledger.write(repository, Kind.MANIFEST, digest, link)

    def grant(
        self, repository: Repository, digest: Digest, kind: Kind, media_type: str, source: str, since_s: float
    ) -> None:
        """A link to bytes that are there, trusted as far as another link or a commit vouches for them."""
        found = _regular(self._layout.blob(digest))
        if found is None:
            raise ContentMissing(f"{digest} is not on disk")
        self._ledger.look([(repository, kind, digest)])  # one that is renewed vouches, survey or not
        mtime_ns = self._ledger.mtime_ns(digest) or UNVERIFIED_MTIME_NS
        link = Link(found.st_size, mtime_ns, clean_media_type(media_type), since_s, source)
        self._ledger.write(repository, kind, digest, link)

    def unlink(self, repository: Repository, digest: Digest, kind: Kind) -> bool:
        """The link first, then, with the last one, the blob; whether it went."""
        self._ledger.look([(repository, kind, digest)])
        self._ledger.drop(repository, kind, digest)
        if not self._ledger.complete:
            self._suspects.add(digest)
            return False
        return self._remove_unheld(digest)

    def finish_survey(self) -> None:
        """Every link is known: remove the blobs whose last link went while that was not so."""
        self._ledger.finish()
        while self._suspects:
            self._remove_unheld(self._suspects.pop())

    def _remove_unheld(self, digest: Digest) -> bool:
        if self._ledger.holders(digest):
            return False
        self._ledger.forget(digest)
        path = self._layout.blob(digest)
        return _regular(path) is not None and durable.remove(path)

    def recheck(self, digest: Digest) -> None:
        """Hash a manifest's file again: trust it anew, or set it aside."""
        path = self._layout.blob(digest)
        opened = open_regular(path)
        if opened is None:
            return
        descriptor, found = opened
        try:
            small = found.st_size <= MAX_MANIFEST_BYTES
            if small and digest.matches(read_whole(descriptor, found.st_size)):
                self._trust(digest, descriptor, found)
            else:
                durable.move_aside(path, self._layout.quarantined(digest))
        finally:
            os.close(descriptor)

    def _trust(self, digest: Digest, descriptor: int, found: os.stat_result) -> None:
        known = self._ledger.mtime_ns(digest)
        durable.set_mtime(descriptor, known)
        durable.sync_file(descriptor)
        self._ledger.verified(digest, found.st_size, os.fstat(descriptor).st_mtime_ns)

    def set_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> None:
        """Write a tag's record with the history of the one before."""
        path = self._layout.tags(repository) / tag.name
        previous = decode_tag(read_record(path, MAX_TAG_BYTES))
        durable.write_atomic(path, encode_tag(carry_on(previous, record)))

    def drop_tag(self, repository: Repository, tag: Tag) -> None:
        """Remove a tag's record, if there is one."""
        durable.remove(self._layout.tags(repository) / tag.name)


def _regular(path: Path) -> os.stat_result | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None
