"""The scheduler over a store in memory, with clocks that the test moves and real state files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from regproxy.errors import ContentMissing, StorageFailed
from regproxy.expiry.files import StateFiles
from regproxy.expiry.pulse import Pulse
from regproxy.expiry.scheduler import TTLExpirationScheduler
from regproxy.interfaces import Held, IManifestSource, IRemovals, Kind, TagRecord
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag

HUB = "docker.io"
NGINX = Repository.parse(HUB, "library/nginx")
CORP = Repository.parse("registry.corp:5000", "team/app")
TAG = Tag("1.29")
DAY_S = 86_400.0
TTL_S = 7 * DAY_S
WALL_S = 1_800_000_000.0


def digest(number: int) -> Digest:
    return Digest("sha256", f"{number:064x}")


ONE, TWO = digest(1), digest(2)
STATE = "scheduler-state.json"


class Wall:
    """The wall clock: it runs with ``clock``, and a test sets it."""

    def __init__(self, clock: Clock, begin_s: float = WALL_S) -> None:
        self._clock = clock
        self.ahead_s = begin_s

    def __call__(self) -> float:
        return self._clock.seconds() + self.ahead_s


@implementer(IRemovals, IManifestSource)
class Shelf:
    """What is on disk. Tells ``watcher`` of all that comes and goes, as the store does."""

    def __init__(self) -> None:
        self.watcher: Any = None
        self.held: dict[tuple[Repository, Reference], Held] = {}
        self.texts: dict[tuple[Repository, Digest], Manifest] = {}
        self.records: dict[tuple[Repository, Tag], TagRecord] = {}
        self.expired: list[tuple[Repository, Reference]] = []
        self.refusing = False
        self.before: Callable[[], None] = lambda: None
        self.manifests: Any = self

    def put(self, repository: Repository, reference: Reference, kind: Kind | None = Kind.BLOB) -> None:
        held = Held(repository, reference, kind, 0 if kind is None else 10)
        self.held[repository, reference] = held
        if self.watcher is not None:
            self.watcher.added(held)

    def put_manifest(self, repository: Repository, manifest: Manifest, tag: Tag | None = None) -> None:
        self.texts[repository, manifest.digest] = manifest
        self.put(repository, manifest.digest, Kind.MANIFEST)
        if tag is not None:
            self.records[repository, tag] = TagRecord(manifest.descriptor, None, 0.0)
            self.put(repository, tag, None)

    def get(self, repository: Repository, digest: Digest) -> Deferred[Manifest]:
        found = self.texts.get((repository, digest))
        return fail(ContentMissing("not here")) if found is None else succeed(found)

    def stat(self, repository: Repository, digest: Digest) -> Deferred[Descriptor]:
        raise NotImplementedError

    def tag(self, repository: Repository, tag: Tag) -> TagRecord | None:
        return self.records.get((repository, tag))

    def expire(self, repository: Repository, reference: Reference, due: Callable[[], bool]) -> Deferred[bool]:
        self.before()
        if self.refusing:
            return fail(StorageFailed("the disk is read-only (EROFS)"))
        if not due():
            return succeed(False)
        self.held.pop((repository, reference), None)
        self.expired.append((repository, reference))
        self.watcher.gone(repository, reference)
        return succeed(True)

    def survey(self) -> None:
        self.watcher.found(list(self.held.values()))
        self.watcher.surveyed()


def at_once(job: Callable[..., Any], /, *args: object) -> Deferred[Any]:
    """In no thread at all."""

    def run() -> Any:
        try:
            return job(*args)
        except OSError as error:
            raise StorageFailed(str(error)) from None

    return execute(run)


class World:
    """One folder, one shelf; schedulers one after the other."""

    def __init__(
        self, folder: Path, ttl_s: float | None = TTL_S, freeze: Callable[[], None] = lambda: None
    ) -> None:
        self.freeze = freeze
        self.folder = folder
        self.clock = Clock()
        self.wall = Wall(self.clock)
        self.ttl_s = ttl_s
        self.ttls: dict[str, float | None] = {}
        self.shelf = Shelf()
        self.answers: dict[str, bool] = {HUB: True, CORP.upstream: True}
        self.probes: list[str] = []
        self.removed: list[str] = []
        self.pinned: set[str] = set()
        self.files = StateFiles(folder)
        self.scheduler: TTLExpirationScheduler

    def make(self) -> TTLExpirationScheduler:
        """A new scheduler, not begun yet."""

        def probe(name: str) -> Callable[[], Deferred[bool]]:
            def ask() -> Deferred[bool]:
                self.probes.append(name)
                return succeed(self.answers[name])

            return ask

        self.pulse = Pulse(self.clock.seconds)
        for name in self.answers:
            self.pulse.watch(name, probe(name))
        self.scheduler = self.shelf.watcher = TTLExpirationScheduler(
            self.shelf, self.files, at_once, self.pulse, lambda up: self.ttls.get(up, self.ttl_s),
            self.clock, self.wall, self.clock.seconds, self.removed.append, self.freeze,
            lambda key: key in self.pinned,
        )  # fmt: skip
        return self.scheduler

    def begin(self, survey: bool = True) -> TTLExpirationScheduler:
        """Make it, load it, look at the shelf."""
        made = self.make()
        loading = made.start()
        self.settle()
        assert loading.called
        if survey:
            self.shelf.survey()
            self.settle()
        return made

    def end(self) -> None:
        """A clean stop."""
        stopping = self.scheduler.stop()
        self.settle()
        assert stopping.called
        assert self.clock.getDelayedCalls() == []

    def kill(self) -> None:
        """The process is gone, with what it had not written."""
        for call in list(self.clock.getDelayedCalls()):
            call.cancel()
        self.close_files()
        self.files = StateFiles(self.folder)
        self.shelf.watcher = None

    def close_files(self) -> None:
        """As the system does for a process that is gone."""
        for descriptor in (self.files._journal, self.files._saving):
            if descriptor is not None:
                os.close(descriptor)
        self.files._journal = self.files._saving = None

    def settle(self) -> None:
        """Let everything run that is due now."""
        for _ in range(10_000):
            if not any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
                return
            self.clock.advance(0)
        raise AssertionError("it does not come to an end")

    def one_call(self) -> None:
        """A turn: what is due next, alone."""
        call = self.clock.calls.pop(0)
        self.clock.rightNow = max(self.clock.rightNow, call.getTime())
        call.called = 1
        call.func(*call.args, **call.kw)

    def pass_s(self, seconds: float) -> None:
        """Time goes by: every call comes at its own second."""
        until = self.clock.seconds() + seconds
        while True:
            times = [call.getTime() for call in self.clock.getDelayedCalls()]
            following = min(times, default=until)
            if following > until:
                break
            self.clock.advance(max(0.0, following - self.clock.seconds()))
            if not times:
                break
        self.clock.advance(max(0.0, until - self.clock.seconds()))
        self.settle()


def document(world: World) -> Any:
    return json.loads((world.folder / STATE).read_bytes())


def uses(world: World) -> dict[str, tuple[str, float, int, int]]:
    """What the scheduler knows, with wall times."""
    found = {}
    entries = world.scheduler._entries
    for key in entries:
        entry = entries.get(key)
        assert entry is not None
        wall_s = world.scheduler._timeline.to_wall(entry.used_s)
        found[key] = (entry.type, round(wall_s, 3), entry.size_bytes, entry.pulls)
    return found


def populate(world: World) -> None:
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.shelf.put(CORP, TWO, Kind.MANIFEST)
    world.shelf.put(CORP, TAG, None)
    world.pass_s(DAY_S)
    world.scheduler.used(NGINX, ONE)
