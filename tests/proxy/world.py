"""The proxy between a store in memory and upstreams in memory, with a clock of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from regproxy.errors import UpstreamUnreachable
from regproxy.interfaces import IBlob, IBody, IUses
from regproxy.metrics.figures import Figures
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag
from regproxy.proxy.registry import ProxyRegistry
from regproxy.settings import FillSettings, TagRule
from regproxy.testing.bodies import Feed
from regproxy.testing.remotes import MemoryRemote
from regproxy.testing.stores import MemoryStore

NAME = "registry.test"
TAG = Tag("latest")
KIB = 1024
USUAL = FillSettings()
RULE = TagRule("*", fresh_s=60, revalidate_wait_s=2, stale_if_error_s=3600)


class Seen:
    """What a Deferred has come to so far."""

    def __init__(self, deferred: Deferred[Any]) -> None:
        self.deferred = deferred
        self._outcome: list[Any] = []
        deferred.addBoth(self._outcome.append)

    @property
    def waiting(self) -> bool:
        return not self._outcome

    @property
    def result(self) -> Any:
        assert self._outcome, "it has not fired"
        outcome = self._outcome[0]
        if hasattr(outcome, "raiseException"):
            outcome.raiseException()
        return outcome

    def failed_with(self, *types: type[BaseException]) -> bool:
        assert self._outcome, "it has not fired"
        outcome = self._outcome[0]
        return hasattr(outcome, "check") and outcome.check(*types) is not None


@implementer(IUses)
class Uses:
    """Keeps what was used, in order."""

    def __init__(self) -> None:
        self.seen: list[tuple[Repository, Reference]] = []

    def used(self, repository: Repository, reference: Reference) -> None:
        self.seen.append((repository, reference))

    def sent(self, repository: Repository, reference: Reference, size_bytes: int) -> None:
        pass


class World:
    """One upstream unless more are named, one rule unless more are given, content by hand."""

    def __init__(self, *names: str, rules: Sequence[TagRule] = (RULE,), fill: FillSettings = USUAL) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.store = MemoryStore(self.clock)
        self.remotes = {name: MemoryRemote(name) for name in (NAME, *names)}
        self.remote = self.remotes[NAME]
        each = dict.fromkeys(self.remotes, rules)
        uses = Uses()
        self.used = uses.seen
        self.pinned: set[tuple[str, str]] = set()
        self.figures = Figures(list(self.remotes))
        self.proxy = ProxyRegistry(
            self.store,
            self.remotes,
            each,
            self.clock,
            self.clock.seconds,
            uses,
            self.figures.tags,
            fill,
            pinned=lambda repository, tag: (str(repository), tag.name) in self.pinned,
        )

    def repository(self, path: str = "team/app", upstream: str = NAME) -> Repository:
        return Repository.parse(upstream, path)

    def feed(self, content: bytes, *repositories: Repository, size: int | None = -1) -> tuple[Digest, Feed]:
        """A blob that comes by hand, from each of these repositories."""
        digest = Digest.of(content)
        feed = Feed(len(content) if size == -1 else size)
        for repository in repositories:
            self.remotes[repository.upstream].feed(repository, digest, feed)
        return digest, feed

    def open(self, repository: Repository, digest: Digest) -> Seen:
        return Seen(self.proxy.blobs.open(repository, digest))

    def asked(self, operation: str, name: str = NAME) -> int:
        return self.remotes[name].script.count(operation)

    def upstream_calls(self) -> int:
        return sum(len(remote.script.calls) for remote in self.remotes.values())

    def break_for_good(self, feed: Feed) -> None:
        """The transfer breaks, and so does each one that is to go on from there."""
        feed.fail(UpstreamUnreachable(NAME, "reset"))
        for _ in range(200):
            self.clock.advance(0.5)

    def tick(self) -> None:
        """Let a batch go that lingers for more bytes."""
        self.clock.advance(0.02)


def drain(body: IBody) -> bytes:
    """All bytes that are at hand now."""
    got = []
    while True:
        chunk = body.read(16 * KIB)
        if not chunk:
            return b"".join(got)
        got.append(chunk)


def content_of(blob: IBlob) -> bytes:
    """The whole of a blob that is all there."""
    body = blob.body()
    data = drain(body)
    assert body.read(1) == b"", "the body has not ended"
    body.close()
    return data
