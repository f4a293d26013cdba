"""When repositories and upstreams were revoked, and the times that links are dated by.

Laws: a revocation is dated after all links that are known, and counts from the moment it is asked
for, also while (or although) the disk does not take its record. Before a survey has seen all links
it is an *early* one: dated after all that were written before this process, as they become known. A
stamp given after it is after it, whatever the wall clock does. A repository of which the disk holds
nothing gets no record before its first link: clients can name any number of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from math import inf, nextafter
from pathlib import Path
from threading import Lock

from regproxy.oci.repository import Repository
from regproxy.storage import durable
from regproxy.storage.layout import Layout
from regproxy.storage.ledger import Ledger
from regproxy.storage.records import format_record, parse_record, read_marked, seconds
from regproxy.storage.remembered import Remembered

MAX_UNKNOWN = 10_000
"""So many revoked repositories of which the disk holds nothing are told apart."""
_MAX_BYTES = 1024
_REMEMBERED = 4096


class Revocations:
    """The records ``_revoked``, and those not on disk (yet)."""

    def __init__(self, layout: Layout, wall: Callable[[], float], ledger: Ledger) -> None:
        self._layout = layout
        self._wall = wall
        self._ledger = ledger
        self._last_s = 0.0
        self._heeded_s = 0.0
        self._lock = Lock()
        self._pending: dict[Path, float] = {}
        self._early: set[Path] = set()
        self._unknown: dict[Path, float] = {}
        self._forgotten_s = 0.0
        self._records: Remembered[Path, tuple[float, bool]] = Remembered(
            _itself, _look, (0.0, False), _REMEMBERED
        )
        self._paths = lru_cache(_REMEMBERED)(self._both)

    def _both(self, repository: Repository) -> tuple[Path, Path]:
        return self._layout.revoked(repository), self._layout.upstream_revoked(repository.upstream)

    def revoked_s(self, repository: Repository) -> float:
        """The later of the repository's and its upstream's; 0.0 for never. StorageFailed."""
        own, whole = self._paths(repository)
        return max(self._latest(own), self._latest(whole))

    def _latest(self, path: Path) -> float:
        """Memory first: the writer thread forgets there only what is on disk by then."""
        noted_s = self._noted_s(path)
        return max(noted_s, self._date(path, self._records.get(path)))

    def _noted_s(self, path: Path) -> float:
        pending_s = self._pending.get(path, 0.0)  # it goes from here to what is unknown
        return max(pending_s, self._unknown.get(path, 0.0))

    def stamp(self, repository: Repository) -> float:
        """Now, in seconds since the epoch: never before an earlier stamp, after each revocation so far."""
        revoked_s = self.revoked_s(repository)
        self._last_s = max(self._wall(), self._last_s, nextafter(revoked_s, inf) if revoked_s else 0.0)
        return self._last_s

    def heed(self, since_s: float) -> None:
        """A link of this date was found that no survey and no write has made known yet."""
        self._heeded_s = max(self._heeded_s, since_s)

    def announce(self, path: Path) -> float:
        """The revocation whose record is ``path`` counts from now on; in the reactor's thread."""
        revoked_s = self._last_s = max(self._wall(), self._last_s, self._ledger.newest_s)
        with self._lock:
            self._pending[path] = revoked_s
            if not self._ledger.complete:
                self._early.add(path)
        return revoked_s

    def write(self, path: Path, revoked_s: float) -> None:
        """Write the record; in the writer thread. OSError."""
        early = {"early": True} if path in self._early else {}
        durable.write_atomic(path, format_record({"revoked": revoked_s, **early}))
        with self._lock:
            if self._pending.get(path) == revoked_s:
                del self._pending[path]

    def write_known(self, repository: Repository, revoked_s: float) -> None:
        """As write(), if the disk holds anything of the repository; else it counts in memory."""
        path = self._layout.revoked(repository)
        if path.parent.is_dir() or repository in self._ledger.promised:
            self.write(path, revoked_s)
            return
        with self._lock:
            self._unknown.pop(path, None)
            self._unknown[path] = revoked_s
            if self._pending.get(path) == revoked_s:
                del self._pending[path]
            self._early.discard(path)
            if len(self._unknown) > MAX_UNKNOWN:
                self._forgotten_s = max(self._forgotten_s, self._unknown.pop(next(iter(self._unknown))))

    def record(self, repository: Repository) -> None:
        """What counts in memory only goes to disk: a link is about to be. In the writer thread. OSError.

        For a repository that is new to the disk that may be the last of those that were forgotten.
        """
        path = self._layout.revoked(repository)
        revoked_s = self._unknown.get(path, 0.0)
        if not revoked_s and self._forgotten_s and not path.parent.is_dir():
            revoked_s = self._forgotten_s
        if revoked_s:
            self.write(path, revoked_s)
            with self._lock:
                if self._unknown.get(path) == revoked_s:
                    del self._unknown[path]

    def redate(self) -> None:
        """A survey has ended: early revocations get the date that they have by now. In the writer thread.

        OSError, StorageFailed; what is not written stays as it is.
        """
        for path in tuple(self._early):
            revoked_s = self._date(path, _look(path)[0])
            with self._lock:
                self._early.discard(path)
            try:
                self.write(path, revoked_s)
            except OSError:
                with self._lock:
                    self._early.add(path)
                raise

    def _date(self, path: Path, record: tuple[float, bool]) -> float:
        recorded_s, early = record
        revoked_s = max(self._noted_s(path), recorded_s)
        if early:
            self._early.add(path)
        return max(revoked_s, self._former_s) if path in self._early else revoked_s

    @property
    def _former_s(self) -> float:
        """The latest date of the links that this process has not written, as far as is known."""
        return max(self._ledger.former_s, self._heeded_s)


def _itself(path: Path) -> Path:
    return path


def _look(path: Path) -> tuple[tuple[float, bool], os.stat_result | None]:
    """What the record says, and whether it is an early one; a broken one was written when its file was."""
    content, found = read_marked(path, _MAX_BYTES)
    record = parse_record(content)
    revoked_s = seconds(record.get("revoked")) if record is not None else None
    if record is not None and revoked_s is not None:
        return (revoked_s, record.get("early") is True), found
    try:
        return (os.lstat(path).st_mtime, False), None
    except OSError:
        return (0.0, False), None
