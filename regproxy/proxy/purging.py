"""A purge: an operator takes a tag, a manifest or a whole repository away from this mirror.

Laws: what else the repository keeps loses nothing that it names. Names go before what they name, and
bytes with their last link, by the store's own way: no reader and no fill is cut. What comes while it
runs is a new pull's, and stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import TypeAlias

import attrs
from twisted.internet.defer import DeferredLock

from regproxy.errors import StorageFailed
from regproxy.interfaces import Fate, Inventory, IPurges, Kind, Taken
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag

MAX_FIRST = 100

Target: TypeAlias = Reference | frozenset[Tag] | None
"""What is to go of a repository: what one reference names, or these tags do; None: all of it."""

Take: TypeAlias = Callable[[Repository, Reference], Awaitable[Taken | None]]
"""Takes one thing, or says what would come of it."""


@attrs.define
class Purged:
    """What went, or would go: how much, and the first MAX_FIRST things of it.

    A digest counts once, however many repositories it was taken from, by what came of it in the end.
    ``files`` and ``size_bytes`` are of content on disk, by its fate. ``failed``: the disk refused the rest,
    and why.
    """

    kinds: Counter[Kind | None] = attrs.field(factory=Counter)
    files: Counter[Fate] = attrs.field(factory=Counter)
    size_bytes: Counter[Fate] = attrs.field(factory=Counter)
    first: list[Taken] = attrs.field(factory=list)
    failed: str | None = None
    _open: dict[Reference, tuple[Taken, int]] = attrs.field(factory=dict, eq=False, repr=False)
    """Digests that another repository of the selection may hold too, each with its place in ``first``."""

    def add(self, taken: Taken) -> None:
        """One more thing, or one that went from another repository before."""
        known, place = self._open.pop(taken.reference, (None, len(self.first)))
        if known is None:
            self.kinds[taken.kind] += 1
            if place < MAX_FIRST:
                self.first.append(taken)
        else:
            self._count(known, -1)
            if place < MAX_FIRST:
                self.first[place] = taken
        self._count(taken, 1)
        if taken.kind is not None and taken.fate is not Fate.FREED:
            self._open[taken.reference] = taken, place

    def _count(self, taken: Taken, number: int) -> None:
        if taken.kind is not None and taken.fate is not Fate.ABSENT:
            self.files[taken.fate] += number
            self.size_bytes[taken.fate] += number * taken.size_bytes


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
        return await self.purge_all({repository: reference}, dry_run=dry_run)

    async def purge_all(self, meant: Mapping[Repository, Target], *, dry_run: bool) -> Purged:
        """Take away what is meant of each repository, one after the other. StorageFailed before it began.

        A dry run counts what it would have taken before as gone: it says what the real one would.
        """
        purged = Purged()
        take = _Foresight(self._store).take if dry_run else self._store.purge
        for repository, reference in meant.items():
            try:
                await self._one(repository, reference, take, purged)
            except StorageFailed as error:
                if not purged.kinds:
                    raise
                purged.failed = error.message
            finally:
                if not dry_run:
                    self._purged(repository)
            if purged.failed is not None:
                break
        return purged

    async def _one(self, repository: Repository, reference: Target, take: Take, purged: Purged) -> None:
        await self._turn.acquire()
        try:
            going = await self._store.decide(
                repository, reference is not None, partial(doomed, reference=reference)
            )
            await _each(repository, going, take, purged)
        finally:
            self._turn.release()


async def _each(repository: Repository, going: Iterable[Reference], take: Take, purged: Purged) -> None:
    for each in going:
        try:
            taken = await take(repository, each)
        except StorageFailed as error:
            purged.failed = error.message
            break
        if taken is not None:
            purged.add(taken)


class _Foresight:
    """A dry run over several repositories: who would hold nothing of a digest any more when its turn is."""

    def __init__(self, store: IPurges) -> None:
        self._store = store
        self._before: dict[Reference, set[Repository]] = {}

    async def take(self, repository: Repository, reference: Reference) -> Taken | None:
        """As :meth:`IPurges.purge` would, had it been called for all before."""
        before = self._before.get(reference, set())
        taken = await self._store.foresee(repository, reference, before)
        if taken is not None and taken.fate in (Fate.SHARED, Fate.LATER):
            self._before.setdefault(reference, set()).add(repository)
        return taken


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
