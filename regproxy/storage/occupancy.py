"""How much lies under ``blobs/``, to the byte: by events, and counted by the survey.

Laws: all of it runs in the writer thread. The survey counts a folder within one job, so that no
event falls between; what happens later to a folder that was counted counts for both figures.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from regproxy.oci.digest import HEX_LENGTH, Digest
from regproxy.storage.layout import Layout


@attrs.frozen(slots=True)
class Occupied:
    """Complete blobs on disk. ``counted``: whether a survey has confirmed it.

    ``spools`` are those that earlier fills have left, and what they take of the disk.
    """

    blobs: int = 0
    blob_bytes: int = 0
    counted: bool = False
    spools: int = 0
    spool_bytes: int = 0


def regular(path: Path) -> os.stat_result | None:
    """What lstat says of a regular file; None for anything else."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


class Occupancy:
    """The running figure, and the one that a survey is counting."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.now = Occupied()
        self._counting: Occupied | None = None
        self._pending: set[tuple[str, str]] = set()
        self.removed = Occupied()
        """What has left since the start."""

    @contextmanager
    def changing(self, digest: Digest) -> Iterator[None]:
        """Whatever happens to the file under ``digest`` meanwhile is counted, also when it fails."""
        path = self._layout.blob(digest)
        before = regular(path)
        try:
            yield
        finally:
            after = regular(path)
            self._change(digest, _size(after) - _size(before), bool(after) - bool(before))

    def _change(self, digest: Digest, more_bytes: int, more: int) -> None:
        if more < 0:
            self.removed = _plus(self.removed, -more, -more_bytes)
        self.now = _plus(self.now, more, more_bytes)
        if self._counting is not None and (digest.algorithm, digest.hex[:2]) not in self._pending:
            self._counting = _plus(self._counting, more, more_bytes)

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

    def counted(self, algorithm: str, prefix: str, blobs: int, blob_bytes: int) -> None:
        """What is in one folder now."""
        if self._counting is not None:
            self._counting = _plus(self._counting, blobs, blob_bytes)
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


def _plus(figure: Occupied, more: int, more_bytes: int) -> Occupied:
    return Occupied(figure.blobs + more, figure.blob_bytes + more_bytes, figure.counted)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _size(found: os.stat_result | None) -> int:
    return 0 if found is None else found.st_size
