"""What a tag means, asked of its upstream: one question for all who wait, and what follows written down.

Laws: what is known of a tag costs one conditional HEAD (R50, R51), what is not one GET. A changed tag is
fetched by digest and swapped when its bytes are on disk. A 404 is believed; a 401 or 403 means revoked
(R53): the repository's links need a new proof each; unless the tag's rule says otherwise. Who comes after a
revocation shares no question of before it. A question runs to its end, also when nobody waits any more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from regproxy.errors import ContentError, Denied, NotFound, StorageFailed, UpstreamError, UpstreamFailed
from regproxy.interfaces import ILocalStore, IRemoteRegistry, RemoteTag, TagRecord
from regproxy.metrics.tags import TagFigures
from regproxy.oci.manifest import Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.proxy.freshness import confirmed_s, follow, may_serve, outcome_of
from regproxy.proxy.manifests import ProxyManifestStore
from regproxy.proxy.moved import MovedTags
from regproxy.proxy.tag_rules import TagRules
from regproxy.singleflight import SingleFlight

_log = Logger()

_Flight: TypeAlias = tuple[Repository, Tag, float]
_Ask: TypeAlias = Callable[[float], Awaitable[TagRecord]]


class TagQuestions:
    """Asks about tags of every upstream. ``wall`` gives seconds since the epoch."""

    def __init__(
        self,
        store: ILocalStore,
        remotes: Mapping[str, IRemoteRegistry],
        manifests: ProxyManifestStore,
        rules: Mapping[str, TagRules],
        wall: Callable[[], float],
        figures: TagFigures,
        moved: MovedTags,
        pinned: Callable[[Repository, Tag], bool] = lambda repository, tag: False,
    ) -> None:
        """``pinned``: tags that stay although their upstream has them no more."""
        self.pinned = pinned
        self._store = store
        self._remotes = remotes
        self._manifests = manifests
        self._rules = rules
        self._wall = wall
        self._figures = figures
        self._moved = moved
        self._questions: SingleFlight[_Flight, TagRecord] = SingleFlight()
        self._fetches: SingleFlight[_Flight, Manifest] = SingleFlight()

    def ask(self, repository: Repository, tag: Tag, record: TagRecord | None) -> Deferred[TagRecord]:
        """What the tag means now: one HEAD for all who wait. Cancelling concerns one waiter."""
        flight = self._flight(repository, tag)
        return self._questions.run(flight, lambda: self._question(repository, tag, record))

    def fetch(self, repository: Repository, tag: Tag) -> Deferred[Manifest]:
        """The manifest of an unknown tag: one GET for all, its digest computed from the bytes (R14)."""
        flight = self._flight(repository, tag)
        return self._fetches.run(flight, lambda: self._fetch(repository, tag))

    def is_asking(self, repository: Repository, tag: Tag) -> bool:
        """Whether :meth:`ask` would join a question."""
        return self._flight(repository, tag) in self._questions

    def is_fetching(self, repository: Repository, tag: Tag) -> bool:
        """Whether :meth:`fetch` would join one."""
        return self._flight(repository, tag) in self._fetches

    def is_void(self, repository: Repository, record: TagRecord) -> bool:
        """Whether what is known of the tag is of before the repository was revoked."""
        return record.checked_s <= self._store.revoked_s(repository)

    async def holds(self, repository: Repository, record: TagRecord) -> bool:
        """Whether the manifest is on disk, by this repository's right."""
        if self.is_void(repository, record):
            return False
        try:
            await self._store.manifests.stat(repository, record.descriptor.digest)
        except ContentError:
            return False
        return True

    async def forget(self, repository: Repository, tag: Tag) -> None:
        """Drop what is known of the tag, not its content."""
        await self._write(self._store.drop_tag(repository, tag))

    def _flight(self, repository: Repository, tag: Tag) -> _Flight:
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
            return await self._remember(repository, tag, None, ask)
        try:
            renewed = await self._remember(repository, tag, record, ask)
        except UpstreamError as error:
            self._figures.revalidated(repository.upstream, _counted(error))
            raise
        before, after = record.descriptor.digest, renewed.descriptor.digest
        self._figures.revalidated(repository.upstream, "unchanged" if before == after else "changed")
        self._moved.compare(repository, tag, before, after, renewed.checked_s)
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

        await self._remember(repository, tag, None, ask)
        return fetched[0]

    async def _remember(
        self, repository: Repository, tag: Tag, known: TagRecord | None, ask: _Ask
    ) -> TagRecord:
        """Ask, and write down what follows from the answer, be it a refusal (R53)."""
        stamp_s, revoked_s = self._store.stamp(repository), self._store.revoked_s(repository)
        checked_s = confirmed_s(stamp_s, self._wall(), revoked_s)
        try:
            record = attrs.evolve(await ask(stamp_s), checked_s=checked_s)
        except (NotFound, Denied) as error:
            await self._believe(repository, tag, known, error)
            raise
        await self._write(self._store.set_tag(repository, tag, record))
        if known is None:
            self._moved.found(repository, tag, record.descriptor.digest, checked_s)
        return record

    async def _believe(
        self, repository: Repository, tag: Tag, known: TagRecord | None, error: NotFound | Denied
    ) -> None:
        rule = self._rules[repository.upstream].of(tag)
        servable = known is not None and may_serve(known, rule, self._wall())
        if known is not None and servable:
            servable = await self.holds(repository, known)
        pinned = self.pinned(repository, tag)
        verdict = follow(outcome_of(error), rule, servable=servable, pinned=pinned)
        if verdict.forget:
            if known is not None:
                self._moved.gone(repository, tag, known.descriptor.digest)
            await self.forget(repository, tag)
        if verdict.revoke:
            _log.warn(
                "{repository}: the upstream denies access: its content needs new proof",
                repository=str(repository),
            )
            await self._write(self._store.revoke(repository))

    async def _write(self, writing: Deferred[None]) -> None:
        """A disk that refuses costs what would be remembered, not the answer."""
        try:
            await writing
        except StorageFailed as error:
            if not error.told:
                _log.error("a tag is not remembered: {error}", error=error.message)


def _counted(error: UpstreamError) -> str:
    if isinstance(error, NotFound):
        return "gone"
    return "refused" if isinstance(error, Denied) else "trouble"
