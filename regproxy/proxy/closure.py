"""How much of an image lies on disk by its repository's right: what a pull would find here.

It reads manifests that are on disk, and asks nobody."""

from __future__ import annotations

from collections import deque

import attrs

from regproxy.errors import ContentError, StorageFailed
from regproxy.interfaces import ILocalStore
from regproxy.oci import media_type as types
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.repository import Repository

MAX_MANIFESTS = 256
"""So many manifests of one image are looked into."""


@attrs.frozen(slots=True)
class Parts:
    """``platforms`` are the manifests that indices name, of which ``here`` are on disk; of what those and
    the top name themselves, config and layers, ``missing`` of ``blobs`` are not. ``cut``: there is more."""

    platforms: int = 0
    here: int = 0
    blobs: int = 0
    missing: int = 0
    missing_bytes: int = 0
    cut: bool = False

    @property
    def whole(self) -> bool:
        """Whether whoever pulls a platform that is here gets all of it from the disk."""
        return not self.missing and not self.cut and (self.here > 0 or not self.platforms)


def rightful(store: ILocalStore, repository: Repository, digest: Digest) -> bool:
    """Whether the bytes are on disk, as large as the link says, by a right that holds."""
    found = store.link(repository, digest)
    if found is None or found[1].since_s <= store.revoked_s(repository):
        return False
    return store.holds(digest) == found[1].size_bytes


async def parts_of(store: ILocalStore, repository: Repository, top: Digest) -> Parts | None:
    """What is there of ``top``; None where ``top`` itself cannot be read as a manifest."""
    platforms, blobs, seen = set[Digest](), dict[Digest, Descriptor](), 0
    here, cut = set[Digest](), False
    queue, queued = deque([top]), {top}
    while queue:
        digest = queue.popleft()
        manifest = await _read(store, repository, digest)
        if manifest is None:
            if digest == top:
                return None
            continue
        here.add(digest)
        seen += 1
        for named in manifest.names():
            if named.media_type not in types.MANIFEST_TYPES:
                blobs[named.digest] = named
                continue
            platforms.add(named.digest)
            if named.digest in queued:
                continue
            if seen + len(queue) >= MAX_MANIFESTS:
                cut = True
                continue
            queued.add(named.digest)
            queue.append(named.digest)
    gone = [each for each in blobs.values() if not rightful(store, repository, each.digest)]
    return Parts(
        len(platforms),
        len(here & platforms),
        len(blobs),
        len(gone),
        sum(each.size_bytes for each in gone),
        cut,
    )


async def _read(store: ILocalStore, repository: Repository, digest: Digest) -> Manifest | None:
    if not rightful(store, repository, digest):
        return None
    try:
        return await store.manifests.get(repository, digest)
    except (ContentError, StorageFailed):
        return None
