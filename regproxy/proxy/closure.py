"""How much of an image lies on disk by its repository's right: what a pull would find here.

It reads manifests that are on disk, and asks nobody. Manifests name hundreds of thousands of blobs where
somebody means harm: others have their turn meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import attrs

from regproxy.errors import ContentError, StorageFailed
from regproxy.interfaces import ILocalStore
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.proxy.parts import Parts, parts_of
from regproxy.proxy.permission import rightful

MAX_MANIFESTS = 256
"""So many manifests of one image are looked into."""
READS, SLICE = 4, 100
"""After so many manifests, of 3 ms at most, others have a turn, and after so many looks, of 10 us each."""


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


async def closure_of(
    store: ILocalStore, repository: Repository, top: Digest, turn: Callable[[], Awaitable[None]]
) -> Closure | None:
    """What is there of ``top``; None where ``top`` itself cannot be read as a manifest. ``turn`` lets others
    have theirs."""
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
        if len(here) % READS == 0:
            await turn()
        room = MAX_MANIFESTS - len(here) - len(queue)
        queue.extend(parts.children[:room])
        cut = cut or not parts.whole or len(parts.children) > room
    if top not in here:
        return None
    missing = 0
    for number, each in enumerate(blobs, 1):
        missing += not rightful(store, repository, each)
        if number % SLICE == 0:
            await turn()
    return Closure(len(platforms), len(here & platforms), len(blobs), missing, cut)


async def _parts(store: ILocalStore, repository: Repository, digest: Digest) -> Parts | None:
    if not rightful(store, repository, digest):
        return None
    try:
        return parts_of(await store.manifests.get(repository, digest))
    except (ContentError, StorageFailed):
        return None
