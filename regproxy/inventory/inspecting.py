"""One digest as it lies here: who holds it and by which name, and the tree below it."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred

from regproxy.errors import ContentError, StorageFailed
from regproxy.eviction.holdings import Holdings, by_repository
from regproxy.interfaces import ILocalStore, Kind
from regproxy.oci import media_type as types
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.oci.platforms import children
from regproxy.oci.repository import Repository
from regproxy.proxy.parts import MAX_READ_BYTES
from regproxy.proxy.permission import rightful

MAX_HOLDERS = 100
MAX_NAMES = 100
MAX_ALL_NAMES = 1000
"""Of all holders together: an answer has its bound, and everybody has the empty layer."""
MAX_NODES = 1000
MAX_DEPTH = 4
SLICE = 50


@attrs.frozen(slots=True)
class Holder:
    """A repository that has the digest. ``tags`` mean it, ``manifests`` name it: of both the first
    few. ``used_s`` is on the time line of uses."""

    repository: str
    manifest: bool
    used_s: float
    pulls: int
    sent_bytes: int
    pinned: bool
    tags: tuple[str, ...]
    manifests: tuple[str, ...]


def holders(held: Holdings, pinned: frozenset[str], digest: str) -> tuple[int, list[Holder]]:
    """How many repositories hold ``digest``, and the first MAX_HOLDERS by name. Pure."""
    found = []
    for name, here in by_repository(held).items():
        thing = here.things.get(digest)
        if thing is None:
            continue
        tags = sorted(tag.tag for tag in here.tags.get(digest, ()))
        naming = sorted(each for each in here.things if digest in here.below(each))
        found.append(
            Holder(
                name,
                thing.manifest,
                thing.used_s,
                thing.pulls,
                thing.sent_bytes,
                thing.key in pinned,
                tuple(tags),
                tuple(naming),
            )
        )
    found.sort(key=lambda holder: holder.repository)
    listed = found[:MAX_HOLDERS]
    most = min(MAX_NAMES, MAX_ALL_NAMES // max(1, len(listed)))
    return len(found), [
        attrs.evolve(holder, tags=holder.tags[:most], manifests=holder.manifests[:most]) for holder in listed
    ]


@attrs.frozen(slots=True)
class Node:
    """Something in the tree, ``depth`` below its top. ``size_bytes`` is what its manifest says, of the top
    what is here. ``here``: the bytes are on disk; ``right``: its repository may serve them. ``since_s`` is
    when its upstream last showed that it holds them."""

    digest: Digest
    depth: int
    media_type: str
    size_bytes: int | None
    here: bool
    right: bool
    since_s: float | None
    platform: str | None = None


async def tree(
    store: ILocalStore, repository: Repository, top: Digest, turn: Callable[[], Deferred[None]]
) -> tuple[list[Node], bool]:
    """The tree below ``top`` by what is cached, and whether that is all of it. StorageFailed.

    ``turn`` lets others have theirs: looking at a node takes 30 us.
    """
    link = store.link(repository, top)
    media_type = "" if link is None or link[0] is not Kind.MANIFEST else link[1].media_type
    climb = _Climb(store, repository, turn)
    await climb.below(_node(store, repository, top, 0, media_type, None))
    return climb.nodes, climb.whole


class _Climb:
    """From the top down, each manifest followed by what it names."""

    def __init__(
        self, store: ILocalStore, repository: Repository, turn: Callable[[], Deferred[None]]
    ) -> None:
        self._store = store
        self._repository = repository
        self._turn = turn
        self.nodes: list[Node] = []
        self.whole = True

    async def below(self, node: Node) -> None:
        """``node``, and what it names."""
        if len(self.nodes) >= MAX_NODES:
            self.whole = False
            return
        self.nodes.append(node)
        if not len(self.nodes) % SLICE:
            await self._turn()
        manifest = await self._manifest(node)
        if manifest is None:
            return
        platforms = {child.digest: child.platform for child in children(manifest)}
        for named in manifest.names()[: MAX_NODES + 1]:
            below = _node(
                self._store,
                self._repository,
                named.digest,
                node.depth + 1,
                named.media_type,
                named.size_bytes,
            )
            platform = platforms.get(named.digest)
            await self.below(attrs.evolve(below, platform=None if platform is None else str(platform)))
            if not self.whole and len(self.nodes) >= MAX_NODES:
                return

    async def _manifest(self, node: Node) -> Manifest | None:
        """What it is, where that is to be looked into; one that is too large is not."""
        is_one = not node.depth or node.media_type in types.MANIFEST_TYPES
        if node.depth >= MAX_DEPTH or not node.right or not is_one:
            return None
        try:
            found = await self._store.manifests.stat(self._repository, node.digest)
            if found.size_bytes > MAX_READ_BYTES:
                self.whole = False
                return None
            return await self._store.manifests.get(self._repository, node.digest)
        except (ContentError, StorageFailed):
            return None


def _node(
    store: ILocalStore,
    repository: Repository,
    digest: Digest,
    depth: int,
    media_type: str,
    size_bytes: int | None,
) -> Node:
    here = store.holds(digest)
    found = store.link(repository, digest)
    since_s = None if found is None else found[1].since_s
    right = here is not None and rightful(store, repository, digest)
    size = here if size_bytes is None else size_bytes
    return Node(digest, depth, media_type, size, here is not None, right, since_s)
