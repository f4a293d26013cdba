"""Which of the images that a tag has meant can be pulled whole from the disk, while nobody can be asked.

Laws: an image is whole when its manifest, its config and its layers are here, by the repository's own
right; an index when that is so for every child that is cached, and one is at least. The newest that is
whole is chosen; where none is, the newest that is here, and it is told how much it lacks. Looking is
bounded, goes in slices, and is remembered for a moment.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from regproxy.errors import ContentError, StorageFailed, UpstreamTrouble
from regproxy.interfaces import ILocalStore, TagAnswer, TagRecord
from regproxy.oci import media_type as types
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.repository import Repository
from regproxy.singleflight import SingleFlight

MAX_LOOKS = 2000
"""So many things are looked for, for one tag; what would need more counts as not whole."""
SLICE = 100
"""After so many looks, of 10 us each, others have a turn."""
MAX_DEPTH = 3
"""An index in an index, and that in another one."""
MAX_READ_BYTES = 256 * 1024
"""A larger manifest is not read for this: it counts as not whole."""
REMEMBER_S = 5.0
MAX_REMEMBERED = 1024
MAX_PARTS = 100_000
"""Digests that manifests name, as far as they are remembered."""


@attrs.frozen(slots=True)
class Parts:
    """What one manifest names. ``whole`` False: that is not all of it."""

    children: tuple[Digest, ...] = ()
    blobs: tuple[Digest, ...] = ()
    whole: bool = True

    def __len__(self) -> int:
        return 1 + len(self.children) + len(self.blobs)


@attrs.frozen(slots=True)
class Chosen:
    """``missing`` counts what it lacks, 0: it is whole; ``newest``: it is what the tag meant last."""

    descriptor: Descriptor
    missing: int
    newest: bool

    def added_to(self, warning: str) -> str:
        """``warning`` with what is to be said of it, if anything is."""
        said = [warning]
        if not self.newest:
            said.append(f"this is an older one, {self.descriptor.digest}, since the newest is not whole here")
        if self.missing:
            said.append(f"{self.missing} of its blobs {'is' if self.missing == 1 else 'are'} missing here")
        return "; ".join(said)


def parts_of(manifest: Manifest) -> Parts:
    """By its bytes; a layer that clients get elsewhere is none of ours."""
    if len(manifest.content) > MAX_READ_BYTES:
        return Parts(whole=False)
    named = manifest.names()
    if manifest.media_type in types.INDEX_TYPES:
        return Parts(children=_each_once(named))
    return Parts(blobs=_each_once(each for each in named if not _is_foreign(each)))


def _each_once(named: Iterator[Descriptor] | Sequence[Descriptor]) -> tuple[Digest, ...]:
    return tuple(dict.fromkeys(each.digest for each in named))


def _is_foreign(layer: Descriptor) -> bool:
    return "foreign" in layer.media_type or "nondistributable" in layer.media_type


def missing(top: Digest, parts: Callable[[Digest], Parts | None], held: Callable[[Digest], bool]) -> int:
    """How many things the image of ``top`` lacks, each counted once. Pure.

    ``parts`` None: that manifest is not cached. An index without a cached child lacks all of them.
    """
    lacks: set[Digest] = set()
    seen, level = {top}, [top]
    for _ in range(MAX_DEPTH):
        below: dict[Digest, None] = {}
        for digest in level:
            found = parts(digest) or Parts(whole=False)
            lacks.update(blob for blob in found.blobs if not held(blob))
            cached = [child for child in found.children if parts(child) is not None]
            below.update(dict.fromkeys(child for child in cached if child not in seen))
            if not found.whole:
                lacks.add(digest)
            if not cached:
                lacks.update(found.children)
        seen.update(below)
        level = list(below)
    return len(lacks.union(level))


def candidates(record: TagRecord) -> tuple[Digest, ...]:
    """What the tag has meant, the newest first, each once."""
    before = (meaning.digest for meaning in reversed(record.history))
    return tuple(dict.fromkeys((record.descriptor.digest, *before)))


class Completeness:
    """Looks at one store. What manifests name is remembered for long: it never changes."""

    def __init__(self, store: ILocalStore, clock: IReactorTime) -> None:
        self._store = store
        self._clock = clock
        self._flights: SingleFlight[tuple[Repository, tuple[Digest, ...]], Chosen | None] = SingleFlight()
        self._chosen: OrderedDict[tuple[Repository, tuple[Digest, ...]], tuple[float, Chosen | None]]
        self._chosen = OrderedDict()
        self._parts: OrderedDict[Digest, Parts] = OrderedDict()
        self._weight = 0

    def __repr__(self) -> str:
        return f"<Completeness {len(self._parts)} manifests>"

    def choose(self, repository: Repository, record: TagRecord) -> Deferred[Chosen | None]:
        """What is to be served of a tag now; None: nothing of it is here. Never fails."""
        key = repository, candidates(record)
        return self._flights.run(key, lambda: self._remembered(*key))

    async def best(
        self,
        repository: Repository,
        record: TagRecord,
        stale: TagAnswer,
        trouble: BaseException | None,
        cached: bool,
    ) -> TagAnswer | None:
        """What is served in the place of ``stale``, which is what the tag meant last; None: nothing is here.

        ``cached``: its manifest is here. Where the ``trouble`` is but that the upstream is slow, or allows no
        more for now, what is missing can still be had, so that the newest is the best.
        """
        if not isinstance(trouble, UpstreamTrouble):
            return stale if cached else None
        chosen = await self.choose(repository, record)
        if chosen is None:
            return stale if cached else None
        warning = chosen.added_to(stale.warning or "")
        return attrs.evolve(stale, descriptor=chosen.descriptor, warning=warning)

    async def _remembered(self, repository: Repository, tops: tuple[Digest, ...]) -> Chosen | None:
        key, now_s = (repository, tops), self._clock.seconds()
        at_s, chosen = self._chosen.get(key, (float("-inf"), None))
        if 0.0 <= now_s - at_s < REMEMBER_S:
            return chosen
        chosen = await _Look(self, repository).choose(tops)
        self._chosen.pop(key, None)
        self._chosen[key] = self._clock.seconds(), chosen
        if len(self._chosen) > MAX_REMEMBERED:
            self._chosen.popitem(last=False)
        return chosen

    async def parts(self, repository: Repository, digest: Digest) -> tuple[Descriptor, Parts] | None:
        """What a manifest names that is here by the repository's right."""
        try:
            descriptor = await self._store.manifests.stat(repository, digest)
            known = self._parts.get(digest)
            if known is None:
                known = Parts(whole=False)
                if descriptor.size_bytes <= MAX_READ_BYTES:
                    known = parts_of(await self._store.manifests.get(repository, digest))
                self._keep(digest, known)
        except (ContentError, StorageFailed):
            return None
        return descriptor, known

    def _keep(self, digest: Digest, parts: Parts) -> None:
        if digest not in self._parts:
            self._parts[digest] = parts
            self._weight += len(parts)
        while self._weight > MAX_PARTS and len(self._parts) > 1:
            self._weight -= len(self._parts.popitem(last=False)[1])

    def holds(self, repository: Repository, digest: Digest) -> bool:
        """Whether a blob is here by the repository's right; some microseconds."""
        try:
            found = self._store.link(repository, digest)
            if found is None or found[1].since_s <= self._store.revoked_s(repository):
                return False
        except StorageFailed:
            return False
        return self._store.holds(digest) == found[1].size_bytes

    async def turn(self) -> None:
        """Let others have theirs."""
        await deferLater(self._clock, 0)


class _Look:
    """One look at what a tag has meant; nothing is looked for twice."""

    def __init__(self, shelf: Completeness, repository: Repository) -> None:
        self._shelf = shelf
        self._repository = repository
        self._manifests: dict[Digest, tuple[Descriptor, Parts] | None] = {}
        self._blobs: dict[Digest, bool] = {}
        self._looks = 0

    async def choose(self, tops: Sequence[Digest]) -> Chosen | None:
        newest: Chosen | None = None
        for number, top in enumerate(tops):
            seen = await self._manifest(top)
            if seen is None:
                continue
            whole = await self._gather(top)
            lacks = missing(top, self._parts, self._held)
            chosen = Chosen(seen[0], lacks or int(not whole), number == 0)
            if not chosen.missing:
                return chosen
            newest = newest or chosen
            if not whole:
                break
        return newest

    async def _gather(self, top: Digest) -> bool:
        """Look for all that belongs to it; False: there was too much."""
        seen, level = {top}, [top]
        for _ in range(MAX_DEPTH):
            below: list[Digest] = []
            for digest in level:
                known = await self._manifest(digest)
                if known is None:
                    continue
                if not await self._look_for(known[1].blobs):
                    return False
                below += [child for child in known[1].children if child not in seen]
                seen.update(below)
            level = below
        return True

    async def _look_for(self, blobs: Sequence[Digest]) -> bool:
        for blob in blobs:
            if blob not in self._blobs:
                if not await self._count():
                    return False
                self._blobs[blob] = self._shelf.holds(self._repository, blob)
        return True

    async def _manifest(self, digest: Digest) -> tuple[Descriptor, Parts] | None:
        if digest not in self._manifests:
            if not await self._count():
                return None
            self._manifests[digest] = await self._shelf.parts(self._repository, digest)
        return self._manifests[digest]

    async def _count(self) -> bool:
        self._looks += 1
        if self._looks % SLICE == 0:
            await self._shelf.turn()
        return self._looks <= MAX_LOOKS

    def _parts(self, digest: Digest) -> Parts | None:
        seen = self._manifests.get(digest)
        return None if seen is None else seen[1]

    def _held(self, digest: Digest) -> bool:
        return self._blobs.get(digest, False)
