"""What a survey does in the writer thread, between commits and unlinks: decide, count, clear away.

Laws: no blob is an orphan before every link was seen, none while it has a spool, and none at all
when the system kept us from reading a folder or a link: content never goes by such an accident.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from twisted.logger import Logger

from regproxy.errors import StorageFailed
from regproxy.interfaces import Held, Kind
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.storage import durable
from regproxy.storage.keeping import Keeper
from regproxy.storage.layout import Layout, parse_blob
from regproxy.storage.ledger import Ledger
from regproxy.storage.leftovers import Leftovers
from regproxy.storage.occupancy import Occupancy, regular
from regproxy.storage.quarantine import clear_out
from regproxy.storage.recovery import recover_one
from regproxy.storage.space import disk_bytes
from regproxy.storage.underway import UnderWay

_log = Logger()

LinkKey: TypeAlias = tuple[Repository, Kind, Digest]
TagKey: TypeAlias = tuple[Repository, Tag]


class Counter:
    """Each method is one job in the writer thread."""

    def __init__(
        self,
        layout: Layout,
        ledger: Ledger,
        keeper: Keeper,
        occupancy: Occupancy,
        under_way: UnderWay,
        leftovers: Leftovers,
    ) -> None:
        self._layout = layout
        self._ledger = ledger
        self._keeper = keeper
        self._occupancy = occupancy
        self._under_way = under_way
        self._leftovers = leftovers
        self._sound = False
        self._uncounted = False

    def begin(self) -> None:
        """A survey begins: what was left too long ago, or is on disk now, goes first."""
        with contextlib.suppress(OSError):
            self._leftovers.sweep()
        with contextlib.suppress(OSError):
            clear_out(self._layout, self._occupancy)
        for name in self._occupancy.spools.names():
            if not self._under_way.has(name) and not os.path.lexists(self._layout.spool(name)):
                self._occupancy.spools.drop(name)
        self._ledger.unreadable = 0
        self._uncounted = False

    def records(self, links: Sequence[LinkKey], tags: Sequence[TagKey]) -> list[Held]:
        """Those of these records that are still there."""
        held = self._ledger.look(links)
        for repository, tag in tags:
            if os.path.lexists(self._layout.tags(repository) / tag.name):
                held.append(Held(repository, tag, None))
        return held

    def all_records_seen(self, troubled: bool) -> list[tuple[str, str]]:
        """Every link is known, unless the system kept some from us; the folders of blobs come next."""
        self._sound = not troubled and not self._ledger.unreadable
        if self._sound:
            self._ledger.finish()
        else:
            _log.error("Some of the storage folder cannot be read: what nobody holds stays where it is")
        return self._occupancy.begin_count()

    def spool(self, name: str) -> bool:
        """Clear away a file under ``fills/`` that no fill of this process has open or has left."""
        stem = name.rpartition(".")[0]
        if (
            self._under_way.has(stem)
            or self._leftovers.has(stem)
            or not os.path.lexists(self._layout.fills / name)
        ):
            return False
        found = regular(self._layout.fills / name) if name == f"{stem}.spool" else None
        try:
            recover_one(self._layout, self._ledger, name)
        except (OSError, StorageFailed):
            if found is not None:  # it takes what it takes
                self._occupancy.spools.took(stem, disk_bytes(found))
            return False
        if found is not None:
            self._occupancy.lost_spool(stem, found)
        return True

    def blobs(self, algorithm: str, prefix: str) -> tuple[int, int, int, list[Path]]:
        """Count a folder of blobs, and remove what nobody holds: blobs, bytes, removed, others."""
        folder = self._layout.blobs / algorithm / prefix
        removed = 0
        kept, others = [], []
        for name in self._names(folder):
            digest = parse_blob((algorithm, prefix, name))
            found = regular(folder / name)
            if digest is None or found is None:
                others.append(folder / name)
            elif self._is_orphan(digest):
                removed += 1
            else:
                kept.append(found)
        self._occupancy.counted(algorithm, prefix, kept)
        return len(kept), sum(found.st_size for found in kept), removed, others

    def bare(self, folders: Sequence[Path]) -> None:
        """Remove those of these folders that are empty, and what is empty above them."""
        for folder in folders:
            for top in (self._layout.repositories, self._layout.blobs):
                durable.remove_empty(folder, top)

    def _is_orphan(self, digest: Digest) -> bool:
        """Whether it was one, and is gone."""
        if not self._sound or self._ledger.holders(digest):
            return False
        with contextlib.suppress(OSError):
            return self._keeper.reconsider(digest)
        return False

    def begin_census(self) -> list[tuple[str, str]]:
        """Before the first survey: the folders of blobs, to be counted and left as they are."""
        self._uncounted = False
        return self._occupancy.begin_count()

    def census(self, algorithm: str, prefix: str) -> None:
        """Count one of them."""
        folder = self._layout.blobs / algorithm / prefix
        found = (
            regular(folder / name)
            for name in self._names(folder)
            if parse_blob((algorithm, prefix, name)) is not None
        )
        self._occupancy.counted(algorithm, prefix, filter(None, found))

    def end_census(self) -> None:
        """What was counted is what there is, unless the system kept some from us."""
        if self._uncounted:
            self._occupancy.drop_count()
        else:
            self._occupancy.end_count()

    def end(self) -> bool:
        """The figures of this survey count from now on, if it could read everything: whether it could."""
        if self._uncounted:
            self._occupancy.drop_count()
            return False
        known, found = self._occupancy.end_count()
        same = (known.blobs, known.blob_bytes) == (found.blobs, found.blob_bytes)
        if known.counted and not same:
            _log.warn(
                "{found} bytes of content in {blobs} files are on disk, not {known} in {files}: somebody "
                "else changed the folder; the figures are right again",
                found=found.blob_bytes,
                blobs=found.blobs,
                known=known.blob_bytes,
                files=known.blobs,
            )
        return self._sound

    def _names(self, folder: Path) -> list[str]:
        try:
            return os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError:
            self._uncounted = True
            return []
