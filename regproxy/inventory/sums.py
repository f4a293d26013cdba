"""What takes the disk: by upstream and by repository, what only that one holds and what it shares. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import attrs

from regproxy.eviction.holdings import Holdings
from regproxy.inventory.images import EVERYTHING, Wanted

T = TypeVar("T")


@attrs.frozen(slots=True)
class Share:
    """Of one upstream or repository: bytes on disk that nobody else holds, and those that others do too."""

    name: str
    own_bytes: int
    shared_bytes: int
    things: int
    tags: int

    @property
    def all_bytes(self) -> int:
        """Both."""
        return self.own_bytes + self.shared_bytes


@attrs.frozen(slots=True)
class Sums:
    """``disk_bytes``: what all that is wanted takes, each digest once."""

    disk_bytes: int
    upstreams: tuple[Share, ...]
    repositories: tuple[Share, ...]


class Slowly(Protocol):
    """Goes through many things, and lets others run meanwhile."""

    def __call__(self, found: Iterable[T], /) -> Iterable[T]:
        """The same things."""


def at_once(found: Iterable[T], /) -> Iterable[T]:
    """For where nobody waits."""
    return found


def sums(held: Holdings, wanted: Wanted = EVERYTHING, slowly: Slowly = at_once) -> Sums:
    """The largest first. Shared is what anybody else holds, wanted or not."""
    sizes: dict[str, int] = {}
    here: set[str] = set()
    touched: dict[str, bool] = {}
    for thing in slowly(held.things):
        name = thing.repository
        sizes[thing.digest] = thing.disk_bytes
        if name not in touched:
            touched[name] = wanted.touches(name)
        if touched[name]:
            here.add(thing.digest)
    repositories = _shares(held, sizes, lambda name: name, slowly)
    upstreams = _shares(held, sizes, _upstream, slowly)
    shown = tuple(share for share in repositories if wanted.touches(share.name))
    names = {_upstream(share.name) for share in shown}
    return Sums(
        sum(sizes[digest] for digest in here),
        tuple(share for share in upstreams if share.name in names),
        shown,
    )


def _upstream(repository: str) -> str:
    return repository.partition("/")[0]


def _shares(
    held: Holdings, sizes: dict[str, int], place_of: Callable[[str], str], slowly: Slowly
) -> list[Share]:
    places: dict[str, set[str]] = {}
    holders: dict[str, int] = {}
    for thing in slowly(held.things):
        place = places.setdefault(place_of(thing.repository), set())
        if thing.digest not in place:
            place.add(thing.digest)
            holders[thing.digest] = holders.get(thing.digest, 0) + 1
    tags: dict[str, int] = {}
    for tag in slowly(held.tags):
        name = place_of(tag.repository)
        tags[name] = tags.get(name, 0) + 1
        places.setdefault(name, set())
    found = []
    for name, digests in places.items():
        own = both = 0
        for digest in slowly(digests):
            both += sizes[digest]
            own += sizes[digest] if holders[digest] == 1 else 0
        found.append(Share(name, own, both - own, len(digests), tags.get(name, 0)))
    return sorted(found, key=lambda share: (-share.all_bytes, share.name))
