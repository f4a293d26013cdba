"""Why an image is answered as it is: what is known here of a tag or a digest, what would be done, and why.

Laws: nobody outside is asked, nothing is written, and nothing counts as used. What is told is what a
request would meet at this moment; the decisions are the very functions that requests go by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from regproxy.errors import StorageFailed
from regproxy.interfaces import (
    Allowance,
    Circuit,
    ILocalStore,
    IRemoteRegistry,
    Kind,
    Standing,
    TagRecord,
    Thrift,
)
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag
from regproxy.proxy import freshness
from regproxy.proxy.closure import Closure, closure_of
from regproxy.proxy.completeness import Chosen, Completeness
from regproxy.proxy.freshness import Act, Plan, Why, timestamp
from regproxy.proxy.permission import rightful
from regproxy.proxy.tag_rules import TagRules
from regproxy.settings import TagRule

NOBODY = "nothing"


@attrs.frozen(slots=True)
class Content:
    """Some bytes as a repository has them. ``size_bytes`` None: they are not on disk. ``since_s`` is when the
    upstream last showed that the repository holds them, ``right`` whether that still counts."""

    digest: Digest
    kind: Kind | None = None
    media_type: str | None = None
    size_bytes: int | None = None
    since_s: float | None = None
    source: str | None = None
    right: bool = False
    closure: Closure | None = None


@attrs.frozen(slots=True)
class Decision:
    """``act`` is what would be done, ``why`` what speaks for it, ``asked`` what would be asked upstream."""

    act: str
    why: str
    asked: str = NOBODY


@attrs.frozen(slots=True)
class Explanation:
    """All that is known of one tag, digest, or (``reference`` None) list of tags. ``now_s`` and what is in
    ``record`` are seconds since the epoch."""

    repository: Repository
    reference: Reference | None
    now_s: float
    standing: Standing
    allowance: Allowance
    rule: TagRule | None
    record: TagRecord | None
    content: Content | None
    decision: Decision
    warnings: tuple[str, ...] = ()
    known: bool = True
    """Whether the settings name its upstream (still)."""
    in_outage: Chosen | None = None
    """What its tag is while the upstream cannot be reached; None: nothing, or nobody looked."""

    @property
    def age_s(self) -> float | None:
        """Seconds since the tag was last confirmed."""
        return None if self.record is None else freshness.age_s(self.record, self.now_s)


class Explaining:
    """Looks at the disk and at what is known of upstreams. ``rules`` are keyed by upstream name."""

    def __init__(
        self,
        store: ILocalStore,
        remotes: Mapping[str, IRemoteRegistry],
        rules: Mapping[str, TagRules],
        complete: Completeness,
        wall: Callable[[], float],
    ) -> None:
        self._complete = complete
        self._store = store
        self._remotes = remotes
        self._rules = rules
        self._wall = wall

    async def explain(self, repository: Repository, reference: Reference) -> Explanation:
        """Everything, with how much of it is on disk. StorageFailed when the disk cannot be read."""
        found = self.look(repository, reference)
        record, revoked_s = found.record, self._store.revoked_s(repository)
        if record is not None and record.checked_s > revoked_s:
            found = attrs.evolve(found, in_outage=await self._complete.choose(repository, record))
            found = attrs.evolve(found, decision=decide(found, revoked_s))
        if found.content is None or found.content.kind is not Kind.MANIFEST:
            return found
        digest, turn = found.content.digest, self._complete.turn
        closure = await closure_of(self._store, repository, digest, turn)
        return attrs.evolve(found, content=attrs.evolve(found.content, closure=closure))

    def look(self, repository: Repository, reference: Reference | None) -> Explanation:
        """The same but for what the image names, at once. StorageFailed."""
        remote = self._remotes.get(repository.upstream)
        standing = Standing() if remote is None else remote.standing()
        allowance = Allowance() if remote is None else remote.allowance()
        record = rule = content = None
        if isinstance(reference, Tag):
            record = self._store.tag(repository, reference)
            rule = None if remote is None else self._rules[repository.upstream].of(reference)
        if isinstance(reference, Digest):
            content = self._content(repository, reference)
        elif record is not None:
            content = self._content(repository, record.descriptor.digest)
        found = Explanation(
            repository,
            reference,
            self._wall(),
            standing,
            allowance,
            rule,
            record,
            content,
            Decision("nothing", ""),
            () if remote is None else remote.warnings(repository, reference),
            remote is not None,
        )
        return attrs.evolve(found, decision=decide(found, self._store.revoked_s(repository)))

    def _content(self, repository: Repository, digest: Digest) -> Content:
        size_bytes, found = self._store.holds(digest), self._store.link(repository, digest)
        if found is None:
            return Content(digest, size_bytes=size_bytes)
        kind, link = found
        right = rightful(self._store, repository, digest)
        return Content(digest, kind, link.media_type or None, size_bytes, link.since_s, link.source, right)

    def brief(self, repository: Repository, reference: Reference | None) -> list[tuple[str, str]]:
        """The most telling words of it, for a header; reads small records, never waits, never raises."""
        try:
            return list(brief(self.look(repository, reference)))
        except StorageFailed:
            return [("repository", str(repository)), ("disk", "cannot be read")]


def decide(found: Explanation, revoked_s: float) -> Decision:
    """What a request would meet. Pure."""
    if not found.known:
        return Decision("refuse it (404)", "the settings do not name this upstream (any more)")
    if found.reference is None:
        return Decision("answer the list of tags", "the upstream's, remembered for a while")
    if isinstance(found.reference, Tag):
        return _tag(found, revoked_s)
    return _digest(found)


def _tag(found: Explanation, revoked_s: float) -> Decision:
    held = found.content is not None and found.content.right
    plan = freshness.decide(
        found.record,
        found.rule or TagRule(),
        found.standing,
        found.allowance,
        found.now_s,
        servable=held or (not found.standing.asked and found.in_outage is not None),
        void=found.record is not None and found.record.checked_s <= revoked_s,
    )
    if plan.act in (Act.SERVE, Act.REFRESH) and not held and found.record is not None:
        return _believed(found, found.record, plan)
    return Decision(plan.act.value, _why(found, plan), _question(found, plan.act))


def _why(found: Explanation, plan: Plan) -> str:
    """With what makes an error of it, where it is one."""
    if plan.act is Act.REFUSE:
        return f"{plan.why.value}, and {Why.DOWN.value}: 503"
    if _held_back(found, plan.act) is not None:
        return f"{plan.why.value}; until it may be asked again: 429"
    return plan.why.value


def _held_back(found: Explanation, act: Act) -> float | None:
    """For how many seconds a 429 of the upstream holds back the GET that an unknown tag needs."""
    return found.allowance.retry_after_s if act is Act.FETCH and found.record is None else None


def _believed(found: Explanation, record: TagRecord, plan: Plan) -> Decision:
    """A tag whose meaning is believed and is not here, or not by right: that is all that is asked for, unless
    something stands in for it."""
    if not found.standing.asked and found.in_outage is not None:
        return Decision(Act.STALE.value, plan.why.value)
    if not found.standing.asked:
        return Decision(Act.REFUSE.value, Why.NOT_HELD.value)
    path = f"GET /v2/{found.repository.path}/manifests/{record.descriptor.digest}"
    return Decision("fetch the manifest that it means by digest", Why.NOT_HELD.value, path)


def _question(found: Explanation, act: Act) -> str:
    """What a tag costs its upstream."""
    if act not in (Act.ASK, Act.FETCH, Act.REFRESH):
        return NOBODY
    if found.record is None:
        held_s = _held_back(found, act)
        return _path(found, "GET", "" if held_s is None else f", in {held_s:.0f} s")
    return _path(found, "HEAD", ", whether it has changed")


def _digest(found: Explanation) -> Decision:
    content = found.content
    assert content is not None, "a digest names content, here or not"
    if content.right:
        return Decision("serve it from the disk", "it is here by a right that holds; digests never change")
    if content.size_bytes is None:
        if not found.standing.asked:
            return Decision(Act.REFUSE.value, f"it is not on disk, and {Why.DOWN.value}: 503", NOBODY)
        return Decision("fetch it", "it is not on disk", _path(found, "GET"))
    why = "another repository's upstream sent these bytes"
    if content.since_s is not None:
        why = "the right to it is of before its upstream refused us"
    return Decision("serve it from the disk once its upstream has it", why, _path(found, "HEAD"))


def _path(found: Explanation, method: str, what: str = "") -> str:
    if not found.standing.asked:
        return NOBODY
    kinds = ["manifests"]
    if isinstance(found.reference, Digest):
        kind = None if found.content is None else found.content.kind
        kinds = {Kind.BLOB: ["blobs"], Kind.MANIFEST: kinds, None: ["blobs", "manifests"]}[kind]
    paths = (f"/v2/{found.repository.path}/{each}/{found.reference}" for each in kinds)
    return f"{method} {' or '.join(paths)}{what}"


def standing_text(standing: Standing) -> str:
    """``open since 2026-...: it refuses connections; tried again in 3 s``."""
    since = "" if standing.since_s is None else f" since {timestamp(standing.since_s)}"
    why = "" if standing.reason is None else f": {standing.reason}"
    again = "" if standing.retry_s is None else f"; tried again in {standing.retry_s:.0f} s"
    return f"{standing.circuit.name.lower().replace('_', '-')}{since}{why}{again}"


def brief(found: Explanation) -> list[tuple[str, str]]:
    """The words of a trace; ``next`` is what the next request would meet."""
    told = [("repository", str(found.repository))]
    if found.rule is not None:
        line = f"line {found.rule.line}" if found.rule.line else "built in"
        told.append(("rule", f'"{found.rule.match}" ({line})'))
    if found.age_s is not None:
        told.append(("confirmed", f"{found.age_s:.0f} s ago"))
    if found.content is not None:
        told.append(("digest", str(found.content.digest)))
        told.append(("right", "yes" if found.content.right else "no"))
    told.append(("next", f"{found.decision.act}: {found.decision.why}"))
    told.append(("asked", found.decision.asked))
    if found.standing.circuit is not Circuit.CLOSED:
        told.append(("circuit", standing_text(found.standing)))
    if found.allowance.thrift is not Thrift.FREE:
        told.append(("thrift", found.allowance.thrift.name.lower()))
    return told
