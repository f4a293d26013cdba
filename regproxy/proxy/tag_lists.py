"""Which tags a repository has: upstream's list, remembered for a while, or the best that is known.

Laws: at most one list request a repository at a time. What is remembered is bounded in lists and
in tags. When the upstream cannot be asked: its last list, else the tags on disk, each with a
warning (R94, P33).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import attrs
from twisted.internet.defer import Deferred

from regproxy.errors import Denied, NotFound, Throttled, UpstreamError, UpstreamTrouble
from regproxy.interfaces import How, ILocalStore, IRemoteRegistry, TagList
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.proxy.freshness import timestamp
from regproxy.settings import TagRule
from regproxy.singleflight import SingleFlight

MAX_REMEMBERED_TAGS = 500_000


@attrs.frozen(slots=True)
class _Remembered:
    tags: tuple[str, ...]
    checked_s: float


class TagLists:
    """Tag lists of every upstream."""

    def __init__(
        self,
        store: ILocalStore,
        remotes: Mapping[str, IRemoteRegistry],
        rules: Mapping[str, Sequence[TagRule]],
        wall: Callable[[], float],
    ) -> None:
        self._store = store
        self._remotes = remotes
        self._rules = rules
        self._wall = wall
        self._flights: SingleFlight[tuple[Repository, float], TagList] = SingleFlight()
        self._remembered: OrderedDict[Repository, _Remembered] = OrderedDict()
        self._count = 0

    def get(self, repository: Repository) -> Deferred[TagList]:
        """The list, one upstream request for all who wait; as :meth:`ITagService.list`."""
        flight = repository, self._store.revoked_s(repository)
        return self._flights.run(flight, lambda: self._get(repository))

    async def _get(self, repository: Repository) -> TagList:
        known = self._valid(repository)
        if known is not None and 0.0 <= self._wall() - known.checked_s < self._fresh_s(repository):
            self._remembered.move_to_end(repository)
            return TagList(known.tags, How.HIT)
        since_s = self._store.stamp(repository)
        try:
            tags = await self._remotes[repository.upstream].tags.list(repository)
        except (UpstreamTrouble, Throttled) as error:
            return await self._without_upstream(repository, self._valid(repository), error)
        except (NotFound, Denied):
            self._forget(repository)
            raise
        self._remember(repository, tags, since_s)
        return TagList(tags, How.MISS)

    def _valid(self, repository: Repository) -> _Remembered | None:
        """What is remembered, unless the repository was revoked since."""
        known = self._remembered.get(repository)
        return known if known is not None and known.checked_s > self._store.revoked_s(repository) else None

    def _fresh_s(self, repository: Repository) -> float:
        for rule in self._rules[repository.upstream]:
            if rule.match == "*":
                return rule.fresh_s
        return TagRule().fresh_s

    async def _without_upstream(
        self, repository: Repository, known: _Remembered | None, error: UpstreamError
    ) -> TagList:
        if known is not None:
            warning = f"stale: {error.message}; list of {timestamp(known.checked_s)}"
            age_s = max(0.0, self._wall() - known.checked_s)
            return TagList(known.tags, How.STALE, warning, age_s)
        tags = await self._tags_here(repository)
        if not tags:
            raise error
        return TagList(tags, How.STALE, f"incomplete: {error.message}; only the tags kept here")

    async def _tags_here(self, repository: Repository) -> tuple[str, ...]:
        """The tags on disk, without those that were last confirmed before a revocation."""
        tags = await self._store.tags(repository)
        revoked_s = self._store.revoked_s(repository)
        if not revoked_s:
            return tags
        records = ((name, self._store.tag(repository, Tag.parse(name))) for name in tags)
        return tuple(name for name, record in records if record is not None and record.checked_s > revoked_s)

    def _remember(self, repository: Repository, tags: tuple[str, ...], since_s: float) -> None:
        self._forget(repository)
        self._count += len(tags) + 1
        self._remembered[repository] = _Remembered(tags, since_s)
        while self._count > MAX_REMEMBERED_TAGS:
            self._forget(next(iter(self._remembered)))

    def _forget(self, repository: Repository) -> None:
        old = self._remembered.pop(repository, None)
        if old is not None:
            self._count -= len(old.tags) + 1
