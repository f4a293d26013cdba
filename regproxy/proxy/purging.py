"""A purge: an operator takes a tag, a manifest or a whole repository away from this mirror.

Laws: what else the repository keeps loses nothing that it names. Names go before what they name, and
bytes with their last link, by the store's own way: no reader and no fill is cut. What comes while it
runs is a new pull's, and stays.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
from twisted.internet.defer import DeferredLock

from regproxy.errors import StorageFailed
from regproxy.interfaces import Inventory, IPurges, Taken
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag


@attrs.frozen(slots=True)
class Purged:
    """What went, or would go. ``failed``: the disk refused the rest, and why."""

    taken: tuple[Taken, ...]
    failed: str | None = None


class Purging:
    """Purges over ``store``, one after the other."""

    def __init__(self, store: IPurges) -> None:
        self._store = store
        self._turn = DeferredLock()

    async def purge(self, repository: Repository, reference: Reference | None, *, dry_run: bool) -> Purged:
        """Take away what ``reference`` names, None: the whole repository. StorageFailed before it began."""
        await self._turn.acquire()
        try:
            held = await self._store.inventory(repository, depth=reference is not None)
            doing = self._store.foresee if dry_run else self._store.purge
            taken: list[Taken] = []
            for each in doomed(held, reference):
                try:
                    found = await doing(repository, each)
                except StorageFailed as error:
                    return Purged(tuple(taken), error.message)
                if found is not None:
                    taken.append(found)
            return Purged(tuple(taken))
        finally:
            self._turn.release()


def doomed(held: Inventory, reference: Reference | None) -> list[Reference]:
    """What goes with ``reference``, in the order in which it goes: tags, manifests from the top, blobs.

    With a tag goes what it names, unless another tag or an index that stays names it too; with a digest
    the tags that name it. Both take what only they name. None takes everything.
    """
    if reference is None:
        return _in_order(held, held.tags, [*held.manifests, *held.blobs])
    if isinstance(reference, Tag):
        if reference not in held.tags:
            return []
        top = held.tags[reference]
        tags = {reference}
    else:
        top = reference
        tags = {tag for tag, named in held.tags.items() if named == top}
    if top is None:
        return _in_order(held, tags, [])
    below = _reached(held, [top])
    named = {digest for tag, digest in held.tags.items() if tag not in tags and digest is not None}
    roots = (set(held.manifests) - set(below)) | named
    kept = set(_reached(held, roots, without=top if isinstance(reference, Digest) else None))
    if top in kept:
        return _in_order(held, tags, [])
    return _in_order(held, tags, [digest for digest in below if digest not in kept])


def _reached(held: Inventory, roots: Iterable[Digest], without: Digest | None = None) -> list[Digest]:
    """All that ``roots`` name, themselves first, whatever names what in a circle; never ``without``."""
    found = dict.fromkeys(digest for digest in roots if digest != without)
    waiting = list(found)
    for digest in waiting:
        for named in sorted(held.manifests.get(digest, ())):
            if named not in found and named != without:
                found[named] = None
                waiting.append(named)
    return waiting


def _in_order(held: Inventory, tags: Iterable[Tag], digests: Iterable[Digest]) -> list[Reference]:
    there = list(
        dict.fromkeys(digest for digest in digests if digest in held.manifests or digest in held.blobs)
    )
    manifests = [digest for digest in there if digest in held.manifests]
    return [*sorted(tags), *manifests, *(digest for digest in there if digest not in held.manifests)]
