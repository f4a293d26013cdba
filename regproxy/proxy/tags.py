"""The proxy tag service: what a tag means, asked for as seldom as its rule allows.

``proxy/freshness`` decides, this carries out. Laws: a tag that may be served without waiting is. Who waits
for an upstream while there is something cached does so for ``revalidate_wait`` at most, and for one that is
down not at all. What is served stale says so, and why (R52). While its upstream cannot be reached a tag is
the newest image of its own that the disk has whole; so it is where its manifest is gone here and cannot be
had. No answer is sent whose manifest is not in hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from regproxy.errors import NotFound, StorageFailed, Throttled, UpstreamError, UpstreamTrouble
from regproxy.interfaces import (
    NOBODY,
    How,
    ILocalStore,
    IRemoteRegistry,
    ITagService,
    IUses,
    TagAnswer,
    TagList,
    TagRecord,
)
from regproxy.metrics.tags import TagFigures
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.proxy import freshness
from regproxy.proxy.forcing import Forcing
from regproxy.proxy.freshness import Act, Plan, Then, Why
from regproxy.proxy.manifests import ProxyManifestStore
from regproxy.proxy.questions import TagQuestions
from regproxy.proxy.refreshing import Refreshing
from regproxy.proxy.stand_ins import StandIns
from regproxy.proxy.tag_lists import TagLists
from regproxy.proxy.tag_rules import TagRules
from regproxy.settings import TagRule

AT_ONCE = frozenset({Act.SERVE, Act.REFRESH})


@implementer(ITagService)
class ProxyTagService:
    """Tags of every upstream. ``rules`` are by upstream; ``wall`` gives seconds since the epoch."""

    def __init__(
        self,
        store: ILocalStore,
        remotes: Mapping[str, IRemoteRegistry],
        manifests: ProxyManifestStore,
        lists: TagLists,
        questions: TagQuestions,
        stand_ins: StandIns,
        rules: Mapping[str, TagRules],
        clock: IReactorTime,
        wall: Callable[[], float],
        uses: IUses = NOBODY,
        figures: TagFigures | None = None,
        forced: Callable[[Repository, Tag], None] = lambda repository, tag: None,
    ) -> None:
        """``forced`` is told of each tag that a client wants confirmed, and may."""
        self._forced = forced
        self._uses = uses
        self._figures = figures or TagFigures.apart()
        self._store = store
        self._remotes = remotes
        self._manifests = manifests
        self._lists = lists
        self._questions = questions
        self._stand_ins = stand_ins
        self._rules = rules
        self._clock = clock
        self._wall = wall
        self._refreshing = Refreshing(clock)
        self._forcing = {name: Forcing() for name in remotes}

    def at_hand(self, repository: Repository, tag: Tag) -> TagAnswer | None:
        """A tag that may be served, with its manifest, where that needs no waiting; None says nothing."""
        rule, now_s = self._rules[repository.upstream].of(tag), self._wall()
        try:
            record = self._store.tag(repository, tag)
            if record is None or self._questions.is_void(repository, record):
                return None
        except StorageFailed:
            return None
        behind = False
        if not freshness.is_fresh(record, rule, now_s):
            plan = self._decide(repository.upstream, record, rule)
            if plan.act not in AT_ONCE:
                return None
            behind = plan.act is Act.REFRESH
        manifest = self._manifests.at_hand(repository, record.descriptor.digest)
        if manifest is None or not self._stand_ins.is_best(repository, record):
            return None
        if behind:
            self._refresh(repository, tag, record)
        answer = TagAnswer(manifest.descriptor, manifest, How.HIT, freshness.age_s(record, now_s))
        return self._used(answer, repository, tag, rule)

    def get(self, repository: Repository, tag: Tag, forced: bool = False) -> Deferred[TagAnswer]:
        """As :meth:`ITagService.get`."""
        rule = self._rules[repository.upstream].of(tag)
        getting = Deferred.fromCoroutine(self._get(repository, tag, rule, forced))
        return getting.addCallback(self._used, repository, tag, rule)

    def stat(self, repository: Repository, tag: Tag, forced: bool = False) -> Deferred[TagAnswer]:
        """As :meth:`ITagService.stat`."""
        rule = self._rules[repository.upstream].of(tag)
        asking = Deferred.fromCoroutine(self._stat(repository, tag, rule, forced))
        return asking.addCallback(self._used, repository, tag, rule)

    def confirm(self, repository: Repository, tag: Tag) -> Deferred[TagAnswer]:
        """As a forced :meth:`stat`, for an operator: nobody uses the tag by that, so it ages as before."""
        rule = self._rules[repository.upstream].of(tag)
        return Deferred.fromCoroutine(self._stat(repository, tag, rule, True))

    def list(self, repository: Repository) -> Deferred[TagList]:
        """As :meth:`ITagService.list`."""
        return self._lists.get(repository)

    def _used(self, answer: TagAnswer, repository: Repository, tag: Tag, rule: TagRule) -> TagAnswer:
        self._uses.used(repository, tag)
        self._figures.answered(repository.upstream, rule.match, answer.how.value)
        return answer

    async def _get(self, repository: Repository, tag: Tag, rule: TagRule, forced: bool) -> TagAnswer:
        record = self._store.tag(repository, tag)
        if record is None:
            if forced:
                self._may_force(repository, tag)
            return await self._first_get(repository, tag, rule)
        answer = await self._known(repository, tag, record, rule, forced)
        from_disk = answer.how is not How.HIT or await self._questions.holds(repository, record)
        try:
            manifest = await self._manifests.get(repository, answer.descriptor.digest)
        except NotFound:
            # a HEAD named a digest that its registry does not serve
            await self._questions.forget(repository, tag)
            return await self._first_get(repository, tag, rule)
        except (Throttled, UpstreamTrouble) as error:
            if answer.how is How.STALE:
                raise
            answer = await self._instead(repository, tag, answer, rule, error)
            manifest = await self._manifests.get(repository, answer.descriptor.digest)
        how = answer.how if from_disk else How.MISS
        return attrs.evolve(answer, manifest=manifest, descriptor=manifest.descriptor, how=how)

    async def _instead(
        self, repository: Repository, tag: Tag, answer: TagAnswer, rule: TagRule, error: UpstreamError
    ) -> TagAnswer:
        """What stands in for ``answer``, whose manifest can be had neither here nor there: ``error``, which
        is raised where nothing does."""
        record = self._store.tag(repository, tag)
        plan = Plan(Act.FETCH, Why.NOT_HELD, rule)
        may = record is not None and await self._stand_ins.may_serve(
            repository, record, plan, error, self._wall()
        )
        if record is None or not may:
            raise error
        found = await self._stale(repository, record, plan, error)
        if found.descriptor.digest == answer.descriptor.digest:
            raise error
        return found

    async def _stat(self, repository: Repository, tag: Tag, rule: TagRule, forced: bool) -> TagAnswer:
        record = self._store.tag(repository, tag)
        if record is not None:
            return await self._known(repository, tag, record, rule, forced)
        if forced:
            self._may_force(repository, tag)
        if self._questions.is_fetching(repository, tag):
            return await self._first_get(repository, tag, rule)
        self._check_asked(repository.upstream, self._decide(repository.upstream, None, rule))
        how = How.JOINED if self._questions.is_asking(repository, tag) else How.MISS
        record = await self._questions.ask(repository, tag, None)
        return TagAnswer(record.descriptor, None, how)

    async def _first_get(self, repository: Repository, tag: Tag, rule: TagRule) -> TagAnswer:
        """Nothing is known of the tag."""
        self._check_asked(repository.upstream, self._decide(repository.upstream, None, rule))
        how = How.JOINED if self._questions.is_fetching(repository, tag) else How.MISS
        manifest = await self._questions.fetch(repository, tag)
        return TagAnswer(manifest.descriptor, manifest, how)

    async def _known(
        self, repository: Repository, tag: Tag, record: TagRecord, rule: TagRule, forced: bool
    ) -> TagAnswer:
        """The tag's meaning where a record is at hand: fresh, asked for again, or stale."""
        plan = await self._plan(repository, tag, record, rule, forced)
        if plan.act in AT_ONCE:
            if plan.act is Act.REFRESH:
                self._refresh(repository, tag, record)
            if (await self._stand_ins.choose(repository, record)).is_as_it_was:
                return TagAnswer(record.descriptor, None, How.HIT, freshness.age_s(record, self._wall()))
            return await self._stale(repository, record, plan, None)
        if plan.act is Act.STALE:
            return await self._stale(repository, record, plan, None)
        self._check_asked(repository.upstream, plan)
        error: UpstreamError | None = None
        asking = self._questions.ask(repository, tag, record)
        if plan.wait_s is not None:
            asking.addTimeout(plan.wait_s, self._clock)
        try:
            return _renewed(record, await asking)
        except TimeoutError:
            pass
        except UpstreamError as found:
            error = found
        servable = await self._stand_ins.may_serve(repository, record, plan, error, self._wall())
        pinned = self._questions.pinned(repository, tag)
        verdict = freshness.follow(freshness.outcome_of(error), rule, servable=servable, pinned=pinned)
        if verdict.then is Then.STALE:
            return await self._stale(repository, record, plan, error)
        if error is not None:
            raise error
        return _renewed(record, await self._questions.ask(repository, tag, record))

    async def _plan(
        self, repository: Repository, tag: Tag, record: TagRecord, rule: TagRule, forced: bool
    ) -> Plan:
        upstream, void = repository.upstream, self._questions.is_void(repository, record)
        if not void:
            plan = self._decide(upstream, record, rule)
            if plan.act in AT_ONCE and not forced:
                return plan
        held = not void and await self._stand_ins.holds(repository, record)
        plan = self._decide(upstream, record, rule, servable=held, void=void)
        if not forced or plan.act not in AT_ONCE:
            return plan
        as_forced = self._decide(upstream, record, rule, servable=held, forced=True)
        if as_forced.act in (Act.ASK, Act.FETCH) and not self._may_force(repository, tag):
            return plan
        return as_forced

    def _may_force(self, repository: Repository, tag: Tag) -> bool:
        if self._questions.is_asking(repository, tag):
            return True
        if not self._forcing[repository.upstream].admits(repository, tag, self._clock.seconds()):
            return False
        self._forced(repository, tag)
        return True

    def _decide(
        self,
        upstream: str,
        record: TagRecord | None,
        rule: TagRule,
        *,
        servable: bool = True,
        forced: bool = False,
        void: bool = False,
    ) -> Plan:
        remote = self._remotes[upstream]
        return freshness.decide(
            record,
            rule,
            remote.standing(),
            remote.allowance(),
            self._wall(),
            forced=forced,
            servable=servable,
            void=void,
        )

    def _check_asked(self, upstream: str, plan: Plan) -> None:
        """UpstreamDown at once where the upstream is not asked now."""
        if plan.act is Act.REFUSE:
            raise freshness.refusal(upstream, self._remotes[upstream].standing())

    def _refresh(self, repository: Repository, tag: Tag, record: TagRecord) -> None:
        self._refreshing.begin((repository, tag), lambda: self._questions.ask(repository, tag, record))

    async def _stale(
        self, repository: Repository, record: TagRecord, plan: Plan, error: UpstreamError | None
    ) -> TagAnswer:
        """What is cached, and why that is all there is: the one place that says what is served stale."""
        chosen = await self._stand_ins.choose(repository, record, error)
        cause = freshness.cause_of(plan, self._remotes[repository.upstream].standing(), error)
        warning = freshness.stale_warning(repository.upstream, cause, record.checked_s)
        age_s = freshness.age_s(record, self._wall())
        return TagAnswer(chosen.descriptor, None, How.STALE, age_s, chosen.added_to(warning))


def _renewed(known: TagRecord, renewed: TagRecord) -> TagAnswer:
    """A tag that has changed brought content from the upstream: a miss."""
    same = renewed.descriptor.digest == known.descriptor.digest
    return TagAnswer(renewed.descriptor, None, How.REVALIDATED if same else How.MISS)
