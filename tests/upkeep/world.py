"""A store in memory whose blobs are hashed as a test says, and clocks that it moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from regproxy.errors import StorageFailed
from regproxy.interfaces import Examined, IScrubbed, Kind, Verdict
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.upkeep.record import RecordFile
from regproxy.upkeep.scrubber import Scrubber

NGINX = Repository.parse("docker.io", "library/nginx")
MIB = 1 << 20
DAY_S = 86_400.0
BEGAN_S = 1_800_000_000.0


def digest(number: int, of: int = 256) -> Digest:
    """The blob at ``number``/``of`` of the way."""
    return Digest("sha256", f"{number * (1 << 256) // of:064x}")


def at_once(job: Callable[..., Any], /, *args: Any) -> Deferred[Any]:
    """In no thread."""

    def run() -> Any:
        try:
            return job(*args)
        except OSError as error:
            raise StorageFailed(str(error)) from None

    return execute(run)


@implementer(IScrubbed)
class Shelf:
    """``blobs`` by digest: size and mtime. ``verdicts`` of those that are not right."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.blobs: dict[Digest, tuple[int, float]] = {}
        self.verdicts: dict[Digest, Verdict] = {}
        self.hashed: list[tuple[Digest, float]] = []
        self.broken = False
        self.refused: set[Digest] = set()
        self.listings = 0

    def put(self, *digests: Digest, size_bytes: int = MIB, mtime_s: float = 0.0) -> None:
        for one in digests:
            self.blobs[one] = size_bytes, mtime_s

    def held_bytes(self) -> int:
        return sum(size for size, _ in self.blobs.values())

    def blobs_after(self, cursor: str) -> Deferred[Sequence[Digest]]:
        self.listings += 1
        if self.broken:
            return fail(StorageFailed("the disk fails to read or write (EIO)"))
        behind = sorted((one for one in self.blobs if one.hex > cursor), key=lambda one: one.hex)
        return succeed([one for one in behind if one.hex[:2] == behind[0].hex[:2]])

    def examine(
        self, digest: Digest, wanted: Callable[[float], bool], rest: Callable[[int], Deferred[None]]
    ) -> Deferred[Examined]:
        return Deferred.fromCoroutine(self._examine(digest, wanted, rest))

    async def _examine(
        self, digest: Digest, wanted: Callable[[float], bool], rest: Callable[[int], Deferred[None]]
    ) -> Examined:
        if digest not in self.blobs:
            return Examined(Verdict.GONE)
        if digest in self.refused:
            raise StorageFailed("the daemon's user may not do this to the storage folder (EACCES)")
        size, mtime_s = self.blobs[digest]
        if not wanted(mtime_s):
            return Examined(Verdict.YOUNG)
        for start in range(0, size, 4 * MIB):
            await rest(min(4 * MIB, size - start))
        self.hashed.append((digest, self._clock.seconds()))
        verdict = self.verdicts.get(digest, Verdict.RIGHT)
        if verdict is Verdict.RIGHT:
            return Examined(verdict, size)
        del self.blobs[digest]
        return Examined(verdict, size, ((NGINX, Kind.BLOB),))


class World:
    """A scrubber over a shelf. ``bad`` is what it told of."""

    def __init__(self, folder: Path, every_s: float | None = 30 * DAY_S) -> None:
        self.folder = folder
        self.every_s = every_s
        self.clock = Clock()
        self.shift_s = 0.0
        self.shelf = Shelf(self.clock)
        self.file = RecordFile(folder)
        self.busy = False
        self.bad: list[tuple[Digest, object]] = []
        self.counted: list[tuple[str, int]] = []
        self.scrubber = self.made()

    def made(self) -> Scrubber:
        return Scrubber(
            self.shelf,
            self.every_s,
            self.file,
            at_once,
            self.clock,
            self.wall,
            self.clock.seconds,
            lambda: self.busy,
            lambda digest, holders: self.bad.append((digest, holders)),
            lambda verdict, size: self.counted.append((verdict, size)),
        )

    def wall(self) -> float:
        return BEGAN_S + self.clock.seconds() + self.shift_s

    def begin(self) -> None:
        done(self.scrubber.load())
        self.scrubber.begin()

    def restart(self, kill: bool = False) -> None:
        if not kill:
            done(self.scrubber.stop())
        self.clock.calls.clear()
        self.scrubber = self.made()
        self.begin()

    def go_on(self, seconds: float, step_s: float = 60.0) -> None:
        until_s = self.clock.seconds() + seconds
        while self.clock.seconds() < until_s:
            self.clock.advance(min(step_s, until_s - self.clock.seconds()))

    @property
    def order(self) -> list[Digest]:
        return [digest for digest, _ in self.shelf.hashed]


def done(work: Any) -> None:
    """What needs no waiting."""
    results: list[object] = []
    Deferred.fromCoroutine(work).addBoth(results.append)
    assert results == [None], results
