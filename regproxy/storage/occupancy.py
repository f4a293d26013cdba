"""How much lies under ``blobs/``, to the byte and to the block: by events, and counted by the survey.

Laws: all of it runs in the writer thread. The survey counts a folder within one job, so that no
event falls between; what happens later to a folder that was counted counts for both figures.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from regproxy.oci.digest import HEX_LENGTH, Digest
from regproxy.storage.layout import Layout
from regproxy.storage.space import OpenFiles, Spools, disk_bytes


@attrs.frozen(slots=True)
class Occupied:
    """Complete blobs on disk. ``disk_bytes`` is what they take there, in blocks; ``counted``: whether
    all of them were counted, at the start or by a survey."""

    blobs: int = 0
    blob_bytes: int = 0
    counted: bool = False
    disk_bytes: int = 0


def regular(path: Path) -> os.stat_result | None:
    """What lstat says of a regular file; None for anything else."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


class Occupancy:
    """The running figure, and the one that a survey is counting.

    ``spools`` and ``open_files`` are what content takes beside complete blobs.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.spools = Spools()
        self.open_files = OpenFiles()
        self.now = Occupied()
        self._counting: Occupied | None = None
        self._pending: set[tuple[str, str]] = set()
        self.removed = Occupied()
        """What has left since the start."""

    @contextmanager
    def changing(self, digest: Digest, *, moved: bool = False) -> Iterator[None]:
        """Whatever happens to the file under ``digest`` meanwhile is counted, also when it fails.

        ``moved``: a file that goes has another name then.
        """
        path = self._layout.blob(digest)
        before = regular(path)
        try:
            yield
        finally:
            after = regular(path)
            self._change(digest, _of(after) - _of(before))
            if before is not None and not moved and (after is None or after.st_ino != before.st_ino):
                self.open_files.unlinked(before)

    def _change(self, digest: Digest, more: _Amount) -> None:
        if more.blobs < 0:
            self.removed = _plus(self.removed, _Amount() - more)
        self.now = _plus(self.now, more)
        if self._counting is not None and (digest.algorithm, digest.hex[:2]) not in self._pending:
            self._counting = _plus(self._counting, more)

    def begin_count(self) -> list[tuple[str, str]]:
        """A survey begins to count: the folders that there are now, which it is to go through."""
        folders = [
            (algorithm, prefix)
            for algorithm in HEX_LENGTH
            for prefix in _names(self._layout.blobs / algorithm)
            if len(prefix) == 2
        ]
        self._counting, self._pending = Occupied(counted=True), set(folders)
        return folders

    def counted(self, algorithm: str, prefix: str, found: Iterable[os.stat_result]) -> None:
        """The blobs that are in one folder now."""
        if self._counting is not None:
            self._counting = _plus(self._counting, sum(map(_of, found), _Amount()))
            self._pending.discard((algorithm, prefix))

    def end_count(self) -> tuple[Occupied, Occupied]:
        """The survey's figure counts from now on: the running one until now, and the new one."""
        known = self.now
        if self._counting is not None:
            self.now = self._counting
        self.drop_count()
        return known, self.now

    def drop_count(self) -> None:
        """The survey's figure is not to be trusted: the running one goes on."""
        self._counting, self._pending = None, set()


@attrs.frozen(slots=True)
class _Amount:
    blobs: int = 0
    size_bytes: int = 0
    disk_bytes: int = 0

    def __add__(self, other: _Amount) -> _Amount:
        return _Amount(
            self.blobs + other.blobs,
            self.size_bytes + other.size_bytes,
            self.disk_bytes + other.disk_bytes,
        )

    def __sub__(self, other: _Amount) -> _Amount:
        return self + _Amount(-other.blobs, -other.size_bytes, -other.disk_bytes)


def _of(found: os.stat_result | None) -> _Amount:
    return _Amount() if found is None else _Amount(1, found.st_size, disk_bytes(found))


def _plus(figure: Occupied, more: _Amount) -> Occupied:
    return Occupied(
        figure.blobs + more.blobs,
        figure.blob_bytes + more.size_bytes,
        figure.counted,
        figure.disk_bytes + more.disk_bytes,
    )


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
