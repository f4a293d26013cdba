"""The survey: which content and links there are, found behind the serving daemon.

Laws: it looks only under ``blobs/``, ``repositories/``, ``fills/`` and ``quarantine/``, follows no
symbolic link, and goes in slices. The walk only finds names; whether a link still stands is decided
in the writer thread, between commits and unlinks, so none is lost and none comes back.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter as Counts
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from regproxy.errors import TransferStopped
from regproxy.oci.digest import Digest
from regproxy.singleflight import SingleFlight
from regproxy.storage import durable
from regproxy.storage.counting import Counter, LinkKey, TagKey
from regproxy.storage.footfall import Footfall
from regproxy.storage.layout import TAGS_FOLDER, Layout, parse_link, parse_tag
from regproxy.storage.mending import Mended, Mender, size_of
from regproxy.storage.records import MAX_RECORD_BYTES
from regproxy.storage.telling import Teller
from regproxy.storage.thread import DiskThread

_log = Logger()

SLICE = 128
_TEMPORARY = re.compile(r"\.([0-9a-f]{16})-[0-9a-f]{16}\.tmp", re.ASCII)
_File: TypeAlias = tuple[os.DirEntry[str], tuple[str, ...]]
"""Not as a Path: making one takes as long as finding the file."""


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
    orphans_removed: int = 0
    spools_removed: int = 0
    whole: bool = True
    """Whether all of it could be read; what nobody seems to hold stays where it is otherwise."""
    links_removed: int = 0
    """Links whose content was not there."""
    wrong_sizes: int = 0
    """Blobs of another size than their links say, which were set aside."""
    lost: tuple[LinkKey, ...] = ()
    """Links without content that pins keep."""
    wrong: tuple[Digest, ...] = ()
    """The blobs of another size."""


@attrs.define(slots=True)
class Records:
    """What a slice of the walk came upon, by name."""

    links: list[LinkKey] = attrs.field(factory=list)
    tags: list[TagKey] = attrs.field(factory=list)
    spools: list[str] = attrs.field(factory=list)


class Walk:
    """One pass over the folder, slice by slice, in a thread of its own: records first, then blobs."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._files = self._all()
        self._found = Records()
        self._counts = Counts[str]()
        self.troubled = False
        self.stopped = False
        self.bare: list[Path] = []
        """Folders that had nothing in them, or nothing that stayed: a kill came before they were removed."""

    def slice(self) -> Records | None:
        """The records and spools among the next files; None at the end."""
        seen = list(islice(self._files, SLICE))
        found = self._found = Records()
        for entry, parts in seen:
            self._judge(entry, parts)
        return found if seen else None

    def strangers(self) -> None:
        """Bring the folders of blobs into memory; what lies beside them below ``blobs/`` is a stranger."""
        for entry, parts in self._walk(self._layout.blobs):
            if len(parts) != 4:
                self.other(Path(entry.path))

    def other(self, path: Path) -> None:
        """A file below ``blobs/`` that is no blob."""
        temporary = _TEMPORARY.fullmatch(path.name)
        if temporary is not None:
            self._remove_stale(path, temporary[1])
        else:
            self.count(strangers=1)

    def _all(self) -> Iterator[_File]:
        layout = self._layout
        for folder in (layout.repositories, layout.fills, layout.quarantine):
            yield from self._walk(folder)

    def _judge(self, entry: os.DirEntry[str], parts: tuple[str, ...]) -> None:
        temporary = _TEMPORARY.fullmatch(entry.name)
        if temporary is not None:
            self._remove_stale(Path(entry.path), temporary[1])
        elif parts[0] == "repositories":
            self._judge_record(entry.path, parts[1:])
        elif parts[0] == "fills":
            self._found.spools.append("/".join(parts[1:]))
            self.count(spools=entry.name.endswith(".spool"), spool_bytes=self._size(entry))
        else:
            self.count(quarantined=1, quarantined_bytes=self._size(entry))

    def _size(self, entry: os.DirEntry[str]) -> int:
        try:
            return entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            return 0
        except OSError:
            self.troubled = True
            return 0

    def _judge_record(self, path: str, parts: tuple[str, ...]) -> None:
        link, tag = parse_link(parts), parse_tag(parts)
        if link is not None:
            self.count(links=1)
            self._found.links.append(link)
            _bring_in(path)
            size_of(self._layout.blob(link[2]))  # so that the writer thread finds that in memory too
        elif TAGS_FOLDER in parts[:-1]:
            self.count(tags=1)
            if tag is not None:
                self._found.tags.append(tag)
        elif not parts[-1].startswith("_"):
            self.count(strangers=1)

    def _remove_stale(self, path: Path, process: str) -> None:
        if process != durable.PROCESS:
            with contextlib.suppress(OSError):
                self.count(temporaries_removed=durable.remove(path))
                self.bare.append(path.parent)

    def count(self, **more: int) -> None:
        """Raise the counts."""
        self._counts.update(more)

    def counts(self, whole: bool) -> Survey:
        """What was counted."""
        counts: dict[str, Any] = dict(self._counts)
        return Survey(**counts, whole=whole)

    def _walk(self, top: Path) -> Iterator[_File]:
        """Every file below ``top``, with its path's parts from ``top`` on; what vanishes is left out."""
        waiting: list[tuple[Path, tuple[str, ...]]] = [(top, (top.name,))]
        while waiting and not self.stopped:
            folder, parts = waiting.pop()
            entries = self._entries(folder)
            if not entries:
                self.bare.append(folder)
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((Path(entry.path), (*parts, entry.name)))
                    else:
                        yield entry, (*parts, entry.name)
                except FileNotFoundError:
                    continue
                except OSError:
                    self.troubled = True

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as listing:
                return list(listing)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError:
            self.troubled = True
            return []


def _bring_in(path: str) -> None:
    """Have the writer thread find a record in memory; what keeps us from it is for that to say."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            os.pread(descriptor, MAX_RECORD_BYTES, 0)
        finally:
            os.close(descriptor)


class Surveyor:
    """Runs surveys, one at a time, and keeps the last result; and before the first one the census."""

    def __init__(
        self,
        layout: Layout,
        counter: Counter,
        mender: Mender,
        own: DiskThread,
        writer: DiskThread,
        teller: Teller,
        clock: IReactorTime,
    ) -> None:
        self.files_s: float | None = None
        """How many files it looks at in a second, at most."""
        self._clock = clock
        self._mender = mender
        self._pace: Footfall | None = None
        self._layout = layout
        self._counter = counter
        self._own = own
        self._writer = writer
        self._teller = teller
        self._stopping = False
        self._walk: Walk | None = None
        self._flight: SingleFlight[str, Survey] = SingleFlight()
        self.last: Survey | None = None

    async def census(self) -> None:
        """Count what complete blobs take; StorageFailed."""
        for folder in await self._writer.run(self._counter.begin_census):
            await self._writer.run(self._counter.census, *folder)
        await self._writer.run(self._counter.end_census)

    def run(self) -> Deferred[Survey]:
        """Walk the folder. Cancelling leaves it running; TransferStopped when the store closes."""
        return self._flight.run("survey", self._run)

    def stop(self) -> None:
        """End after the slice under way."""
        self._stopping = True
        if self._walk is not None:
            self._walk.stopped = True
        if self._pace is not None:
            self._pace.hurry()

    async def _run(self) -> Survey:
        walk = self._walk = Walk(self._layout)
        pace = self._pace = Footfall(self._clock, self.files_s)
        await self._writer.run(self._counter.begin)
        await self._writer.run(self._mender.begin)
        while not self._stopping and (seen := await self._own.run(walk.slice)) is not None:
            await self._take(walk, seen)
            await pace.went(SLICE)
        self._check_running()
        await self._own.run(walk.strangers)
        self._check_running()
        folders = await self._writer.run(self._counter.all_records_seen, walk.troubled)
        for algorithm, prefix in folders:
            self._check_running()
            blobs, blob_bytes, removed, others = await self._writer.run(
                self._counter.blobs, algorithm, prefix
            )
            walk.count(blobs=blobs, blob_bytes=blob_bytes, orphans_removed=removed)
            for path in others:
                await self._own.run(walk.other, path)
            await pace.went(blobs + removed + len(others))
        for start in range(0, len(walk.bare), SLICE):
            await self._writer.run(self._counter.bare, walk.bare[start : start + SLICE])
        whole = await self._writer.run(self._counter.end) and not walk.troubled
        mended = await self._mend() if whole else Mended()
        found = attrs.evolve(
            walk.counts(whole),
            links_removed=mended.dropped,
            wrong_sizes=len(mended.wrong),
            lost=mended.lost,
            wrong=mended.wrong,
        )
        self.last = found
        _tell(found)
        if whole:
            self._teller.surveyed()
        return found

    async def _mend(self) -> Mended:
        """What links lack their content, as far as that is for a survey to mend, and who is at odds."""
        done = Mended()
        for digest in await self._writer.run(self._mender.at_odds):
            self._check_running()
            await self._writer.run(self._mender.agree, digest)
        suspects = self._mender.suspects
        if not suspects or not await self._writer.run(self._mender.plausible):
            return done
        for start in range(0, len(suspects), SLICE):
            self._check_running()
            more = await self._writer.run(self._mender.mend, suspects[start : start + SLICE])
            done = Mended(done.dropped + more.dropped, done.lost + more.lost, done.wrong + more.wrong)
        return done

    async def _take(self, walk: Walk, found: Records) -> None:
        if found.links or found.tags:
            held = await self._writer.run(self._counter.records, found.links, found.tags)
            self._teller.found(held)
            await self._writer.run(self._mender.compare, held)
        for name in found.spools:
            walk.count(spools_removed=await self._writer.run(self._counter.spool, name))

    def _check_running(self) -> None:
        if self._stopping:
            raise TransferStopped("the store is closing; the survey was not finished")


def _tell(found: Survey) -> None:
    _log.info(
        "The survey found {blobs} blobs ({blob_bytes} bytes), {links} links and {tags} tags; it removed "
        "{orphans} blobs that nobody held, {dead} links without content, {spools} files of broken transfers, "
        "{temporaries} temporary ones; {wrong} blobs of another size were set aside",
        blobs=found.blobs,
        blob_bytes=found.blob_bytes,
        links=found.links,
        tags=found.tags,
        orphans=found.orphans_removed,
        dead=found.links_removed,
        wrong=found.wrong_sizes,
        spools=found.spools_removed,
        temporaries=found.temporaries_removed,
    )
