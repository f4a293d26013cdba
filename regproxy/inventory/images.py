"""Images as an operator sees them: a row for each tag, and for each manifest that has none. Pure.

An image is its manifest or index with all that is cached of it. What several images share counts for each
of them here; ``sums`` counts it once.
"""

from __future__ import annotations

from collections.abc import Iterator, Set

import attrs

from regproxy.eviction.holdings import Holdings, Repository, Tagged, Thing, by_repository
from regproxy.oci.images import ImagePattern


@attrs.frozen(slots=True)
class Row:
    """One image. ``tag`` None: it has none. ``digest`` None: what the tag means is not here.

    ``used_s`` is on the time line of uses; ``pulls`` are of the tag, or of the manifest without one;
    ``sent_bytes`` of all that belongs to it, by whatever name it was asked for. ``missing`` counts what of
    it is not here; platforms of an index that nobody asked for are not missed.
    """

    repository: str
    tag: str | None
    digest: str | None
    disk_bytes: int
    used_s: float
    pulls: int
    sent_bytes: int
    pinned: bool
    missing: int
    parts: tuple[Thing, ...] = attrs.field(default=(), eq=False, repr=False)
    """What is known to be here of it; :func:`without` lets go of it."""

    @property
    def key(self) -> str:
        """As people write it."""
        return f"{self.repository}@{self.digest}" if self.tag is None else f"{self.repository}:{self.tag}"


@attrs.frozen(slots=True)
class Wanted:
    """Which images are asked for: by ``pattern``, or those that ``digest`` is part of; neither: all."""

    pattern: ImagePattern | None = None
    digest: str | None = None

    def __str__(self) -> str:
        return self.digest or ("everything" if self.pattern is None else str(self.pattern))

    def touches(self, repository: str) -> bool:
        """Whether ``repository``, with its upstream, may have such an image."""
        return self.pattern is None or self.pattern.touches(repository)

    def means(self, repository: str, tag: str | None, digest: str | None) -> bool:
        """Whether the pattern means that image."""
        pattern = self.pattern
        if pattern is None:
            return True
        by_tag = tag is not None and pattern.means_tag(repository, tag)
        return by_tag or (digest is not None and pattern.means_digest(repository, digest))


EVERYTHING = Wanted()


def rows(held: Holdings, pinned: Set[str], wanted: Wanted = EVERYTHING) -> Iterator[Row]:
    """All images that are ``wanted``, in no order. ``pinned`` are keys of what stays."""
    for name, here in by_repository(held).items():
        if wanted.touches(name):
            yield from _rows(name, here, held, pinned, wanted)


def _rows(name: str, here: Repository, held: Holdings, pinned: Set[str], wanted: Wanted) -> Iterator[Row]:
    named = {below for digest in here.things for below in here.below(digest)}
    for digest, thing in here.things.items():
        tags = here.tags.get(digest, [])
        if not tags and (digest in named or not thing.manifest):
            continue
        meant: list[Tagged | None] = [tag for tag in tags if wanted.means(name, tag.tag, digest)]
        if not tags and wanted.means(name, None, digest):
            meant = [None]
        if not meant:
            continue
        closure = here.closure([digest])
        if wanted.digest is not None and wanted.digest not in closure:
            continue
        parts = tuple(here.things[each] for each in closure)
        disk_bytes, sent = sum(each.disk_bytes for each in parts), sum(each.sent_bytes for each in parts)
        lacks = missing(here, held, digest)
        for tag in meant:
            key = thing.key if tag is None else tag.key
            used = thing.used_s if tag is None else max(tag.used_s, thing.used_s)
            pulls, by_tag = (thing.pulls, 0) if tag is None else (tag.pulls, tag.sent_bytes)
            kept = key in pinned or thing.key in pinned
            named_so = None if tag is None else tag.tag
            yield Row(name, named_so, digest, disk_bytes, used, pulls, sent + by_tag, kept, lacks, parts)
    for tag in here.dangling:
        if wanted.means(name, tag.tag, tag.digest) and wanted.digest in (None, tag.digest):
            kept = tag.key in pinned
            yield Row(name, tag.tag, tag.digest, 0, tag.used_s, tag.pulls, tag.sent_bytes, kept, 1)


def without(row: Row, lost: Set[str]) -> Row:
    """The same where the disk does not have ``lost`` any more, though nobody took it away. Its parts are let
    go of: a long list of them would be much for the garbage collector."""
    gone = [each.disk_bytes for each in row.parts if each.digest in lost]
    return attrs.evolve(row, disk_bytes=row.disk_bytes - sum(gone), missing=row.missing + len(gone), parts=())


def missing(here: Repository, held: Holdings, top: str) -> int:
    """How much of an image is not here. An index lacks what its cached children lack, all where none is."""
    lacks: set[str] = set()
    seen, level = {top}, [top]
    while level:
        below: list[str] = []
        for digest in level:
            names = held.names.get(digest, ())
            children = [each for each in names if each in here.things and here.things[each].manifest]
            below += [child for child in children if child not in seen]
            seen.update(below)
            if not children:
                lacks.update(each for each in names if each not in here.things)
        level = below
    return len(lacks)
