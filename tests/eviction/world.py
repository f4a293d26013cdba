"""A store, and who knows its uses, in memory; a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from regproxy.errors import StorageFailed
from regproxy.eviction.evictor import Evictor
from regproxy.eviction.limits import Limits
from regproxy.eviction.pins import PinFile, Pins
from regproxy.interfaces import DiskUse, Held, IdleSpool, IEvictable, IStock, IUsage, Kind, Use
from regproxy.oci.digest import Digest
from regproxy.oci.images import ImagePattern
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag

MIB = 1 << 20
NGINX = Repository.parse("docker.io", "library/nginx")
REDIS = Repository.parse("docker.io", "library/redis")
HOUR_S = 3600.0


def digest(number: int) -> Digest:
    return Digest("sha256", f"{number:064x}")


def key_of(repository: Repository, reference: Reference) -> str:
    return f"{repository}{':' if isinstance(reference, Tag) else '@'}{reference}"


def at_once(job: Callable[..., Any], /, *args: Any) -> Deferred[Any]:
    """In no thread."""

    def run() -> Any:
        try:
            return job(*args)
        except OSError as error:
            raise StorageFailed(str(error)) from None

    return execute(run)


@attrs.define(eq=False)
class Entry:
    type: str
    used_s: float
    size_bytes: int
    pulls: int = 1


@implementer(IUsage, IEvictable, IStock)
class Shelf:
    """All of it. ``open`` are digests that somebody reads: their bytes stay until they are closed."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.loaded = True
        self.entries: dict[str, Entry] = {}
        self.named: dict[Digest, tuple[Digest, ...]] = {}
        self.meant: dict[str, Digest] = {}
        self.spools: list[IdleSpool] = []
        self.promised = 0
        self.open: set[Digest] = set()
        self.unlinked = 0
        self.counted = True
        self.is_settled = True
        self.free: int | None = 1 << 50
        self.refusing = False
        self.removed: list[str] = []
        self.watcher: Any = None
        self.before: Callable[[str], None] = lambda key: None
        self.looks = 0
        self.stock: Any = self

    # what a test does

    def put(
        self, repository: Repository, number: int, size: int = MIB, age_s: float = 0.0, type: str = "blob"
    ) -> Digest:
        found = digest(number)
        self._add(repository, found, Entry(type, self.clock.seconds() - age_s, size))
        return found

    def image(
        self,
        repository: Repository,
        number: int,
        *layers: int,
        size: int = MIB,
        age_s: float = 0.0,
        tag: str = "",
    ) -> Digest:
        found = self.put(repository, number, 0, age_s, "manifest")
        self.named[found] = tuple(self.put(repository, layer, size, age_s) for layer in layers)
        if tag:
            self.meant[key_of(repository, Tag(tag))] = found
            self._add(repository, Tag(tag), Entry("tag", self.clock.seconds() - age_s, 0))
        return found

    def _add(self, repository: Repository, reference: Reference, entry: Entry) -> None:
        self.entries[key_of(repository, reference)] = entry
        kind = None if entry.type == "tag" else Kind(entry.type)
        if self.watcher is not None:
            self.watcher.added(Held(repository, reference, kind, entry.size_bytes))

    def use(self, key: str) -> None:
        self.entries[key].used_s = self.clock.seconds()

    def close(self, number: int) -> None:
        self.open.discard(digest(number))
        self.unlinked = 0

    # IUsage

    def now_s(self) -> float:
        return self.clock.seconds()

    def uses(self) -> Deferred[list[Use]]:
        self.looks += 1
        found: list[Use] = [
            (key, one.type, one.used_s, one.pulls, one.size_bytes) for key, one in self.entries.items()
        ]
        gathered: Deferred[list[Use]] = Deferred()
        self.clock.callLater(0, gathered.callback, found)
        return gathered

    def unused_since(self, key: str, used_s: float) -> bool:
        return key in self.entries and self.entries[key].used_s <= used_s

    # IStock

    def names(self, digest: Digest) -> tuple[Digest, ...]:
        return self.named.get(digest, ())

    def tagged(self, repository: Repository, tag: Tag) -> Digest | None:
        return self.meant.get(key_of(repository, tag))

    def idle_spools(self) -> Sequence[IdleSpool]:
        return self.spools

    # IEvictable

    def disk_use(self) -> DiskUse:
        sizes = {key.partition("@")[2]: one.size_bytes for key, one in self.entries.items() if "@" in key}
        spools = self.promised + sum(spool.disk_bytes for spool in self.spools)
        return DiskUse(sum(sizes.values()), spools, 0, self.unlinked, self.counted)

    def settled(self) -> bool:
        return self.is_settled

    def room(self) -> Deferred[tuple[int, int]]:
        if self.free is None:
            return fail(StorageFailed("it hangs"))
        return succeed((self.free, 1 << 50))

    def expire(self, repository: Repository, reference: Reference, due: Callable[[], bool]) -> Deferred[bool]:
        key = key_of(repository, reference)
        self.before(key)
        if self.refusing:
            return fail(StorageFailed("the disk is read-only (EROFS)"))
        if not due():
            return succeed(False)
        entry = self.entries.pop(key)
        if reference in self.open:
            self.unlinked += entry.size_bytes
        self.removed.append(key)
        if self.watcher is not None:
            self.watcher.gone(repository, reference)
        return succeed(True)

    def drop_spool(self, name: str) -> Deferred[bool]:
        self.spools = [spool for spool in self.spools if spool.name != name]
        self.removed.append(name)
        return succeed(True)


class World:
    """An evictor over a shelf."""

    def __init__(self, folder: Any, limits: Limits, *pins: str) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000.0)
        self.shelf = Shelf(self.clock)
        self.file = PinFile(folder)
        self.pins = Pins(map(ImagePattern.parse, pins), self.file, at_once)
        self.told: list[tuple[str, str, int]] = []
        self.refused: list[str] = []
        self.evictor = self.shelf.watcher = Evictor(
            self.shelf, self.shelf, limits, self.pins, at_once, self.clock,
            lambda *told: self.told.append(told), self.refused.append,
        )  # fmt: skip

    def begin(self) -> None:
        """As after the first survey."""
        started = self.evictor.start()
        assert started.called
        self.evictor.surveyed()
        self.settle()

    def ask(self, size: int) -> list[Any]:
        """What comes of asking for room: it is taken then."""
        found: list[Any] = []
        asking = self.evictor.reserve(size)
        asking.addCallback(lambda _: self._take(size)).addBoth(found.append)
        self.settle()
        return found

    def settle(self) -> None:
        """Let everything run that is due now."""
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)

    def later(self, seconds: float) -> None:
        """Let so much time pass, and everything run that is due then."""
        self.clock.advance(seconds)
        self.settle()

    def _take(self, size: int) -> str:
        self.shelf.promised += size
        return "room"

    @property
    def removed(self) -> list[str]:
        return self.shelf.removed
