"""Which of the images that a tag has meant can be pulled whole from the disk, while nobody can be asked.

Laws: an image is whole when its manifest, its config and its layers are here, by the repository's own
right; an index when that is so for every child that is cached, and one is at least. The newest that is
whole is chosen; where none is, the newest that is here, and it is told how much it lacks. Looking is
bounded, goes in slices, and is remembered for a moment.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeAlias

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from regproxy.errors import ContentError, StorageFailed
from regproxy.interfaces import ILocalStore, TagRecord
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor
from regproxy.oci.repository import Repository
from regproxy.proxy.parts import MAX_DEPTH, MAX_READ_BYTES, Parts, missing, parts_of
from regproxy.proxy.permission import rightful
from regproxy.singleflight import SingleFlight

_Key: TypeAlias = tuple[Repository, float, tuple[Digest, ...]]

MAX_LOOKS = 2000
"""So many things are looked for, for one tag; what would need more counts as not whole."""
SLICE = 100
"""After so many looks, of 10 us each, others have a turn."""
REMEMBER_S = 5.0
MAX_REMEMBERED = 1024
MAX_PARTS = 100_000
"""Digests that manifests name, as far as they are remembered."""


@attrs.frozen(slots=True)
class Chosen:
    """``missing`` counts what it lacks, 0: it is whole; ``newest``: it is what the tag meant last."""

    descriptor: Descriptor
    missing: int
    newest: bool

    @property
    def is_as_it_was(self) -> bool:
        """Whether there is nothing to be said of it."""
        return self.newest and not self.missing

    def added_to(self, warning: str) -> str:
        """``warning`` with what is to be said of it, if anything is."""
        said = [warning]
        if not self.newest:
            said.append(f"this is an older one, {self.descriptor.digest}, since the newest is not whole here")
        if self.missing:
            said.append(f"{self.missing} of its blobs {'is' if self.missing == 1 else 'are'} missing here")
        return "; ".join(said)


def candidates(record: TagRecord) -> tuple[Digest, ...]:
    """What the tag has meant, the newest first, each once."""
    before = (meaning.digest for meaning in reversed(record.history))
    return tuple(dict.fromkeys((record.descriptor.digest, *before)))


class Completeness:
    """Looks at one store. What manifests name is remembered for long: it never changes."""

    def __init__(self, store: ILocalStore, clock: IReactorTime) -> None:
        self._store = store
        self._clock = clock
        self._flights: SingleFlight[_Key, Chosen | None] = SingleFlight()
        self._chosen: OrderedDict[_Key, tuple[float, Chosen | None]] = OrderedDict()
        self._parts: OrderedDict[Digest, Parts] = OrderedDict()
        self._weight = 0

    def __repr__(self) -> str:
        return f"<Completeness {len(self._parts)} manifests>"

    def choose(self, repository: Repository, record: TagRecord) -> Deferred[Chosen | None]:
        """What is to be served of a tag now; None: nothing of it is here. Never fails."""
        key = self._key(repository, record)
        return self._flights.run(key, lambda: self._remembered(key))

    def known(self, repository: Repository, record: TagRecord) -> Chosen | None:
        """What :meth:`choose` found a moment ago; None says nothing. Costs some microseconds."""
        found = self._recent(self._key(repository, record))
        return None if found is None else found[1]

    def _key(self, repository: Repository, record: TagRecord) -> _Key:
        """Who comes after a revocation shares nothing of before it."""
        return repository, self._store.revoked_s(repository), candidates(record)

    def _recent(self, key: _Key) -> tuple[float, Chosen | None] | None:
        found = self._chosen.get(key)
        recent = found is not None and 0.0 <= self._clock.seconds() - found[0] < REMEMBER_S
        return found if recent else None

    async def _remembered(self, key: _Key) -> Chosen | None:
        found = self._recent(key)
        if found is not None:
            return found[1]
        chosen = await _Look(self, key[0]).choose(key[2])
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
            return rightful(self._store, repository, digest)
        except StorageFailed:
            return False

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
