"""Which tags a repository has: upstream's list, remembered for a while, or the best that is known.

A list is under the rule that matches every tag, by the same decisions as a tag. Laws: at most one list
request a repository at a time. What is remembered is bounded in lists and in tags. When the upstream cannot
be asked: its last list, else the tags on disk, each with a warning and without a wait (R94, P33).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

import attrs
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from regproxy.errors import Denied, NotFound, UpstreamError
from regproxy.interfaces import How, ILocalStore, IRemoteRegistry, TagList
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.proxy import freshness
from regproxy.proxy.freshness import Act, Plan, Then
from regproxy.proxy.refreshing import Refreshing
from regproxy.proxy.tag_rules import TagRules
from regproxy.settings import TagRule
from regproxy.singleflight import SingleFlight

MAX_REMEMBERED_TAGS = 500_000
SLICE = 100
"""So many records of tags are read, of 20 us each; then others have a turn."""


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
        rules: Mapping[str, TagRules],
        clock: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        self._store = store
        self._remotes = remotes
        self._rules = rules
        self._clock = clock
        self._wall = wall
        self._refreshing = Refreshing(clock)
        self._flights: SingleFlight[tuple[Repository, float], _Remembered] = SingleFlight()
        self._remembered: OrderedDict[Repository, _Remembered] = OrderedDict()
        self._count = 0

    def get(self, repository: Repository) -> Deferred[TagList]:
        """The list, by the freshness of the rule for all tags; as :meth:`ITagService.list`."""
        return Deferred.fromCoroutine(self._get(repository))

    async def _get(self, repository: Repository) -> TagList:
        remote, rule = self._remotes[repository.upstream], self._rules[repository.upstream].for_all
        known, standing = self._valid(repository), remote.standing()
        plan = freshness.decide(known, rule, standing, remote.allowance(), self._wall())
        if plan.act is Act.REFUSE:
            return await self._from_here(repository, freshness.refusal(repository.upstream, standing))
        if known is not None and plan.act in (Act.SERVE, Act.REFRESH, Act.STALE):
            self._remembered.move_to_end(repository)
            if plan.act is Act.STALE:
                return self._stale(repository, known, freshness.cause_of(plan, standing, None))
            if plan.act is Act.REFRESH:
                self._refreshing.begin(repository, lambda: self._ask(repository))
            return TagList(known.tags, How.HIT)
        return await self._asked(repository, rule, plan, known)

    async def _asked(
        self, repository: Repository, rule: TagRule, plan: Plan, known: _Remembered | None
    ) -> TagList:
        """The upstream's list, or what there is in its place."""
        error: UpstreamError | None = None
        asking = self._ask(repository)
        if plan.wait_s is not None:
            asking.addTimeout(plan.wait_s, self._clock)
        try:
            return TagList((await asking).tags, How.MISS)
        except TimeoutError:
            pass
        except UpstreamError as found:
            error = found
        servable = plan.act is Act.ASK and self._valid(repository) is known
        verdict = freshness.follow(freshness.outcome_of(error), rule, servable=servable)
        if known is not None and verdict.then is Then.STALE:
            standing = self._remotes[repository.upstream].standing()
            return self._stale(repository, known, freshness.cause_of(plan, standing, error))
        if error is None:
            return TagList((await self._ask(repository)).tags, How.MISS)
        if verdict.forget or verdict.revoke:
            raise error
        return await self._from_here(repository, error)

    def _stale(self, repository: Repository, known: _Remembered, cause: str) -> TagList:
        warning = f"stale: {repository.upstream}: {cause}; list of {freshness.timestamp(known.checked_s)}"
        age_s = max(0.0, self._wall() - known.checked_s)
        return TagList(known.tags, How.STALE, warning, age_s)

    def _ask(self, repository: Repository) -> Deferred[_Remembered]:
        """The upstream's list, one request for all who wait."""
        flight = repository, self._store.revoked_s(repository)
        return self._flights.run(flight, lambda: self._question(repository))

    async def _question(self, repository: Repository) -> _Remembered:
        rule, known = self._rules[repository.upstream].for_all, self._valid(repository)
        stamp_s, revoked_s = self._store.stamp(repository), self._store.revoked_s(repository)
        since_s = freshness.confirmed_s(stamp_s, self._wall(), revoked_s)
        try:
            tags = await self._remotes[repository.upstream].tags.list(repository)
        except (NotFound, Denied) as error:
            servable = known is not None and freshness.may_serve(known, rule, self._wall())
            verdict = freshness.follow(freshness.outcome_of(error), rule, servable=servable)
            if verdict.then is not Then.STALE:
                self._forget(repository)
            raise
        return self._remember(repository, tags, since_s)

    def _valid(self, repository: Repository) -> _Remembered | None:
        """What is remembered, unless the repository was revoked since."""
        known = self._remembered.get(repository)
        return known if known is not None and known.checked_s > self._store.revoked_s(repository) else None

    async def _from_here(self, repository: Repository, error: UpstreamError) -> TagList:
        """The tags on disk, where the upstream gives no list and none is remembered."""
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
        found: list[str] = []
        for number, name in enumerate(tags, 1):
            record = self._store.peek_tag(repository, Tag.parse(name))
            if record is not None and record.checked_s > revoked_s:
                found.append(name)
            if not number % SLICE:
                await deferLater(self._clock, 0)
        return tuple(found)

    def _remember(self, repository: Repository, tags: tuple[str, ...], since_s: float) -> _Remembered:
        self._forget(repository)
        self._count += len(tags) + 1
        found = self._remembered[repository] = _Remembered(tags, since_s)
        while self._count > MAX_REMEMBERED_TAGS:
            self._forget(next(iter(self._remembered)))
        return found

    def _forget(self, repository: Repository) -> None:
        old = self._remembered.pop(repository, None)
        if old is not None:
            self._count -= len(old.tags) + 1
