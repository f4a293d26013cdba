"""A purge: an operator takes a tag, a manifest or a whole repository away from this mirror.

Laws: what else the repository keeps loses nothing that it names. Names go before what they name, and
bytes with their last link, by the store's own way: no reader and no fill is cut. What comes while it
runs is a new pull's, and stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeAlias

import attrs
from twisted.internet.defer import Deferred, DeferredLock

from regproxy.errors import StorageFailed
from regproxy.interfaces import Fate, Inventory, IPurges, Kind, Taken
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag

MAX_FIRST = 100

Target: TypeAlias = Reference | frozenset[Tag] | None
"""What is to go of a repository: what one reference names, or these tags do; None: all of it."""


@attrs.define
class Purged:
    """What went, or would go: how much, and the first MAX_FIRST things of it.

    ``files`` and ``size_bytes`` are of content on disk, by its fate. ``failed``: the disk refused the rest,
    and why.
    """

    kinds: Counter[Kind | None] = attrs.field(factory=Counter)
    files: Counter[Fate] = attrs.field(factory=Counter)
    size_bytes: Counter[Fate] = attrs.field(factory=Counter)
    first: list[Taken] = attrs.field(factory=list)
    failed: str | None = None

    def add(self, taken: Taken) -> None:
        """One more thing."""
        self.kinds[taken.kind] += 1
        if taken.kind is not None and taken.fate is not Fate.ABSENT:
            self.files[taken.fate] += 1
            self.size_bytes[taken.fate] += taken.size_bytes
        if len(self.first) < MAX_FIRST:
            self.first.append(taken)

    def take(self, other: Purged) -> None:
        """All of ``other`` too."""
        self.kinds += other.kinds
        self.files += other.files
        self.size_bytes += other.size_bytes
        self.first += other.first[: MAX_FIRST - len(self.first)]
        self.failed = other.failed


class Purging:
    """Purges over ``store``, one after the other; what is large is done in its threads.

    ``purged`` is told of each repository that something was taken from.
    """

    def __init__(
        self, store: IPurges, purged: Callable[[Repository], None] = lambda repository: None
    ) -> None:
        self._store = store
        self._purged = purged
        self._turn = DeferredLock()

    async def purge(self, repository: Repository, reference: Target, *, dry_run: bool) -> Purged:
        """Take away what ``reference`` names. StorageFailed before it began."""
        await self._turn.acquire()
        try:
            going = await self._store.decide(
                repository, reference is not None, partial(doomed, reference=reference)
            )
            return await self._each(repository, going, self._store.foresee if dry_run else self._store.purge)
        finally:
            self._turn.release()
            if not dry_run:
                self._purged(repository)

    async def _each(
        self,
        repository: Repository,
        going: Iterable[Reference],
        take: Callable[[Repository, Reference], Deferred[Taken | None]],
    ) -> Purged:
        purged = Purged()
        for each in going:
            try:
                taken = await take(repository, each)
            except StorageFailed as error:
                purged.failed = error.message
                break
            if taken is not None:
                purged.add(taken)
        return purged


def doomed(held: Inventory, reference: Target) -> list[Reference]:
    """What goes with ``reference``, in the order in which it goes: tags, manifests from the top, blobs.

    With tags goes what they name, unless another tag or an index that stays names it too; with a digest
    the tags that name it. Both take what only they name. None takes everything.
    """
    if reference is None:
        return _in_order(held, held.tags, [*held.manifests, *held.blobs])
    if isinstance(reference, Digest):
        tops = [reference]
        tags = {tag for tag, named in held.tags.items() if named == reference}
    else:
        tags = held.tags.keys() & ({reference} if isinstance(reference, Tag) else reference)
        tops = [top for tag in sorted(tags) if (top := held.tags[tag]) is not None]
    if not tops:
        return _in_order(held, tags, [])
    below = _reached(held, tops)
    named = {digest for tag, digest in held.tags.items() if tag not in tags and digest is not None}
    roots = (set(held.manifests) - set(below)) | named
    kept = set(_reached(held, roots, without=reference if isinstance(reference, Digest) else None))
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
