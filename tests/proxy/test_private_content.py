"""Invariant 5, whatever happens in whatever order: private content stays private.

Two upstreams and two clients, each of whom may ask one of them only; layers that both upstreams hold,
manifests that name what their registry does not hold, tags that lie, refusals, revocations, other
credentials, disks that refuse, transfers that are joined. What a client gets, the upstream of its
repository has shown to hold. Sabotage of any part of that is noticed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from regproxy.errors import RegproxyError, StorageFailed
from regproxy.fill.source import Sources
from regproxy.interfaces import IBlob, IBody, ILocalStore, Kind
from regproxy.oci import media_type as types
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.proxy.blobs import ProxyBlobStore
from regproxy.proxy.permission import Permission, Proof
from regproxy.proxy.registry import ProxyRegistry
from regproxy.storage.opening import open_store
from regproxy.storage.store import DiskStore
from regproxy.testing.bodies import Feed
from regproxy.testing.images import assemble, describe
from regproxy.testing.reply import Gate
from regproxy.testing.shelf import MemoryShelf
from regproxy.testing.stores import MemoryStore
from tests.proxy.ledger import Ledger, WitnessedRemote
from tests.proxy.world import RULE

LAYERS = [bytes([65 + number]) * (300 + number) for number in range(2)]
BLOBS = {Digest.of(layer): layer for layer in LAYERS}


def image_of(*layers: bytes) -> Manifest:
    """A manifest that names ``layers``, whether or not its registry holds them."""
    document = {
        "schemaVersion": 2,
        "mediaType": types.OCI_MANIFEST,
        "config": describe(layers[0], "application/vnd.oci.image.config.v1+json"),
        "layers": [describe(layer, "application/octet-stream") for layer in layers],
    }
    return assemble(document, []).manifest


MANIFESTS = {one.digest: one for one in (image_of(*LAYERS), image_of(*LAYERS[1:]))}
CONTENTS = {**BLOBS, **{digest: one.content for digest, one in MANIFESTS.items()}}
PUBLIC, CORP = "public.test", "corp.test"
REPOSITORIES = [
    Repository.parse(PUBLIC, "team/app"),
    Repository.parse(PUBLIC, "evil/copy"),
    Repository.parse(CORP, "team/app"),
]
CLIENTS = {"guest": PUBLIC, "colleague": CORP}
"""Who may ask which upstream."""
TAG = Tag("latest")
REMOTE_STEPS = ["blobs.stat", "blobs.open", "manifests.get", "manifests.stat", "tags.get", "tags.stat"]
STORE_STEPS = ["grant", "put", "spool", "blobs.open", "manifests.get", "spool.commit"]

repositories = st.sampled_from(REPOSITORIES)
digests = st.sampled_from(sorted(CONTENTS))
blobs = st.sampled_from(sorted(BLOBS))
manifests = st.sampled_from(sorted(MANIFESTS))
clients = st.sampled_from(sorted(CLIENTS))
numbers = st.integers(0, 20)


class Histories(RuleBasedStateMachine):
    """The proxy between its store and two upstreams."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.ledger = Ledger()
        self.remotes = {name: WitnessedRemote(name, self.ledger) for name in (PUBLIC, CORP)}
        self.store = self.make_store()
        self.proxy = self.make_proxy()
        self.gates: list[Gate] = []
        self.feeds: list[tuple[Feed, bytes]] = []
        self.bodies: list[tuple[IBody, Digest, bytearray]] = []
        self.wrong: list[str] = []
        self.served = 0

    def make_store(self) -> ILocalStore:
        return MemoryStore(self.clock)

    def make_proxy(self) -> ProxyRegistry:
        rules = dict.fromkeys(self.remotes, (RULE,))
        return ProxyRegistry(self.store, self.remotes, rules, self.clock, self.clock.seconds)

    def settle(self) -> None:
        """Until nothing moves by itself."""
        self.clock.advance(0.02)

    # What upstreams do

    @initialize(published=st.lists(st.tuples(repositories, manifests, st.booleans()), min_size=1, max_size=4))
    def begin(self, published: list[tuple[Repository, Digest, bool]]) -> None:
        for one in published:
            self.publish(*one)

    @rule(repository=repositories, digest=manifests, whole=st.booleans())
    def publish(self, repository: Repository, digest: Digest, whole: bool) -> None:
        """A manifest and its tag; with its layers, or as a hostile registry does, without."""
        held = self.remotes[repository.upstream].holding(repository)
        held.manifests[digest] = MANIFESTS[digest]
        held.tags[TAG.name] = digest
        if whole:
            held.blobs.update({one.digest: BLOBS[one.digest] for one in MANIFESTS[digest].names()})

    @rule(repository=repositories, digest=digests)
    def delete(self, repository: Repository, digest: Digest) -> None:
        held = self.remotes[repository.upstream].holding(repository)
        held.blobs.pop(digest, None)
        held.manifests.pop(digest, None)

    @rule(repository=repositories, digest=st.none() | manifests)
    def lie(self, repository: Repository, digest: Digest | None) -> None:
        """HEAD of the tag names a manifest, be it held or not; None: the truth again."""
        lies = self.remotes[repository.upstream].lies
        lies.pop((repository, TAG), None)
        if digest is not None:
            lies[repository, TAG] = MANIFESTS[digest].descriptor

    @rule(repository=repositories, what=st.sampled_from(["tags", "blobs", "manifests", "everything"]))
    def refuse(self, repository: Repository, what: str) -> None:
        """403 from now on, or all of the upstream is away; or no longer."""
        remote = self.remotes[repository.upstream]
        if what == "everything":
            remote.down = not remote.down
        else:
            remote.denied ^= {(repository, what)}

    @precondition(lambda self: self.feeds)
    @rule(number=numbers, count=st.sampled_from([100, 1000]))
    def give(self, number: int, count: int) -> None:
        """More of a blob that comes by hand."""
        feed, content = self.feeds[number % len(self.feeds)]
        feed.give(content[len(feed.content) :][:count])
        if len(feed.content) == len(content):
            feed.end()
        self.settle()

    @rule(upstream=st.sampled_from([PUBLIC, CORP]))
    def another_credential(self, upstream: str) -> None:
        """What the one before was shown counts no longer."""
        for repository in REPOSITORIES:
            if repository.upstream == upstream:
                self.ledger.revoke(repository)
                self.store.revoke(repository)
        self.settle()

    # What time, the disk and operators do

    @rule(upstream=st.none() | st.sampled_from([PUBLIC, CORP]), number=numbers)
    def hold(self, upstream: str | None, number: int) -> None:
        """The next step of that kind waits; None: of the disk."""
        steps = REMOTE_STEPS if upstream else STORE_STEPS
        script = self.remotes[upstream].script if upstream else self.store.script
        self.gates.append(script.hold(steps[number % len(steps)], times=1))

    @precondition(lambda self: self.gates)
    @rule(number=numbers)
    def go_on(self, number: int) -> None:
        self.gates.pop(number % len(self.gates)).open()
        self.settle()

    @rule(what=st.sampled_from(["refused", "gone", "touched", "restart", "3", "61", "4000"]), number=numbers)
    def disturb(self, what: str, number: int) -> None:
        """The disk refuses once, a file is gone or touched, the daemon begins anew, or time goes by."""
        digest = sorted(CONTENTS)[number % len(CONTENTS)]
        if what == "refused":
            self.store.script.fail(STORE_STEPS[number % len(STORE_STEPS)], StorageFailed("full"), times=1)
        elif what == "gone":
            self.store.remove(digest)
        elif what == "touched" and self.store.holds(digest) is not None:
            self.store.touch(digest)
        elif what == "restart":
            self.proxy.stop()
            self.proxy = self.make_proxy()
        elif what.isdigit():
            self.clock.advance(int(what))
        self.settle()

    # What clients do

    def repository_for(self, client: str, number: int) -> Repository:
        theirs = [one for one in REPOSITORIES if one.upstream == CLIENTS[client]]
        return theirs[number % len(theirs)]

    @rule(client=clients, number=numbers, digest=blobs, right=st.booleans())
    def pull_slowly(self, client: str, number: int, digest: Digest, right: bool) -> None:
        """A blob that comes by hand, right or wrong, whoever holds it."""
        repository, content = self.repository_for(client, number), BLOBS[digest]
        feed = Feed(len(content))
        self.feeds.append((feed, content if right else bytes(len(content))))
        self.remotes[repository.upstream].feed(repository, digest, feed)
        self.pull(client, number, digest, head=False)

    @rule(client=clients, number=numbers, digest=digests, head=st.booleans())
    def pull(self, client: str, number: int, digest: Digest, head: bool) -> None:
        repository, service = self.repository_for(client, number), self.proxy.blobs
        self.ask(repository, digest, service.stat if head else service.open)

    @rule(client=clients, number=numbers, digest=manifests, head=st.booleans())
    def pull_manifest(self, client: str, number: int, digest: Digest, head: bool) -> None:
        repository, service = self.repository_for(client, number), self.proxy.manifests
        self.at_hand(repository, digest)
        self.ask(repository, digest, service.stat if head else service.get)

    @rule(client=clients, number=numbers, head=st.booleans())
    def pull_tag(self, client: str, number: int, head: bool) -> None:
        repository, service = self.repository_for(client, number), self.proxy.tags
        self.at_hand(repository, TAG)
        self.ask(repository, None, service.stat if head else service.get)

    @rule(client=clients, number=numbers, digest=manifests)
    def pull_image(self, client: str, number: int, digest: Digest) -> None:
        """As clients do: the manifest, then what it names."""
        self.pull_manifest(client, number, digest, head=False)
        for named in MANIFESTS[digest].names():
            self.pull(client, number, named.digest, head=False)

    def at_hand(self, repository: Repository, reference: Digest | Tag) -> None:
        found = self.proxy.manifest_at_hand(repository, reference)
        if found is not None:
            self.check(found, repository, None, self.ledger.moment)

    def ask(
        self, repository: Repository, digest: Digest | None, service: Callable[..., Deferred[Any]]
    ) -> None:
        """The tag where no digest is asked for."""
        begun = self.ledger.tick()
        answer = service(repository, digest or TAG)
        answer.addCallback(self.check, repository, digest, begun)
        answer.addErrback(self.complain)
        self.settle()

    def complain(self, failure: Failure) -> None:
        if not failure.check(RegproxyError):
            self.wrong.append(failure.getTraceback())

    def check(self, given: Any, repository: Repository, digest: Digest | None, begun: int) -> None:
        """``given`` is served in the repository now."""
        bytes_too = IBlob.providedBy(given) or isinstance(given, Manifest)
        if digest is None:
            digest, bytes_too = given.descriptor.digest, given.manifest is not None
            content = given.manifest.content if bytes_too else CONTENTS[digest]
        else:
            content = given.content if isinstance(given, Manifest) else CONTENTS[digest]
        self.served += 1
        if not self.ledger.allows(repository, digest, begun, bytes_too):
            self.wrong.append(f"{repository} serves {digest}, which its upstream has not shown to hold")
        if content != CONTENTS[digest]:
            self.wrong.append(f"{repository} serves other bytes for {digest}")
        if IBlob.providedBy(given):
            self.bodies.append((given.body(), digest, bytearray()))

    @invariant()
    def nothing_is_served_that_was_not_shown(self) -> None:
        for body, digest, got in self.bodies:
            self.read(body, got)
            if got != CONTENTS[digest][: len(got)]:
                self.wrong.append(f"wrong bytes of {digest}")
        assert self.wrong == []

    def read(self, body: IBody, got: bytearray) -> None:
        try:
            while chunk := body.read(4096):
                got += chunk
        except RegproxyError:
            body.close()

    def teardown(self) -> None:
        """All gates open, all transfers end."""
        for gate in self.gates:
            gate.open()
        self.settle()
        try:
            self.nothing_is_served_that_was_not_shown()
        finally:
            for body, *_ in self.bodies:
                body.close()
            self.proxy.stop()
            self.settle()
            for feed, _ in self.feeds:
                feed.end()


QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
CALM = settings(max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=QUIET)


def test_what_is_served_was_shown() -> None:
    run_state_machine_as_test(Histories, settings=CALM)


@implementer(IReactorFromThreads, IReactorTime)
class Threads:
    """What a store's threads need of a reactor, so that a test which is no coroutine can wait for them."""

    def __init__(self, clock: Clock) -> None:
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self.seconds, self.callLater = clock.seconds, clock.callLater
        self.getDelayedCalls = clock.getDelayedCalls

    def callFromThread(self, call: Callable[..., object], *args: object, **more: object) -> None:
        """To be called by :meth:`wait`."""
        self._calls.put(partial(call, *args, **more))

    def wait(self, deferred: Deferred[Any]) -> None:
        """Until it has fired; whatever comes from threads meanwhile is done."""
        fired: list[Any] = []
        deferred.addBoth(fired.append)
        while not fired:
            self._calls.get(timeout=30)()


class OnDisk(Histories):
    """The same over a real folder: links, revocations and spools are files, written in threads."""

    def make_store(self) -> ILocalStore:
        self.folder, self.threads = TemporaryDirectory(), Threads(self.clock)
        return self.open()

    def open(self) -> DiskStore:
        return open_store(Path(self.folder.name), self.threads, self.clock.seconds)

    def settle(self) -> None:
        for _ in range(4):
            super().settle()
            for thread in (self.store._writer, self.store._reader):
                self.threads.wait(thread.run(lambda: None))

    @rule(upstream=st.sampled_from([PUBLIC, CORP]), number=numbers)
    def hold(self, upstream: str, number: int) -> None:
        """Upstreams are late; a real disk has no script."""
        step = REMOTE_STEPS[number % len(REMOTE_STEPS)]
        self.gates.append(self.remotes[upstream].script.hold(step, times=1))

    @rule(what=st.sampled_from(["restart", "3", "61", "4000"]), number=numbers)
    def disturb(self, what: str, number: int) -> None:
        super().disturb(what, number)
        if what == "restart":
            self.threads.wait(self.store.close())
            self.store = self.open()
            self.proxy = self.make_proxy()

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.threads.wait(self.store.close())
            self.folder.cleanup()


def test_on_a_real_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    for flush in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, flush, lambda descriptor: None)
    few = settings(CALM, max_examples=15, stateful_step_count=25)
    run_state_machine_as_test(OnDisk, settings=few)


async def _granted_unasked(self: Permission, repository: Repository, digest: Digest, kind: Kind) -> Proof:
    held = self._store.holds(digest)
    return Proof(self._store.stamp(repository), held, types.OCI_MANIFEST)


async def _granted_by_name(self: Permission, repository: Repository, digest: Digest, kind: Kind) -> Proof:
    """By a descriptor of a manifest that the repository has."""
    for one in MANIFESTS.values():
        named = any(descriptor.digest == digest for descriptor in one.names())
        if named and self._store.link(repository, one.digest) is not None:
            return Proof(self._store.stamp(repository), self._store.holds(digest))
    return await _ASK(self, repository, digest, kind)


def _by_anybodys_link(self: MemoryShelf, repository: Repository, digest: Digest, kinds: Any) -> Any:
    for held, known in self._links:
        if known == digest:
            return _PERMITTED(self, held, digest, kinds)
    return _PERMITTED(self, repository, digest, kinds)


def _whatever_was_revoked(self: Permission, repository: Repository, digest: Digest) -> float | None:
    found = self._store.link(repository, digest)
    return None if found is None else found[1].since_s


_ASK, _PERMITTED = Permission._ask, MemoryShelf.permitted
SABOTAGES: dict[str, tuple[type, str, Callable[..., Any]]] = {
    "nobody is asked": (Permission, "_ask", _granted_unasked),
    "a name in a manifest is enough": (Permission, "_ask", _granted_by_name),
    "bytes that are here are everybody's": (ProxyBlobStore, "_here_for_another", lambda *_: False),
    "anybody's link is enough": (MemoryShelf, "permitted", _by_anybodys_link),
    "revocations are forgotten": (MemoryShelf, "mark_revoked", lambda *_: None),
    "a fill admits whoever is known": (Sources, "_holds", lambda *_: True),
    "a fill admits everybody": (Sources, "admits", lambda *_: True),
}


@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_sabotage_is_noticed(sabotage: str) -> None:
    owner, name, instead = SABOTAGES[sabotage]
    eager = settings(CALM, max_examples=1000, derandomize=True, database=None, phases=[Phase.generate])
    with patch.object(owner, name, instead), pytest.raises(AssertionError, match="not shown to hold"):
        run_state_machine_as_test(Histories, settings=eager)
