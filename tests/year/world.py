"""A mirror on a real folder in simulated time, its upstreams in memory, and clients with habits."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from regproxy.errors import UpstreamError
from regproxy.expiry.entries import key_of
from regproxy.expiry.files import StateFiles
from regproxy.expiry.pulse import Pulse
from regproxy.expiry.scheduler import TTLExpirationScheduler
from regproxy.interfaces import IBlob, TagAnswer
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.proxy.registry import ProxyRegistry
from regproxy.settings import DAY_S, TagRule
from regproxy.storage.opening import open_store
from regproxy.storage.store import DiskStore
from regproxy.testing.at_once import AtOnce, OneThread
from regproxy.testing.bodies import Feed
from regproxy.testing.images import Image, make_image
from regproxy.testing.layers import Layer, sized_layer
from regproxy.testing.remotes import MemoryRemote
from tests.year.model import Model

HUB, CORP = "docker.io", "registry.corp:5000"
TAG = Tag("stable")
VERSIONS = 8
"""So many of each image are known here, the last ones."""
BEGIN_S = 1_800_000_000.0
RULE = TagRule("*", fresh_s=60, revalidate_wait_s=2, stale_if_error_s=30 * DAY_S)


@attrs.define
class Product:
    """What is published under one name: an image now and then, on one of a few bases."""

    repository: Repository
    base: Layer
    number: int
    versions: int = 0

    def next_version(self) -> Image:
        self.versions += 1
        seed = self.number * 1000 + self.versions
        own = [sized_layer(2048 + 512 * (seed % 7), seed)]
        return make_image(self.base, *own, labels={"version": str(seed)})


class Shop:
    """Products by popularity: the n-th is asked for 1/n times as often as the first."""

    def __init__(self, count: int, house: House) -> None:
        bases = [sized_layer(4096 + 1024 * number, 900_000 + number) for number in range(8)]
        self._remotes = house.remotes
        self.products = [
            Product(
                Repository.parse(CORP if number % 5 == 4 else HUB, f"team/image-{number}"),
                bases[number % len(bases)],
                number,
            )
            for number in range(count)
        ]
        self._published = house.published
        self._weights = list(accumulate(1 / (number + 1) for number in range(count)))
        for product in self.products:
            for _ in range(VERSIONS):  # so that what is kept of them weighs the same all year
                self.publish(product)

    def publish(self, product: Product) -> None:
        remote = self._remotes[product.repository.upstream]
        held = remote.holding(product.repository)
        held.blobs.clear()
        held.manifests.clear()
        image = remote.put_image(product.repository, TAG.name, product.next_version())
        self._published[product.repository].append(image.manifest)

    def choose(self, rng: random.Random) -> Product:
        return rng.choices(self.products, cum_weights=self._weights)[0]


class House:
    """Settings, upstreams and clocks that outlive the daemon's single lives."""

    def __init__(self, root: Path, model: Model) -> None:
        self.clock = OneThread()
        self.root = root
        self.model = model
        self.ahead_s = BEGIN_S
        self.remotes = {name: MemoryRemote(name) for name in model.ttls}
        self.published: dict[Repository, deque[Manifest]] = defaultdict(lambda: deque(maxlen=VERSIONS))
        """The last versions: what a mirror gives may be of last month, or of before that when it is down."""
        self.pulse: Pulse
        self.store: DiskStore
        self.scheduler: TTLExpirationScheduler
        self.proxy: ProxyRegistry
        self.removed = 0

    @property
    def now_s(self) -> float:
        return self.clock.seconds()

    def wall(self) -> float:
        return self.clock.seconds() + self.ahead_s

    # lives

    def begin(self) -> None:
        self.store = open_store(self.root, self.clock, self.wall)
        self.pulse = Pulse(self.clock.seconds)
        for name, remote in self.remotes.items():
            self.pulse.watch(name, remote.answers)
        self.files, self.state_thread = StateFiles(self.root), AtOnce()
        self.scheduler = TTLExpirationScheduler(
            self.store, self.files, self.state_thread.run, self.pulse, self.model.ttls.__getitem__,
            self.clock, self.wall, self.clock.seconds, self._count_removed, freeze=lambda: None,
        )  # fmt: skip
        self.store.watch(self.scheduler)
        rules = dict.fromkeys(self.remotes, (RULE,))
        self.proxy = ProxyRegistry(self.store, self.remotes, rules, self.clock, self.wall, self.scheduler)
        self.done(self.scheduler.start())
        self.done(self.store.survey())

    def _count_removed(self, kind: str) -> None:
        self.removed += 1

    def end(self) -> None:
        """A clean stop; nothing is left in the clock."""
        self.done(self.proxy.stop())
        self.done(self.scheduler.stop())
        self.done(self.store.close())
        self.clock.advance(30)
        assert self.clock.getDelayedCalls() == []

    def kill(self) -> None:
        """From this moment on nothing is written any more; descriptors go, as with the process."""
        self.state_thread.stop()
        self.done(self.store.close())
        self.files.close_journal()
        self.done(self.proxy.stop())
        for call in list(self.clock.getDelayedCalls()):
            call.cancel()

    def done(self, working: Deferred[Any]) -> Any:
        """The result, as time goes by."""
        outcome: list[Any] = []
        working.addBoth(outcome.append)
        for _ in range(200):
            if outcome:
                break
            self.clock.advance(0.02)
        assert outcome, f"it does not come to an end: {working}"
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        return outcome[0]

    # upstreams

    def go_down(self, name: str) -> None:
        self.remotes[name].answer(503)
        self.remotes[name].script.fail("answers", UpstreamError(name, "it is down"))
        self.pulse.failed(name)
        self.model.answers(name, self.now_s, False)

    def come_up(self, name: str) -> None:
        self.remotes[name].answer(None)
        self.remotes[name].script.heal()
        self.model.answers(name, self.now_s, True)

    def forget_calls(self) -> None:
        """The doubles keep all that they were asked; a year of that is too much."""
        for remote in self.remotes.values():
            remote.script.calls.clear()
            remote.opened.clear()
            remote._read.clear()

    # clients

    def look(self, repository: Repository) -> bool:
        """A HEAD by tag; whether it was answered."""
        return self._tag(repository, lambda: self.proxy.tags.stat(repository, TAG)) is not None

    def pull(self, repository: Repository) -> bool:
        """A whole pull, verified; whether it came to its end."""
        answer = self._tag(repository, lambda: self.proxy.tags.get(repository, TAG))
        if answer is None or answer.manifest is None:
            return False
        manifest = answer.manifest
        self._used(repository, manifest.digest, len(manifest.content))
        for named in manifest.names():
            content = self._blob(repository, named.digest)
            if content is None:
                return False
            assert named.digest.matches(content)
            self._used(repository, named.digest, len(content))
        for _ in range(100):
            if not self.proxy.fills:
                return True
            self.clock.advance(0.02)
        raise AssertionError(f"fills stay: {self.proxy.fills}")

    def _tag(self, repository: Repository, ask: Callable[[], Deferred[TagAnswer]]) -> TagAnswer | None:
        try:
            answer: TagAnswer = self.done(ask())
        except UpstreamError:
            self.pulse.failed(repository.upstream)
            return None
        self.model.used(key_of(repository, TAG), repository.upstream, "", 0, self.now_s)
        top = answer.descriptor
        self.model.came_along(
            key_of(repository, top.digest), repository.upstream, str(top.digest), top.size_bytes, self.now_s
        )
        record = self.store.tag(repository, TAG)
        newest = top.digest if record is None else record.descriptor.digest
        for manifest in self.published[repository]:
            named = [manifest.descriptor, *manifest.names()]
            if manifest.digest == newest:
                for each in named:
                    self.model.passed_on(key_of(repository, each.digest), self.now_s)
            elif manifest.digest == top.digest:  # an older one is whole: a HEAD of it is no use of its parts
                for each in named:
                    key = key_of(repository, each.digest)
                    self.model.came_along(
                        key, repository.upstream, str(each.digest), each.size_bytes, self.now_s
                    )
        return answer

    def _used(self, repository: Repository, digest: Digest, size: int) -> None:
        self.model.used(key_of(repository, digest), repository.upstream, str(digest), size, self.now_s)

    def _blob(self, repository: Repository, digest: Digest) -> bytes | None:
        try:
            blob: IBlob = self.done(self.proxy.blobs.open(repository, digest))
        except UpstreamError:
            self.pulse.failed(repository.upstream)
            return None
        body = blob.body()
        parts = []
        while (part := body.read(65536)) != b"":
            if part is None:
                self.done(body.ready())
            else:
                parts.append(part)
        body.close()
        return b"".join(parts)

    def begin_a_fill_that_never_ends(self) -> None:
        """Half of a blob is on its way when the next kill comes."""
        repository = Repository.parse(HUB, "team/half")
        content = b"half" * 1000
        feed = Feed(len(content))
        self.remotes[HUB].feed(repository, Digest.of(content), feed)
        feed.give(content[: len(content) // 2])
        blob = self.done(self.proxy.blobs.open(repository, Digest.of(content)))
        blob.close()
        self.clock.advance(0.05)
