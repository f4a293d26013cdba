"""Spools that earlier fills have left, for later ones to go on from.

Laws: nothing is read of their bytes, which nobody trusts: whoever takes one over hashes them again. They
are few, and not there for long; the oldest ones go first. Known in memory, so that to ask whether there is
one costs nothing; all that changes the disk runs in the writer's thread. What they take of it counts as
content does, from the moment that they are left until they are gone.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from threading import Lock
from typing import TypeVar

import attrs

from regproxy.interfaces import Leftover
from regproxy.oci.digest import Digest
from regproxy.storage import durable
from regproxy.storage.layout import Layout
from regproxy.storage.maps import SpoolMap
from regproxy.storage.occupancy import Occupancy, regular
from regproxy.storage.space import disk_bytes

MOST = 64
MOST_BYTES = 32 * 1024 * 1024 * 1024
LIFE_S = 24 * 3600.0
"""Since the last byte was written. A client that has not come back by then is not about to."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

T = TypeVar("T")


@attrs.frozen(slots=True)
class Left:
    """One of them: its name under ``fills/``, its map, what it takes of the disk."""

    name: str
    map: SpoolMap
    disk_bytes: int = 0


def is_named_for(name: str, digest: Digest) -> bool:
    """Whether a spool of this name is one of ``digest``."""
    return name.startswith(f"{digest.algorithm}-{digest.hex[:32]}-")


def surplus(left: Iterable[Left], now_s: float) -> list[Left]:
    """Which of them are not kept: those past their time, the poorer ones of one digest, and beyond MOST and
    MOST_BYTES those that were written longest ago."""
    ordered = sorted(left, key=lambda one: (one.map.written_s, one.name), reverse=True)
    best: dict[Digest, Left] = {}
    for one in ordered:
        known = best.setdefault(one.map.digest, one)
        if _covered(one) > _covered(known):
            best[one.map.digest] = one
    gone, count, size_bytes = [], 0, 0
    for one in ordered:
        fits = count < MOST and size_bytes + one.disk_bytes <= MOST_BYTES
        if best[one.map.digest] is one and fits and now_s - one.map.written_s < LIFE_S:
            count, size_bytes = count + 1, size_bytes + one.disk_bytes
        else:
            gone.append(one)
    return gone


def _covered(left: Left) -> int:
    return sum(stop - start for start, stop in left.map.there)


class Leftovers:
    """Those that are there now. ``wall`` gives seconds since the epoch; ``occupancy`` counts them."""

    def __init__(self, layout: Layout, wall: Callable[[], float], occupancy: Occupancy) -> None:
        self._layout = layout
        self._wall = wall
        self._occupancy = occupancy
        self._lock = Lock()
        self._left: dict[Digest, Left] = {}

    def __repr__(self) -> str:
        return f"<Leftovers {len(self._left)}>"

    # from any thread

    def look(self, digest: Digest) -> Leftover | None:
        """What is left of ``digest``."""
        with self._lock:
            left = self._left.get(digest)
        if left is None or left.map.size_bytes is None:
            return None
        return Leftover.of(left.map.size_bytes, left.map.there, left.map.validator)

    def now_s(self) -> float:
        """Seconds since the epoch."""
        return self._wall()

    def has(self, name: str) -> bool:
        """Whether the spool of this name is one of them."""
        with self._lock:
            return any(left.name == name for left in self._left.values())

    # in the writer's thread, or before the daemon serves

    def find(self, name: str, known: SpoolMap) -> Left | None:
        """The leftover that ``name`` and its map are, if they are one."""
        found = regular(self._layout.spool(name))
        fits = found is not None and known.is_leftover and is_named_for(name, known.digest)
        if found is None or not fits or found.st_size < known.there[-1][1]:
            return None
        return Left(name, known, disk_bytes(found))

    def add(self, *found: Left) -> None:
        """More of them; what is too much, or of no use any more, is removed. OSError."""
        for one in found:
            self._occupancy.spools.keep(one.name, one.disk_bytes)
        with self._lock:
            everything = [*self._left.values(), *found]
            removed = surplus(everything, self._wall())
            held = [one for one in everything if self._is_complete(one.map.digest)]
            gone = {one.name for one in (*removed, *held)}
            self._left = {one.map.digest: one for one in everything if one.name not in gone}
        self._remove(one for one in everything if one.name in gone)

    def sweep(self) -> None:
        """Remove those whose time is over, whose blob is on disk now, or that somebody took away. OSError."""
        with self._lock:
            known = list(self._left.values())
        for left in known:
            if regular(self._layout.spool(left.name)) is None:
                self.drop_named(left.name)
        self.add()

    def sweep_overdue(self) -> None:
        """The same, where there are some whose time is over. OSError."""
        with self._lock:
            written = [left.map.written_s for left in self._left.values()]
        if written and self._wall() - min(written) >= LIFE_S:
            self.sweep()

    def take(self, digest: Digest) -> Left | None:
        """That of ``digest``, which is nobody else's now."""
        with self._lock:
            left = self._left.pop(digest, None)
        if left is not None:
            self._occupancy.spools.resume(left.name)
        return left

    def drop(self, digest: Digest) -> None:
        """It is of no use any more. OSError."""
        left = self.take(digest)
        if left is not None:
            self.remove(left)

    def drop_named(self, name: str) -> bool:
        """Remove the one of this name: whether it was one of them. OSError."""
        with self._lock:
            digest = next((digest for digest, left in self._left.items() if left.name == name), None)
        if digest is None:
            return False
        self.drop(digest)
        return True

    def with_room(self, job: Callable[[], T]) -> T:
        """Do it, once more where the disk is full and there were leftovers that could go. OSError."""
        try:
            return job()
        except OSError as error:
            if error.errno not in FULL or not self.clear():
                raise
            return job()

    def clear(self) -> bool:
        """Make room: whether there were any. OSError."""
        with self._lock:
            everything, self._left = list(self._left.values()), {}
        self._remove(everything)
        return bool(everything)

    def _is_complete(self, digest: Digest) -> bool:
        return regular(self._layout.blob(digest)) is not None

    def _remove(self, gone: Iterable[Left]) -> None:
        everything = list(gone)
        for left in everything:
            self._occupancy.spools.resume(left.name)
        for left in everything:
            self.remove(left)

    def remove(self, left: Left) -> None:
        """Take the files of one that is none of them any more. OSError; what stays then counts on."""
        path = self._layout.spool(left.name)
        found = regular(path)
        durable.remove(path)
        self._occupancy.lost_spool(left.name, found)
        durable.remove(self._layout.map(left.name))
