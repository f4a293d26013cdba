"""One digest as it lies here: who holds it and by which name, and the tree below it."""

from __future__ import annotations

import attrs

from regproxy.errors import ContentError, StorageFailed
from regproxy.eviction.holdings import Holdings, by_repository
from regproxy.interfaces import ILocalStore, Kind
from regproxy.oci import media_type as types
from regproxy.oci.digest import Digest
from regproxy.oci.platforms import children
from regproxy.oci.repository import Repository
from regproxy.proxy.permission import rightful

MAX_HOLDERS = 100
MAX_NAMES = 100
MAX_NODES = 1000
MAX_DEPTH = 4


@attrs.frozen(slots=True)
class Holder:
    """A repository that has the digest. ``tags`` mean it, ``manifests`` name it: of both the first
    MAX_NAMES. ``used_s`` is on the time line of uses."""

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
                tuple(tags[:MAX_NAMES]),
                tuple(naming[:MAX_NAMES]),
            )
        )
    found.sort(key=lambda holder: holder.repository)
    return len(found), found[:MAX_HOLDERS]


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


async def tree(store: ILocalStore, repository: Repository, top: Digest) -> tuple[list[Node], bool]:
    """The tree below ``top`` by what is cached, and whether that is all of it. StorageFailed."""
    link = store.link(repository, top)
    media_type = "" if link is None or link[0] is not Kind.MANIFEST else link[1].media_type
    nodes: list[Node] = []
    whole = await _below(store, repository, _node(store, repository, top, 0, media_type, None), nodes)
    return nodes, whole


async def _below(store: ILocalStore, repository: Repository, node: Node, nodes: list[Node]) -> bool:
    if len(nodes) >= MAX_NODES:
        return False
    nodes.append(node)
    if node.depth >= MAX_DEPTH or not node.right:
        return True
    if node.depth and node.media_type not in types.MANIFEST_TYPES:
        return True
    try:
        manifest = await store.manifests.get(repository, node.digest)
    except (ContentError, StorageFailed):
        return True
    platforms = {child.digest: child.platform for child in children(manifest)}
    whole = True
    for named in manifest.names():
        platform = platforms.get(named.digest)
        below = _node(store, repository, named.digest, node.depth + 1, named.media_type, named.size_bytes)
        below = attrs.evolve(below, platform=None if platform is None else str(platform))
        whole = await _below(store, repository, below, nodes) and whole
        if not whole and len(nodes) >= MAX_NODES:
            break
    return whole


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
