"""A day of a cluster behind one mirror, in simulated time: what is asked of Docker Hub, and who is refused.

``python -m bench.simulate``; ``make simulate``. The mirror is the real one (proxy, fills, rate budget) over
a store in memory and a registry that counts as Docker Hub does: GETs of manifests, HEADs are free. Beside
it stands a mirror without a memory of tags, which asks for a tag at every pull. No sleeping, no network,
the same figures every time.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from heapq import merge
from math import ceil
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from regproxy.errors import RegproxyError, Throttled
from regproxy.headers.origins import Origin
from regproxy.interfaces import Allowance, Thrift
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.proxy.registry import ProxyRegistry
from regproxy.settings import TagRule
from regproxy.testing.at_once import OneThread
from regproxy.testing.calls import Call
from regproxy.testing.images import Image, make_image, make_index
from regproxy.testing.layers import file_layer
from regproxy.testing.remotes import MemoryRemote
from regproxy.testing.stores import MemoryStore
from regproxy.upstream.budget import Budget

T = TypeVar("T")

HUB = "docker.io"
HOME = Origin("https", "registry-1.docker.io", 443)
HOUR_S = 3600.0
START_S = 1_800_000_000.0
LATENCY_S = 0.12
"""From a question to the upstream's answer."""
ROLLOUT_S = 600.0
"""So long after the hour the last node begins."""
STEP_S = 0.4
"""Between two images of one node."""
BEFORE_S = 7 * HOUR_S
"""So long before the day the images were first pulled: one window, and some."""
TAG = Tag("stable")


@attrs.frozen
class Trace:
    """What happens in a day.

    ``changes`` tags of the ``images`` get a new digest in each window of the limit. ``strangers`` are images
    that nobody has pulled before, each hour, each pulled by a tenth of the nodes.
    """

    title: str
    nodes: int = 200
    images: int = 50
    hours: int = 24
    changes: int = 40
    strangers: int = 0
    limit: int = 100
    window_s: float = 6 * HOUR_S


WITHIN = Trace("within the limit")
ABOVE = Trace("above the limit", changes=90, strangers=6)


@attrs.define
class Figures:
    """What a day came to. ``refused`` pulls got a 429, ``refused_cached`` although an image was there."""

    pulls: int = 0
    stale: int = 0
    refused: int = 0
    refused_cached: int = 0
    refused_silently: int = 0
    """Without a Retry-After."""
    failed: int = 0
    slowest_refusal_s: float = 0.0
    gets: int = 0
    heads: int = 0
    refusals: int = 0
    """429s of the upstream itself."""
    digests: int = 0
    """New ones that came up."""
    most_sparing: Thrift = Thrift.FREE


@attrs.frozen(eq=False)
class Told:
    """An upstream's answer, as the budget reads it."""

    status: int
    values: dict[str, str]
    origin: Origin = HOME

    def headers(self, name: str) -> list[str]:
        """All values."""
        return [self.values[name.lower()]] if name.lower() in self.values else []

    def header(self, name: str) -> str | None:
        """The last one."""
        return self.values.get(name.lower())


class Hub:
    """Counts as Docker Hub does: the GETs of manifests in the last six hours, refused ones not."""

    def __init__(self, clock: OneThread, limit: int, window_s: float, figures: Figures) -> None:
        self._clock = clock
        self._limit = limit
        self._window_s = window_s
        self._figures = figures
        self._counted: deque[float] = deque()

    def answer(self, method: str, kind: str) -> Told:
        """The head of the answer to one question."""
        now_s = self._clock.seconds()
        while self._counted and self._counted[0] <= now_s - self._window_s:
            self._counted.popleft()
        if kind != "manifest":
            return Told(200, {})
        if method == "HEAD":
            self._figures.heads += 1
            return Told(200, self._headers())
        if len(self._counted) >= self._limit:
            self._figures.refusals += 1
            wait_s = ceil(self._counted[0] + self._window_s - now_s)
            return Told(429, {**self._headers(), "retry-after": str(wait_s)})
        self._counted.append(now_s)
        self._figures.gets += 1
        return Told(200, self._headers())

    def _headers(self) -> dict[str, str]:
        window = f";w={self._window_s:.0f}"
        left = self._limit - len(self._counted)
        return {"ratelimit-limit": f"{self._limit}{window}", "ratelimit-remaining": f"{left}{window}"}


QUESTIONS = {
    "tags.get": ("GET", "manifest"),
    "tags.stat": ("HEAD", "manifest"),
    "manifests.get": ("GET", "manifest"),
    "manifests.stat": ("HEAD", "manifest"),
}


class HubRemote(MemoryRemote):
    """Docker Hub behind the real rate budget."""

    def __init__(self, clock: OneThread, hub: Hub) -> None:
        super().__init__(HUB)
        self._clock = clock
        self._hub = hub
        chance = random.Random(7).random
        self._budget = Budget(HUB, HOME, clock, clock.seconds, lambda: 0, chance, self._look)

    def allowance(self) -> Allowance:
        """The budget's."""
        return self._budget.allowance()

    def _look(self) -> None:
        looking = Deferred.fromCoroutine(self._ask("HEAD", "manifest"))
        looking.addErrback(lambda failure: failure.trap(RegproxyError) and None)

    def _ask(self, method: str, kind: str) -> Coroutine[Any, Any, Told]:
        async def send() -> Told:
            await deferLater(self._clock, LATENCY_S)
            return self._hub.answer(method, kind)

        return self._budget.ask(method, kind, HOME, send)

    async def _enter(self, call: Call, work: Coroutine[Deferred[Any], Any, T]) -> T:
        try:
            told = await self._ask(*QUESTIONS.get(call.operation, ("GET", "blob")))
            if told.status == 429:
                raise Throttled(HUB, "it allows no more requests for now (429)", 1)
        except BaseException:
            work.close()
            raise
        return await work


@attrs.frozen(order=True)
class Pull:
    """A node pulls an image."""

    at_s: float
    node: int
    name: str


@attrs.frozen(order=True)
class Change:
    """A tag gets a new digest."""

    at_s: float
    name: str
    version: int


def image_of(name: str, version: int) -> Image:
    """A multi-platform image: an index, a manifest for each platform, a config, two layers."""
    base = file_layer({"base": b"the same in all"})
    own = file_layer({"app": f"{name} {version}".encode()})
    labels = {"name": name, "version": str(version)}
    return make_index(
        *(make_image(base, own, architecture=each, labels=labels) for each in ("amd64", "arm64"))
    )


def changes(trace: Trace, chance: random.Random) -> Iterator[Change]:
    """Spread over the day, each image in its turn."""
    count = round(trace.hours * HOUR_S / trace.window_s * trace.changes)
    order = [f"library/app-{number % trace.images}" for number in range(count)]
    for number, name in enumerate(order):
        at_s = START_S + (number + chance.random()) / count * trace.hours * HOUR_S
        yield Change(at_s, name, 1 + number // trace.images)


def rollouts(trace: Trace, chance: random.Random) -> Iterator[Pull]:
    """Each hour each node pulls every image, some begin later than others."""
    for hour in range(trace.hours):
        began_s = START_S + hour * HOUR_S
        pulls = []
        for node in range(trace.nodes):
            at_s = began_s + chance.random() * ROLLOUT_S
            names = [f"library/app-{number}" for number in range(trace.images)]
            if node % 10 == 0:
                names += [f"strange/app-{hour}-{number}" for number in range(trace.strangers)]
            pulls += [Pull(at_s + number * STEP_S, node, name) for number, name in enumerate(names)]
        yield from sorted(pulls)


def events(trace: Trace) -> Iterator[Pull | Change]:
    """The day, in order."""
    chance = random.Random(2015)
    first = START_S - BEFORE_S
    before = [Pull(first + number, 0, f"library/app-{number}") for number in range(trace.images)]
    happens: Iterator[Pull | Change] = merge(
        changes(trace, chance), rollouts(trace, chance), key=lambda event: event.at_s
    )
    yield from before
    yield from happens


class Day:
    """A trace on a mirror; ``pull`` is what a node does there."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.figures = Figures()
        self.clock = OneThread()
        self.clock.advance(START_S - BEFORE_S - 1)
        self.hub = Hub(self.clock, trace.limit, trace.window_s, self.figures)
        self.complete: set[str] = set()
        """The images that some node has pulled."""

    def run(self) -> Figures:
        """The whole day."""
        self.begin()
        for event in events(self.trace):
            self.clock.run_for(max(0.0, event.at_s - self.clock.seconds()))
            if isinstance(event, Change):
                self.figures.digests += 1
                self.change(event.name, event.version)
            else:
                self.figures.pulls += event.at_s >= START_S
                self.pull(event)
        self.clock.run_for(HOUR_S)
        return self.figures

    def begin(self) -> None:
        """Before the first pull."""

    def change(self, name: str, version: int) -> None:
        """A tag has a new digest."""

    def pull(self, pull: Pull) -> None:
        """A node pulls."""
        raise NotImplementedError


class MirrorDay(Day):
    """The mirror as it is, with the settings that it has by itself."""

    def begin(self) -> None:
        """The images, and those that nobody has pulled yet."""
        self.store = MemoryStore(self.clock)
        self.remote = HubRemote(self.clock, self.hub)
        self.proxy = ProxyRegistry(
            self.store, {HUB: self.remote}, {HUB: (TagRule(),)}, self.clock, self.clock.seconds
        )
        self._named: dict[Digest, tuple[Digest, ...]] = {}
        self._held: list[set[Digest]] = [set() for _ in range(self.trace.nodes)]
        for number in range(self.trace.images):
            self.change(f"library/app-{number}", 0)
        self.figures.digests = self.trace.images
        for hour in range(self.trace.hours):
            for number in range(self.trace.strangers):
                self.figures.digests += 1
                self.change(f"strange/app-{hour}-{number}", 0)

    def change(self, name: str, version: int) -> None:
        """As it is at the upstream from now on."""
        self.remote.put_image(Repository.parse(HUB, name), TAG.name, image_of(name, version))

    def pull(self, pull: Pull) -> None:
        """As containerd does: HEAD by tag, then what the node does not have, by digest."""
        Deferred.fromCoroutine(self._pull(pull))

    async def _pull(self, pull: Pull) -> None:
        self.figures.most_sparing = max(self.figures.most_sparing, self.remote.allowance().thrift)
        cached = pull.name in self.complete
        repository = Repository.parse(HUB, pull.name)
        for _ in range(3):  # whoever is refused asks again at once
            began_s = self.clock.seconds()
            try:
                await self._fetch(repository, self._held[pull.node])
            except Throttled as error:
                self._note_refusal(error, cached, self.clock.seconds() - began_s)
            except RegproxyError:
                self.figures.failed += 1
                return
            else:
                self.complete.add(pull.name)
                return

    async def _fetch(self, repository: Repository, held: set[Digest]) -> None:
        found = self.proxy.manifest_at_hand(repository, TAG)
        answer = found or await self.proxy.tags.stat(repository, TAG)
        self.figures.stale += answer.warning is not None
        top = answer.descriptor.digest
        if top in held:
            return
        child, *_ = self._names(await self.proxy.manifests.get(repository, top))
        for named in self._names(await self.proxy.manifests.get(repository, child)):
            blob = await self.proxy.blobs.open(repository, named)
            body = blob.body()
            while (data := body.read(65536)) != b"":
                if data is None:
                    await body.ready()
            body.close()
        held.add(top)

    def _names(self, manifest: Manifest) -> tuple[Digest, ...]:
        """What it names; each node would read it for itself."""
        if manifest.digest not in self._named:
            self._named[manifest.digest] = tuple(each.digest for each in manifest.names())
        return self._named[manifest.digest]

    def _note_refusal(self, error: Throttled, cached: bool, took_s: float) -> None:
        self.figures.refused += 1
        self.figures.refused_cached += cached
        self.figures.refused_silently += not error.retry_after_s
        self.figures.slowest_refusal_s = max(self.figures.slowest_refusal_s, took_s)


class EveryPullDay(Day):
    """A mirror that keeps content and asks for a tag at every pull, by a conditional GET."""

    def begin(self) -> None:
        """No child manifest is there."""
        self._whole: set[str] = set()

    def pull(self, pull: Pull) -> None:
        """The tag, and the child manifest where it is another one."""
        asked = 1 if pull.name in self._whole else 2
        if any(self.hub.answer("GET", "manifest").status == 429 for _ in range(asked)):
            self.figures.refused += 1
            self.figures.refused_cached += pull.name in self.complete
            return
        self._whole.add(pull.name)
        self.complete.add(pull.name)

    def change(self, name: str, version: int) -> None:
        """It has another child manifest now."""
        self._whole.discard(name)


ROWS = (
    ("pulls of the nodes", "pulls"),
    ("GETs of manifests, which count", "gets"),
    ("HEADs of manifests, which do not", "heads"),
    ("429s of the upstream", "refusals"),
    ("answers 429 to nodes, their retries too", "refused"),
    ("of these, of images that are cached", "refused_cached"),
    ("answers served stale, with a warning", "stale"),
    ("slowest 429, seconds", "slowest_refusal_s"),
)


def table(trace: Trace, mirror: Figures, every_pull: Figures) -> str:
    """Both, beside each other."""
    lines = [
        f"{trace.title}: {trace.nodes} nodes, {trace.images} images, {trace.hours} h, "
        f"{trace.limit} GETs in {trace.window_s / HOUR_S:g} h, {mirror.digests} new digests",
        f"  {'':40}{'regproxy':>12}{'every pull':>12}",
    ]
    for title, name in ROWS:
        values = (getattr(each, name) for each in (mirror, every_pull))
        lines.append(f"  {title:40}" + "".join(f"{value:>12,.6g}" for value in values))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Both traces, printed; 1 when the mirror does not keep what it promises."""
    parser = argparse.ArgumentParser(prog="python -m bench.simulate", description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=WITHIN.nodes)
    parser.add_argument("--hours", type=int, default=WITHIN.hours)
    asked = parser.parse_args(arguments)
    kept = True
    for trace in (WITHIN, ABOVE):
        trace = attrs.evolve(trace, nodes=asked.nodes, hours=asked.hours)
        mirror, every_pull = MirrorDay(trace).run(), EveryPullDay(trace).run()
        print(table(trace, mirror, every_pull), end="\n\n")
        kept &= keeps(trace, mirror)
    return 0 if kept else 1


def keeps(trace: Trace, found: Figures) -> bool:
    """What is cached is always served; a refusal comes within a second and says when to come again; within
    the limit there is none, and a new digest costs two GETs at most."""
    always = not (found.refused_cached or found.refused_silently or found.failed)
    if trace.title == WITHIN.title:
        return always and not found.refused and found.gets <= 2 * found.digests
    return always and found.slowest_refusal_s < 1.0


if __name__ == "__main__":
    sys.exit(main())
