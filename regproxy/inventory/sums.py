"""What takes the disk: by upstream and by repository, what only that one holds and what it shares. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from regproxy.eviction.holdings import Holdings
from regproxy.inventory.images import EVERYTHING, Wanted


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


def sums(held: Holdings, wanted: Wanted = EVERYTHING) -> Sums:
    """The largest first. Shared is what anybody else holds, wanted or not."""
    sizes = {thing.digest: thing.disk_bytes for thing in held.things}
    here = {thing.digest for thing in held.things if wanted.touches(thing.repository)}
    tags = [tag.repository for tag in held.tags]
    things = [(thing.repository, thing.digest) for thing in held.things]
    by_upstream = [(_upstream(name), digest) for name, digest in things]
    repositories = _shares(things, sizes, tags)
    upstreams = _shares(by_upstream, sizes, map(_upstream, tags))
    names = {_upstream(share.name) for share in repositories if wanted.touches(share.name)}
    return Sums(
        sum(sizes[digest] for digest in here),
        tuple(share for share in upstreams if share.name in names),
        tuple(share for share in repositories if wanted.touches(share.name)),
    )


def _upstream(repository: str) -> str:
    return repository.partition("/")[0]


def _shares(held: Iterable[tuple[str, str]], sizes: dict[str, int], tags: Iterable[str]) -> list[Share]:
    places: dict[str, set[str]] = {}
    holders: dict[str, int] = {}
    for name, digest in held:
        place = places.setdefault(name, set())
        if digest not in place:
            place.add(digest)
            holders[digest] = holders.get(digest, 0) + 1
    counts: dict[str, int] = {}
    for name in tags:
        counts[name] = counts.get(name, 0) + 1
        places.setdefault(name, set())
    found = []
    for name, digests in places.items():
        own = sum(sizes[digest] for digest in digests if holders[digest] == 1)
        both = sum(sizes[digest] for digest in digests)
        found.append(Share(name, own, both - own, len(digests), counts.get(name, 0)))
    return sorted(found, key=lambda share: (-share.all_bytes, share.name))
