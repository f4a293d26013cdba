"""How much of an image lies on disk by its repository's right: what a pull would find here.

It reads manifests that are on disk, and asks nobody."""

from __future__ import annotations

from collections import deque

import attrs

from regproxy.errors import ContentError, StorageFailed
from regproxy.interfaces import ILocalStore
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.proxy.parts import Parts, parts_of
from regproxy.proxy.permission import rightful

MAX_MANIFESTS = 256
"""So many manifests of one image are looked into."""


@attrs.frozen(slots=True)
class Closure:
    """``platforms`` are the manifests that indices name, of which ``here`` are on disk; of what those and
    the top name themselves, config and layers, ``missing`` of ``blobs`` are not. ``cut``: there is more."""

    platforms: int = 0
    here: int = 0
    blobs: int = 0
    missing: int = 0
    cut: bool = False

    @property
    def whole(self) -> bool:
        """Whether whoever pulls a platform that is here gets all of it from the disk."""
        return not self.missing and not self.cut and (self.here > 0 or not self.platforms)


async def closure_of(store: ILocalStore, repository: Repository, top: Digest) -> Closure | None:
    """What is there of ``top``; None where ``top`` itself cannot be read as a manifest."""
    platforms, blobs, here = set[Digest](), set[Digest](), set[Digest]()
    cut, queue = False, deque([top])
    while queue:
        digest = queue.popleft()
        parts = None if digest in here else await _parts(store, repository, digest)
        if parts is None:
            continue
        here.add(digest)
        platforms.update(parts.children)
        blobs.update(parts.blobs)
        room = MAX_MANIFESTS - len(here) - len(queue)
        queue.extend(parts.children[:room])
        cut = cut or not parts.whole or len(parts.children) > room
    if top not in here:
        return None
    missing = sum(not rightful(store, repository, each) for each in blobs)
    return Closure(len(platforms), len(here & platforms), len(blobs), missing, cut)


async def _parts(store: ILocalStore, repository: Repository, digest: Digest) -> Parts | None:
    if not rightful(store, repository, digest):
        return None
    try:
        return parts_of(await store.manifests.get(repository, digest))
    except (ContentError, StorageFailed):
        return None
