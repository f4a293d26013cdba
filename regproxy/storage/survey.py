"""The survey: which content and links there are, found behind the serving daemon.

Laws: it looks only under ``blobs/``, ``repositories/``, ``fills/`` and ``quarantine/``, follows no
symbolic link, and goes in slices. The walk only finds names; whether a link still stands is decided
in the writer thread, between commits and unlinks, so none is lost and none comes back.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import attrs
from twisted.internet.defer import Deferred

from regproxy.errors import TransferStopped
from regproxy.interfaces import Kind
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.singleflight import SingleFlight
from regproxy.storage import durable
from regproxy.storage.layout import TAGS_FOLDER, Layout, parse_blob, parse_link
from regproxy.storage.ledger import Ledger
from regproxy.storage.records import MAX_RECORD_BYTES, read_record
from regproxy.storage.thread import DiskThread

SLICE = 128
_TEMPORARY = re.compile(r"\.([0-9a-f]{16})-[0-9a-f]{16}\.tmp", re.ASCII)
_LinkKey: TypeAlias = tuple[Repository, Kind, Digest]
_File: TypeAlias = tuple[Path, tuple[str, ...], os.stat_result]


@attrs.frozen(slots=True)
class Survey:
    """What lies in the folder. Strangers are files that are none of ours, left alone."""

    blobs: int = 0
    blob_bytes: int = 0
    links: int = 0
    tags: int = 0
    spools: int = 0
    spool_bytes: int = 0
    quarantined: int = 0
    quarantined_bytes: int = 0
    temporaries_removed: int = 0
    strangers: int = 0

    def with_more(self, **more: int) -> Survey:
        """These counts raised by ``more``."""
        return attrs.evolve(self, **{name: getattr(self, name) + count for name, count in more.items()})


class Walk:
    """One pass over the folder, slice by slice, in a thread of its own."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._files = self._all()
        self.counts = Survey()

    def slice(self) -> list[_LinkKey] | None:
        """The links among the next files; None at the end."""
        seen = list(islice(self._files, SLICE))
        found = [key for path, parts, status in seen if (key := self._judge(path, parts, status))]
        return found if seen else None

    def _all(self) -> Iterator[_File]:
        layout = self._layout
        for folder in (layout.blobs, layout.repositories, layout.fills, layout.quarantine):
            yield from _walk(folder)

    def _judge(self, path: Path, parts: tuple[str, ...], status: os.stat_result) -> _LinkKey | None:
        temporary = _TEMPORARY.fullmatch(path.name)
        if temporary is not None:
            self._remove_stale(path, temporary[1])
            return None
        if parts[0] == "repositories":
            return self._judge_record(path, parts[1:])
        size = status.st_size
        if parts[0] == "fills":
            self._count(spools=path.suffix == ".spool", spool_bytes=size)
        elif parts[0] == "quarantine":
            self._count(quarantined=1, quarantined_bytes=size)
        elif parse_blob(parts[1:]) is not None:
            self._count(blobs=1, blob_bytes=size)
        else:
            self._count(strangers=1)
        return None

    def _judge_record(self, path: Path, parts: tuple[str, ...]) -> _LinkKey | None:
        key = parse_link(parts)
        if key is not None:
            self._count(links=1)
            read_record(path, MAX_RECORD_BYTES)  # the writer thread finds it in memory then
        elif TAGS_FOLDER in parts[:-1]:
            self._count(tags=1)
        elif not parts[-1].startswith("_"):
            self._count(strangers=1)
        return key

    def _remove_stale(self, path: Path, process: str) -> None:
        if process != durable.PROCESS:
            with contextlib.suppress(OSError):
                self._count(temporaries_removed=durable.remove(path))

    def _count(self, **more: int) -> None:
        self.counts = self.counts.with_more(**more)


def _walk(top: Path) -> Iterator[_File]:
    """Every file below ``top``, with its path's parts from ``top`` on; what vanishes is left out."""
    waiting: list[tuple[Path, tuple[str, ...]]] = [(top, (top.name,))]
    while waiting:
        folder, parts = waiting.pop()
        for entry in _entries(folder):
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((Path(entry.path), (*parts, entry.name)))
                else:
                    yield Path(entry.path), (*parts, entry.name), entry.stat(follow_symlinks=False)
            except OSError:
                continue


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            return list(listing)
    except OSError:
        return []


class Surveyor:
    """Runs surveys, one at a time, and keeps the last result."""

    def __init__(self, layout: Layout, ledger: Ledger, own: DiskThread, writer: DiskThread) -> None:
        self._layout = layout
        self._ledger = ledger
        self._own = own
        self._writer = writer
        self._stopping = False
        self._flight: SingleFlight[str, Survey] = SingleFlight()
        self.last: Survey | None = None

    def run(self, finish: Callable[[], None]) -> Deferred[Survey]:
        """Walk the folder, then ``finish`` in the writer thread. Cancelling leaves it running.

        Fails with TransferStopped when the store closes.
        """
        return self._flight.run("survey", lambda: self._run(finish))

    def stop(self) -> None:
        """End after the slice under way."""
        self._stopping = True

    async def _run(self, finish: Callable[[], None]) -> Survey:
        walk = Walk(self._layout)
        while not self._stopping and (found := await self._own.run(walk.slice)) is not None:
            if found:
                await self._writer.run(self._ledger.look, found)
        if self._stopping:
            raise TransferStopped("the store is closing; the survey was not finished")
        await self._writer.run(finish)
        self.last = walk.counts
        return walk.counts
