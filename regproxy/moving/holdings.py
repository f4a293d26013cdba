"""The mirror's own folder, read beside a daemon that may run on it: nothing is locked, nothing changed.

Records and blobs are whole files that are replaced or removed, never changed. What goes meanwhile is missing,
and what is read is verified by who reads it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import attrs

from regproxy.errors import InvalidManifest, StorageFailed
from regproxy.interfaces import Kind
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import MAX_MANIFEST_BYTES, Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.storage.layout import Layout
from regproxy.storage.links import read_link
from regproxy.storage.occupancy import regular
from regproxy.storage.records import open_regular, read_record
from regproxy.storage.tags import MAX_TAG_BYTES, decode_tag, tag_names

CHUNK_BYTES = 1024 * 1024


class Damaged(StorageFailed):
    """Bytes that are not what their name says, or gone since they were looked at."""


@attrs.frozen
class RepositoryFiles:
    """As :class:`exporting.Held`, of one repository of the folder that ``layout`` describes."""

    layout: Layout
    repository: Repository

    def manifest(self, digest: Digest) -> Manifest | None:
        """By its link, and as it is on disk. InvalidManifest, StorageFailed."""
        link = read_link(self.layout.link(self.repository, digest, Kind.MANIFEST))
        content = None if link is None else read_record(self.layout.blob(digest), MAX_MANIFEST_BYTES)
        if link is None or content is None:
            return None
        if not digest.matches(content):
            raise InvalidManifest("the bytes are not what their digest names")
        return Manifest(content, link.media_type, digest)

    def links(self, digest: Digest) -> bool:
        """Whether it holds a manifest, bytes and all. StorageFailed."""
        link = read_link(self.layout.link(self.repository, digest, Kind.MANIFEST))
        return link is not None and regular(self.layout.blob(digest)) is not None

    def size_bytes(self, digest: Digest) -> int | None:
        """By a link, of a file of that size."""
        found = regular(self.layout.blob(digest))
        links = (read_link(self.layout.link(self.repository, digest, kind)) for kind in Kind)
        right = found is not None and any(link and link.size_bytes == found.st_size for link in links)
        return found.st_size if right and found is not None else None

    def tags(self) -> tuple[Tag, ...]:
        """All that have a record. StorageFailed."""
        try:
            return tuple(Tag(name) for name in tag_names(self.layout.tags(self.repository)))
        except OSError as error:
            raise StorageFailed(f"the folder cannot be read: {error.strerror}") from None

    def tagged(self, tag: Tag) -> Digest | None:
        """What a tag means here. StorageFailed."""
        path: Path = self.layout.tags(self.repository) / tag.name
        record = decode_tag(read_record(path, MAX_TAG_BYTES))
        return None if record is None else record.descriptor.digest


def chunks(layout: Layout, digest: Digest, size_bytes: int) -> Iterator[bytes]:
    """The bytes of a blob; Damaged, at their end at the latest, where they are others. StorageFailed."""
    opened = open_regular(layout.blob(digest))
    if opened is None:
        raise Damaged(f"{digest} went while it was to be read: run it again")
    descriptor, hasher, offset = opened[0], digest.hasher(), 0
    try:
        while chunk := os.pread(descriptor, min(CHUNK_BYTES, size_bytes + 1 - offset), offset):
            hasher.update(chunk)
            offset += len(chunk)
            if offset > size_bytes:
                break
            yield chunk
    except OSError as error:
        raise StorageFailed(f"{digest} cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if offset != size_bytes or hasher.hexdigest() != digest.hex:
        raise Damaged(f"the bytes of {digest} on disk are damaged; a pull of it repairs that")
