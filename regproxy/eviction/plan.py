"""What goes when space is needed, and in which order. Pure.

Laws: first spools that nobody continues, then blobs that no manifest names, then images, each with the
layers that only it names; never more than is needed, and never what is pinned. What stays loses
nothing that it names. An image is a manifest that nothing else names, or that has a tag, with what only
it needs: an index with its cached children, each with config and layers.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator, Set
from heapq import merge
from itertools import islice

import attrs

from regproxy.eviction.holdings import Holdings, Repository, by_repository
from regproxy.eviction.score import score

GRACE_S = 600.0
"""A blob that no manifest names and that was used within this may be one of a pull that is under way:
it is looked at as an image of its own."""
PART = 500
"""So many are sorted at once."""


class What(enum.Enum):
    """What is removed."""

    SPOOL = "spool"
    BLOB = "blob"
    IMAGE = "image"


@attrs.frozen(slots=True)
class Removal:
    """Something that goes whole: ``keys`` in the order in which they go, names before what they name,
    each with its last use in ``used_s``.

    ``disk_bytes`` are free then, as far as nobody else holds them; ``pulls`` is how often it was asked
    for. A spool's key is its name.
    """

    what: What
    keys: tuple[str, ...]
    used_s: tuple[float, ...]
    disk_bytes: int
    pulls: int = 0


def plan(held: Holdings, pinned: Set[str], need_bytes: int) -> list[Removal]:
    """What to remove, in this order, so that ``need_bytes`` become free; all that may go where that is
    too little. ``pinned`` are keys that stay."""
    going: list[Removal] = []
    left = need_bytes
    order = _Order(held, pinned)
    for removal in order.removals():
        if left <= 0:
            break
        going.append(removal)
        left -= removal.disk_bytes
    order.let_go()
    return going


class _Repository:
    """What keeps each thing of a repository: the manifests that name it; one more for a root, that is
    what nothing names or a tag means; one more for good where it is pinned."""

    def __init__(self, here: Repository, pinned: Set[str]) -> None:
        self.here = here
        self.pinned = pinned
        self.holds = Counter(named for digest in here.things for named in here.below(digest))
        self.roots = [digest for digest in here.things if digest in here.tags or not self.holds[digest]]
        self.holds.update(self.roots)
        self.holds.update(digest for digest, thing in here.things.items() if thing.key in pinned)

    def release(self, root: str) -> list[str]:
        """What nothing keeps any more when ``root`` is none: itself first, then what it names."""
        going: list[str] = []
        released = [root]
        for digest in released:
            self.holds[digest] -= 1
            if not self.holds[digest]:
                going.append(digest)
                released.extend(self.here.below(digest))
        return going

    def own(self, root: str) -> list[str]:
        """What only ``root`` keeps, itself first."""
        found = [root]
        for digest in found:
            found.extend(named for named in self.here.below(digest) if self.holds[named] == 1)
        return list(dict.fromkeys(found))


@attrs.frozen(slots=True, eq=False)
class _Candidate:
    place: _Repository
    root: str
    what: What
    used_s: float
    pulls: int
    rank: float


class _Order:
    """``_holders``: by digest, how many repositories have it. Nothing large is done in one call: that would
    hold Python's lock, and with it the reactor."""

    def __init__(self, held: Holdings, pinned: Set[str]) -> None:
        self._held = held
        self._holders = Counter(thing.digest for thing in held.things)
        self._places = [_Repository(here, pinned) for here in by_repository(held).values()]
        self._parts: list[list[tuple[bool, float, int, _Candidate]]] = []

    def removals(self) -> Iterator[Removal]:
        """All that may go."""
        for spool in sorted(self._held.spools, key=lambda spool: -spool.age_s):
            yield Removal(What.SPOOL, (spool.name,), (self._held.now_s - spool.age_s,), spool.disk_bytes)
        turns = (
            (*self._turn(one), number, one)
            for number, one in enumerate(one for place in self._places for one in self._candidates(place))
        )
        while part := sorted(islice(turns, PART)):
            self._parts.append(part)
        for *_, candidate in merge(*self._parts):
            removal = self._remove(candidate)
            if removal is not None:
                yield removal

    def let_go(self) -> None:
        """Of everything, a part at a time."""
        for part in self._parts:
            part.clear()
        while self._places:
            self._places.pop()

    def _turn(self, one: _Candidate) -> tuple[bool, float]:
        """Unnamed blobs by their last use, then all else by its rank."""
        alone = one.what is What.BLOB and self._held.now_s - one.used_s >= GRACE_S
        return (False, one.used_s) if alone else (True, -one.rank)

    def _candidates(self, place: _Repository) -> Iterator[_Candidate]:
        for root in place.roots:
            thing = place.here.things[root]
            if thing.key in place.pinned:
                continue
            own = place.own(root)
            things = [place.here.things[digest] for digest in own]
            tags = [tag for digest in own for tag in place.here.tags.get(digest, ())]
            used_s = max([each.used_s for each in things] + [tag.used_s for tag in tags])
            asked = [each.pulls for each in things if each.manifest or each is thing]
            pulls = max(sum(tag.pulls for tag in tags), *asked) + self._held.gone.get(thing.key, 0)
            own_bytes = sum(each.disk_bytes for each in things)
            rank = score(self._held.now_s - used_s, pulls, own_bytes)
            what = What.IMAGE if thing.manifest else What.BLOB
            yield _Candidate(place, root, what, used_s, pulls, rank)

    def _remove(self, candidate: _Candidate) -> Removal | None:
        """None where something that stays needs it: it goes with that."""
        place = candidate.place
        going = place.release(candidate.root)
        if not going:
            return None
        freed = 0
        tags = [tag for digest in going for tag in place.here.tags.get(digest, ())]
        parts = [(tag.key, tag.used_s) for tag in tags]
        for digest in _named_last(place.here, going):
            self._holders[digest] -= 1
            thing = place.here.things[digest]
            freed += 0 if self._holders[digest] else thing.disk_bytes
            parts.append((thing.key, thing.used_s))
        keys, used_s = zip(*parts, strict=True)
        return Removal(candidate.what, keys, used_s, freed, candidate.pulls)


def _named_last(here: Repository, going: list[str]) -> list[str]:
    return sorted(going, key=lambda digest: not here.things[digest].manifest)
