"""What stands in for a tag's last meaning while its upstream cannot be reached, and whether anything can.

Laws: who can be asked still brings what is missing, so that the last meaning is the best; so does one that
is slow, or allows no more manifests for now, as long as that meaning's own is here. In an outage, and where
it is not, it is the newest image that the disk has whole, fresh or not. Nothing
is served by a right of before a revocation.
"""

from __future__ import annotations

from collections.abc import Mapping

from regproxy.errors import Throttled, UpstreamError, UpstreamTrouble
from regproxy.interfaces import IRemoteRegistry, TagRecord
from regproxy.oci.repository import Repository
from regproxy.proxy import freshness
from regproxy.proxy.completeness import Chosen, Completeness
from regproxy.proxy.freshness import Act, Plan, Why
from regproxy.proxy.questions import TagQuestions


class StandIns:
    """Of the tags of every upstream."""

    def __init__(
        self, remotes: Mapping[str, IRemoteRegistry], questions: TagQuestions, complete: Completeness
    ) -> None:
        self._remotes = remotes
        self._questions = questions
        self._complete = complete

    def is_best(self, repository: Repository, record: TagRecord) -> bool | None:
        """Whether the last meaning is to be served as it is; None: that takes a look at the disk."""
        if self._reaches(repository.upstream):
            return True
        chosen = self._complete.known(repository, record)
        return None if chosen is None else chosen.is_as_it_was

    async def holds(self, repository: Repository, record: TagRecord) -> bool:
        """Whether something is here that may be served: the last meaning, or what stands in for it."""
        if await self._questions.holds(repository, record):
            return True
        if self._reaches(repository.upstream):
            return False
        return await self._complete.choose(repository, record) is not None

    async def may_serve(
        self, repository: Repository, record: TagRecord, plan: Plan, error: UpstreamError | None, now_s: float
    ) -> bool:
        """Whether something may be served in the place of the answer to a question."""
        if self._questions.is_void(repository, record):
            return False
        if plan.act is Act.ASK:
            return True
        if plan.why is not Why.NOT_HELD or not isinstance(error, UpstreamTrouble | Throttled):
            return False
        if not freshness.may_serve(record, plan.rule, now_s):
            return False
        return await self._complete.choose(repository, record) is not None

    async def choose(
        self, repository: Repository, record: TagRecord, error: UpstreamError | None = None
    ) -> Chosen:
        """What is served, ``error`` being what came of a question, if one was asked."""
        chosen, looks = None, isinstance(error, UpstreamTrouble) or not self._reaches(repository.upstream)
        if isinstance(error, Throttled) and not looks:
            looks = not await self._questions.holds(repository, record)
        if looks:
            chosen = await self._complete.choose(repository, record)
        return chosen or Chosen(record.descriptor, 0, newest=True)

    def _reaches(self, upstream: str) -> bool:
        return self._remotes[upstream].standing().asked
