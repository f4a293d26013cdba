"""Looks at all that is cached, for operators: what is large is done in the thread that plans evictions.

Laws: one look at a time, and few wait; none changes anything or counts as a use. The reactor is not held:
uses are gathered in slices, records of tags are read a few at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from heapq import nsmallest
from typing import TypeVar

import attrs
from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from regproxy.errors import Busy, StorageFailed
from regproxy.eviction.gathering import Gathering
from regproxy.eviction.holdings import Holdings
from regproxy.eviction.pins import Pins, pinned_keys
from regproxy.interfaces import ILocalStore, TagRecord
from regproxy.inventory.ahead import AHEAD_COUNT, Ahead
from regproxy.inventory.images import EVERYTHING, Row, Wanted, rows, without
from regproxy.inventory.inspecting import Holder, Node, holders, tree
from regproxy.inventory.listing import MAX_COUNT, SORTS, Page, Place, page
from regproxy.inventory.sums import Sums, sums
from regproxy.oci.digest import Digest
from regproxy.oci.images import ImagePattern
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.proxy import freshness
from regproxy.proxy.permission import rightful
from regproxy.proxy.tag_rules import TagRules

T = TypeVar("T")

MAX_WAITING = 4
SLICE = 20
"""So many records of tags are read, of 20 us each; then others have a turn."""
BREATH = 256
BREATH_S = 0.0005
MAX_TAGS = 10_000
"""So many tags are refreshed by one pattern."""


@attrs.frozen(slots=True)
class Image:
    """A row with what is known of its tag. Times are seconds since the epoch; ``fresh`` None: no tag, or
    nothing is known of it."""

    row: Row
    used_s: float
    checked_s: float | None = None
    fresh: bool | None = None


@attrs.frozen(slots=True)
class Inspected:
    """One digest. ``record`` is of the tag that was asked for; ``repository`` None where nobody holds it."""

    digest: Digest | None
    size_bytes: int | None
    repository: Repository | None
    record: TagRecord | None
    fresh: bool | None
    count: int
    holders: tuple[tuple[Holder, float], ...]
    """Each with its last use, in seconds since the epoch."""
    nodes: tuple[Node, ...]
    whole: bool
    pins: tuple[str, ...]


class Looking:
    """Over ``gathering``. ``rules`` are keyed by upstream; ``now_s`` is this moment on the time line of uses,
    ``wall`` seconds since the epoch."""

    def __init__(
        self,
        gathering: Gathering,
        pins: Pins,
        store: ILocalStore,
        rules: Mapping[str, TagRules],
        clock: IReactorTime,
        wall: Callable[[], float],
        now_s: Callable[[], float],
    ) -> None:
        self._gathering = gathering
        self._pins = pins
        self._store = store
        self._rules = rules
        self._clock = clock
        self._wall = wall
        self._now_s = now_s
        self._turn = DeferredLock()
        self._ahead = Ahead()

    async def images(
        self, wanted: Wanted, sort: str, after: Place | None, count: int
    ) -> tuple[tuple[Image, ...], Place | None]:
        """A page of images by one of SORTS, and where the next one begins. StorageFailed, Busy."""

        def decide(held: Holdings) -> Page[Row]:
            found = breathing(rows(held, pinned_keys(held, self._pins), wanted))
            listed = page(found, SORTS[sort], after, AHEAD_COUNT, AHEAD_COUNT)
            lost = frozenset(self._lost(listed.found))
            return Page(tuple(without(row, lost) for row in listed.found), listed.more)

        count = max(1, min(count, MAX_COUNT))
        found = self._ahead.take(wanted, sort, after, count, self._clock.seconds())
        if found is None:
            looked = await self._look(decide, wanted)
            found = self._ahead.keep(wanted, sort, looked, count, self._clock.seconds())
        images = []
        for number, row in enumerate(found.found):
            if number % SLICE == SLICE - 1:
                await deferLater(self._clock, 0)
            images.append(self._image(row))
        return tuple(images), found.more

    async def sums(self, wanted: Wanted) -> Sums:
        """What takes the disk. StorageFailed, Busy."""
        return await self._look(partial(sums, wanted=wanted, slowly=breathing), EVERYTHING)

    async def tags(self, *wanted: Wanted) -> list[tuple[Repository, Tag]]:
        """The first MAX_TAGS cached tags that one of ``wanted`` means, by name. StorageFailed, Busy."""

        def decide(held: Holdings) -> list[tuple[str, str]]:
            found = ((tag.repository, tag.tag) for tag in held.tags)
            meant = (each for each in breathing(found) if any(one.means(*each, None) for one in wanted))
            return nsmallest(MAX_TAGS, meant)

        found = await self._look(decide, EVERYTHING)
        return [(_repository(name), Tag.parse(tag)) for name, tag in found]

    async def meant(self, wanted: Wanted) -> dict[Repository, frozenset[Tag] | Digest | None]:
        """What of which repository ``wanted`` means: by a glob the first MAX_TAGS tags, a digest where it is
        held, None: all that is held. StorageFailed, Busy."""
        pattern = wanted.pattern
        digest = wanted.digest if pattern is None else pattern.digest
        if digest is None and pattern is not None and not pattern.whole:
            tagged: dict[Repository, set[Tag]] = {}
            for repository, tag in await self.tags(wanted):
                tagged.setdefault(repository, set()).add(tag)
            return {repository: frozenset(tags) for repository, tags in tagged.items()}

        def decide(held: Holdings) -> list[str]:
            found = {each.repository for each in breathing(held.things) if digest in (None, each.digest)}
            found |= {each.repository for each in breathing(held.tags) if digest is None}
            return sorted(name for name in found if wanted.touches(name))

        names = await self._look(decide, EVERYTHING)
        return {_repository(name): None if digest is None else Digest.parse(digest) for name in names}

    async def kept_by(self, pattern: ImagePattern) -> tuple[int, int]:
        """How many images a pin keeps as things are, and what they take on the disk. StorageFailed, Busy."""

        def decide(held: Holdings) -> tuple[int, int]:
            sizes: dict[str, int] = {}
            count = 0
            for row in breathing(rows(held, frozenset(), Wanted(pattern))):
                count += 1
                sizes.setdefault(row.digest or row.key, row.disk_bytes)
            return count, sum(sizes.values())

        return await self._look(decide, Wanted(pattern))

    async def inspect(self, repository: Repository | None, reference: Tag | Digest) -> Inspected:
        """What is known of an image, or of a digest whoever holds it. StorageFailed, Busy."""
        record = None
        if isinstance(reference, Tag):
            assert repository is not None, "a tag is of a repository"
            record = self._store.tag(repository, reference)
        digest = reference if isinstance(reference, Digest) else None
        if record is not None:
            digest = record.descriptor.digest
        fresh = None if record is None or repository is None else self._fresh(repository, reference, record)
        if digest is None:
            return Inspected(None, None, repository, record, fresh, 0, (), (), True, ())

        def decide(held: Holdings) -> tuple[int, list[Holder]]:
            return holders(held, pinned_keys(held, self._pins), str(digest))

        count, found = await self._look(decide, EVERYTHING)
        place = repository
        if place is None and found:
            place = _repository(found[0].repository)
        nodes, whole = (
            ([], True)
            if place is None
            else await tree(self._store, place, digest, lambda: deferLater(self._clock, 0))
        )
        pins = {
            str(pattern)
            for holder in found
            for pattern in self._pins
            if pattern.means_digest(holder.repository, str(digest))
            or any(pattern.means_tag(holder.repository, tag) for tag in holder.tags)
        }
        timed = tuple((holder, self._to_wall(holder.used_s)) for holder in found)
        size_bytes = self._store.holds(digest)
        listed = tuple(sorted(pins))
        return Inspected(digest, size_bytes, place, record, fresh, count, timed, tuple(nodes), whole, listed)

    def has(self, repository: Repository, digest: Digest) -> bool:
        """Whether it is here by the repository's right."""
        return rightful(self._store, repository, digest)

    def _lost(self, listed: Sequence[Row]) -> Iterator[str]:
        """What of these has no file any more: it was set aside, or somebody removed it. In a thread."""
        parts = {each.digest for row in listed for each in row.parts}
        return (digest for digest in breathing(parts) if self._store.holds(Digest.parse(digest)) is None)

    async def _look(self, decide: Callable[[Holdings], T], wanted: Wanted) -> T:
        if len(self._turn.waiting) >= MAX_WAITING:
            raise Busy("too many listings are asked for at once; try again")
        await self._turn.acquire()
        try:
            touches = None if wanted is EVERYTHING else wanted.touches
            if touches is None:
                return await self._gathering.look(decide)
            return await self._gathering.look(decide, touches)
        finally:
            self._turn.release()

    def _image(self, row: Row) -> Image:
        used_s = self._to_wall(row.used_s)
        if row.tag is None:
            return Image(row, used_s)
        repository, tag = _repository(row.repository), Tag.parse(row.tag)
        try:
            record = self._store.peek_tag(repository, tag)
        except StorageFailed:
            record = None
        if record is None:
            return Image(row, used_s)
        return Image(row, used_s, record.checked_s, self._fresh(repository, tag, record))

    def _fresh(self, repository: Repository, tag: object, record: TagRecord) -> bool | None:
        rules = self._rules.get(repository.upstream)
        if rules is None or not isinstance(tag, Tag):
            return None
        return freshness.is_fresh(record, rules.of(tag), self._wall())

    def _to_wall(self, used_s: float) -> float:
        return self._wall() - (self._now_s() - used_s)


def breathing(found: Iterable[T]) -> Iterator[T]:
    """The same, for a thread: others run after each BREATH."""
    for number, each in enumerate(found, 1):
        if not number % BREATH:
            time.sleep(BREATH_S)
        yield each


def _repository(name: str) -> Repository:
    upstream, _, path = name.partition("/")
    return Repository.parse(upstream, path)
