"""The proxy tag service: what a tag means, asked for as seldom as its rule allows.

Laws: a fresh tag asks nobody. An expired one costs one conditional HEAD, shared by all who wait
(R50, R51). A changed one is fetched by digest and swapped when its bytes are on disk; until then
the old one stays. Trouble serves what is cached, marked stale, as long as the rule says (R52). A 404
is believed; a 401 or 403 means revoked (R53): the tag is not served, and the repository's links
need a new proof each. No answer is sent whose manifest is not in hand.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeAlias

import attrs
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from regproxy.errors import (
    ContentError,
    Denied,
    NotFound,
    StorageFailed,
    UpstreamError,
    UpstreamFailed,
)
from regproxy.interfaces import (
    NOBODY,
    How,
    ILocalStore,
    IRemoteRegistry,
    ITagService,
    IUses,
    RemoteTag,
    TagAnswer,
    TagList,
    TagRecord,
)
from regproxy.metrics.tags import TagFigures
from regproxy.oci.manifest import Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.proxy import freshness
from regproxy.proxy.completeness import Completeness
from regproxy.proxy.freshness import Freshness
from regproxy.proxy.manifests import ProxyManifestStore
from regproxy.proxy.tag_lists import TagLists
from regproxy.settings import TagRule
from regproxy.singleflight import SingleFlight

_log = Logger()

_Flight: TypeAlias = tuple[Repository, Tag, float]


@implementer(ITagService)
class ProxyTagService:
    """Tags of every upstream. ``rules`` gives the rules of an upstream, its own ones first."""

    def __init__(
        self,
        store: ILocalStore,
        remotes: Mapping[str, IRemoteRegistry],
        manifests: ProxyManifestStore,
        lists: TagLists,
        rules: Mapping[str, Sequence[TagRule]],
        clock: IReactorTime,
        wall: Callable[[], float],
        uses: IUses = NOBODY,
        figures: TagFigures | None = None,
    ) -> None:
        self._uses = uses
        self._figures = figures or TagFigures.apart()
        self._store = store
        self._remotes = remotes
        self._manifests = manifests
        self._lists = lists
        self._rules = rules
        self._clock = clock
        self._wall = wall
        self._complete = Completeness(store, clock)
        self._questions: SingleFlight[_Flight, TagRecord] = SingleFlight()
        self._fetches: SingleFlight[_Flight, Manifest] = SingleFlight()

    def at_hand(self, repository: Repository, tag: Tag) -> TagAnswer | None:
        """A fresh tag with its manifest, where that needs no waiting; None says nothing."""
        try:
            record = self._store.tag(repository, tag)
            fresh = self._judge(repository, tag, record) is Freshness.FRESH
        except StorageFailed:
            return None
        if record is None or not fresh:
            return None
        manifest = self._manifests.at_hand(repository, record.descriptor.digest)
        if manifest is None:
            return None
        age_s = freshness.age_s(record, self._wall())
        answer = TagAnswer(manifest.descriptor, manifest, How.HIT, age_s)
        return self._used(answer, repository, tag)

    def get(self, repository: Repository, tag: Tag) -> Deferred[TagAnswer]:
        """As :meth:`ITagService.get`."""
        return Deferred.fromCoroutine(self._get(repository, tag)).addCallback(self._used, repository, tag)

    def stat(self, repository: Repository, tag: Tag) -> Deferred[TagAnswer]:
        """As :meth:`ITagService.stat`."""
        return Deferred.fromCoroutine(self._stat(repository, tag)).addCallback(self._used, repository, tag)

    def _used(self, answer: TagAnswer, repository: Repository, tag: Tag) -> TagAnswer:
        self._uses.used(repository, tag)
        self._figures.answered(repository.upstream, self._rule(repository, tag).match, answer.how.value)
        return answer

    def list(self, repository: Repository) -> Deferred[TagList]:
        """As :meth:`ITagService.list`."""
        return self._lists.get(repository)

    async def _get(self, repository: Repository, tag: Tag) -> TagAnswer:
        record = self._store.tag(repository, tag)
        if self._judge(repository, tag, record) is Freshness.UNKNOWN or record is None:
            return await self._first_get(repository, tag)
        answer = await self._known(repository, tag, record)
        cached = await self._is_cached(repository, answer)
        try:
            manifest = await self._manifests.get(repository, answer.descriptor.digest)
        except NotFound:
            # a HEAD named a digest that its registry does not serve
            await self._write(self._store.drop_tag(repository, tag))
            return await self._first_get(repository, tag)
        how = answer.how if cached or answer.how is not How.HIT else How.MISS
        return attrs.evolve(answer, manifest=manifest, descriptor=manifest.descriptor, how=how)

    async def _stat(self, repository: Repository, tag: Tag) -> TagAnswer:
        record = self._store.tag(repository, tag)
        if self._judge(repository, tag, record) is not Freshness.UNKNOWN and record is not None:
            return await self._known(repository, tag, record)
        if self._flight(repository, tag) in self._fetches:
            return await self._first_get(repository, tag)
        how = How.JOINED if self._flight(repository, tag) in self._questions else How.MISS
        record = await self._ask(repository, tag, None)
        return TagAnswer(record.descriptor, None, how)

    async def _first_get(self, repository: Repository, tag: Tag) -> TagAnswer:
        """Nothing is known of the tag: one GET, its digest computed from the bytes (R14)."""
        flight = self._flight(repository, tag)
        how = How.JOINED if flight in self._fetches else How.MISS
        manifest = await self._fetches.run(flight, lambda: self._fetch(repository, tag))
        return TagAnswer(manifest.descriptor, manifest, how)

    async def _known(self, repository: Repository, tag: Tag, record: TagRecord) -> TagAnswer:
        """The tag's meaning where a record is at hand: fresh, asked for again, or stale."""
        now = self._wall()
        fresh = TagAnswer(record.descriptor, None, How.HIT, freshness.age_s(record, now))
        if self._judge(repository, tag, record) is Freshness.FRESH:
            return fresh
        void = self._is_void(repository, record)
        cached = not void and await self._is_cached(repository, fresh)
        rule = self._rule(repository, tag)
        trouble: BaseException | None = None
        try:
            renewed = await self._ask_within(
                repository, tag, record, rule.revalidate_wait_s if cached else None
            )
            return _renewed(record, renewed)
        except TimeoutError:
            pass
        except UpstreamError as error:
            trouble = error
        if not void and freshness.may_serve_stale(record, rule, now, trouble):
            warning = freshness.stale_warning(repository.upstream, trouble, record)
            stale = attrs.evolve(fresh, how=How.STALE, warning=warning)
            best = await self._complete.best(repository, record, stale, trouble, cached)
            if best is not None:
                return best
        if trouble is not None:
            raise trouble
        return _renewed(record, await self._ask(repository, tag, record))

    def _rule(self, repository: Repository, tag: Tag) -> TagRule:
        return freshness.rule_for(tag, self._rules[repository.upstream])

    def _judge(self, repository: Repository, tag: Tag, record: TagRecord | None) -> Freshness:
        found = freshness.judge(record, self._rule(repository, tag), self._wall())
        if record is not None and found is Freshness.FRESH and self._is_void(repository, record):
            return Freshness.EXPIRED
        return found

    def _is_void(self, repository: Repository, record: TagRecord) -> bool:
        """Whether what is known of the tag is of before the repository was revoked."""
        return record.checked_s <= self._store.revoked_s(repository)

    async def _is_cached(self, repository: Repository, answer: TagAnswer) -> bool:
        """Whether the manifest is on disk, by this repository's right."""
        try:
            await self._store.manifests.stat(repository, answer.descriptor.digest)
        except ContentError:
            return False
        return True

    def _ask_within(
        self, repository: Repository, tag: Tag, record: TagRecord, wait_s: float | None
    ) -> Deferred[TagRecord]:
        """The shared question; TimeoutError for this waiter alone after ``wait_s`` (None: no limit)."""
        waiter = self._ask(repository, tag, record)
        return waiter if wait_s is None else waiter.addTimeout(wait_s, self._clock)

    def _ask(self, repository: Repository, tag: Tag, record: TagRecord | None) -> Deferred[TagRecord]:
        """What the tag means now: one HEAD for all who wait. Cancelling concerns one waiter."""
        flight = self._flight(repository, tag)
        return self._questions.run(flight, lambda: self._question(repository, tag, record))

    def _flight(self, repository: Repository, tag: Tag) -> _Flight:
        """Who comes after a revocation shares no question of before it."""
        return repository, tag, self._store.revoked_s(repository)

    async def _question(self, repository: Repository, tag: Tag, record: TagRecord | None) -> TagRecord:
        known = RemoteTag(record.descriptor, record.etag) if record is not None else None

        async def ask(since_s: float) -> TagRecord:
            answer = await self._remotes[repository.upstream].tags.stat(repository, tag, known)
            if answer is None:
                assert record is not None, "only a conditional question is answered by 'not changed'"
                return attrs.evolve(record, checked_s=since_s)
            if record is not None or answer.manifest is not None:
                await self._swap_in(repository, answer, since_s)
            return TagRecord(answer.descriptor, answer.etag, since_s)

        if record is None:
            return await self._remember(repository, tag, ask)
        return await self._revalidate(repository.upstream, record, self._remember(repository, tag, ask))

    async def _revalidate(
        self, upstream: str, known: TagRecord, asking: Coroutine[Any, Any, TagRecord]
    ) -> TagRecord:
        """What came of the question whether a tag has changed is counted."""
        try:
            renewed = await asking
        except UpstreamError as error:
            self._figures.revalidated(upstream, _outcome(error))
            raise
        same = renewed.descriptor.digest == known.descriptor.digest
        self._figures.revalidated(upstream, "unchanged" if same else "changed")
        return renewed

    async def _swap_in(self, repository: Repository, answer: RemoteTag, since_s: float) -> None:
        """Have the changed tag's manifest on disk before the tag points to it."""
        if answer.manifest is not None:
            await self._manifests.keep(repository, answer.manifest, since_s)
            return
        try:
            await self._manifests.get(repository, answer.descriptor.digest)
        except NotFound as error:
            raise UpstreamFailed(
                error.upstream, f"names {answer.descriptor.digest} for the tag, but does not serve it"
            ) from None

    async def _fetch(self, repository: Repository, tag: Tag) -> Manifest:
        fetched: list[Manifest] = []

        async def ask(since_s: float) -> TagRecord:
            answer = await self._remotes[repository.upstream].tags.get(repository, tag)
            assert answer.manifest is not None, "a GET by tag brings the manifest"
            await self._manifests.keep(repository, answer.manifest, since_s)
            fetched.append(answer.manifest)
            return TagRecord(answer.descriptor, answer.etag, since_s)

        await self._remember(repository, tag, ask)
        return fetched[0]

    async def _remember(
        self, repository: Repository, tag: Tag, ask: Callable[[float], Awaitable[TagRecord]]
    ) -> TagRecord:
        """Ask, and write down what follows from the answer, be it a refusal (R53)."""
        try:
            record = await ask(self._store.stamp(repository))
        except NotFound:
            await self._write(self._store.drop_tag(repository, tag))
            raise
        except Denied:
            _log.warn(
                "{repository}: the upstream denies access: its content needs new proof",
                repository=str(repository),
            )
            await self._write(self._store.revoke(repository))
            raise
        await self._write(self._store.set_tag(repository, tag, record))
        return record

    async def _write(self, writing: Deferred[None]) -> None:
        """A disk that refuses costs what would be remembered, not the answer."""
        try:
            await writing
        except StorageFailed as error:
            if not error.told:
                _log.error("a tag is not remembered: {error}", error=error.message)


def _renewed(known: TagRecord, renewed: TagRecord) -> TagAnswer:
    """A tag that has changed brought content from the upstream: a miss."""
    same = renewed.descriptor.digest == known.descriptor.digest
    return TagAnswer(renewed.descriptor, None, How.REVALIDATED if same else How.MISS)


def _outcome(error: UpstreamError) -> str:
    if isinstance(error, NotFound):
        return "gone"
    return "refused" if isinstance(error, Denied) else "trouble"
