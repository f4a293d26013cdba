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

from regproxy.errors import Throttled, UpstreamError, UpstreamTrouble
from regproxy.interfaces import How, ILocalStore, IRemoteRegistry, TagList
from regproxy.oci.repository import Repository
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
        self._flights: SingleFlight[Repository, TagList] = SingleFlight()
        self._remembered: OrderedDict[Repository, _Remembered] = OrderedDict()
        self._count = 0

    def get(self, repository: Repository) -> Deferred[TagList]:
        """The list, one upstream request for all who wait; as :meth:`ITagService.list`."""
        return self._flights.run(repository, lambda: self._get(repository))

    async def _get(self, repository: Repository) -> TagList:
        known = self._remembered.get(repository)
        if known is not None and 0.0 <= self._wall() - known.checked_s < self._fresh_s(repository):
            self._remembered.move_to_end(repository)
            return TagList(known.tags, How.HIT)
        try:
            tags = await self._remotes[repository.upstream].tags.list(repository)
        except (UpstreamTrouble, Throttled) as error:
            return await self._without_upstream(repository, known, error)
        self._remember(repository, tags)
        return TagList(tags, How.MISS)

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
            return TagList(known.tags, How.STALE, warning)
        tags = await self._store.tags(repository)
        if not tags:
            raise error
        return TagList(tags, How.STALE, f"incomplete: {error.message}; only the tags kept here")

    def _remember(self, repository: Repository, tags: tuple[str, ...]) -> None:
        old = self._remembered.pop(repository, None)
        self._count += len(tags) + 1 - (len(old.tags) + 1 if old is not None else 0)
        self._remembered[repository] = _Remembered(tags, self._wall())
        while self._count > MAX_REMEMBERED_TAGS:
            _, dropped = self._remembered.popitem(last=False)
            self._count -= len(dropped.tags) + 1
