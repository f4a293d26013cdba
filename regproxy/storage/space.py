"""What content takes on the disk beside complete blobs: transfers in flight, and files without a name
that somebody still reads. As ``st_blocks`` says; a promise counts as soon as it is given.

Law: a file that loses its last name while it is open counts until its last reader has closed it. Whoever
opens one holds the lock from before the name is looked up until the file is noted, so that who unlinks
sees every reader that came before.
"""

from __future__ import annotations

import os
from threading import Lock

import attrs

BLOCK_BYTES = 512


def disk_bytes(found: os.stat_result) -> int:
    """What a file takes on the disk."""
    return found.st_blocks * BLOCK_BYTES


class OpenFiles:
    """Files of the store that readers have open, by inode. In any thread."""

    def __init__(self) -> None:
        self.lock = Lock()
        self._readers: dict[int, int] = {}
        self._unlinked: dict[int, int] = {}
        self.unlinked_bytes = 0

    def __len__(self) -> int:
        return len(self._readers)

    def opened(self, found: os.stat_result) -> int:
        """One more reads it: its number, for :meth:`closed`. With the lock held."""
        inode = found.st_ino
        self._readers[inode] = self._readers.get(inode, 0) + 1
        if not found.st_nlink:
            self._count(found)
        return inode

    def again(self, inode: int) -> None:
        """One more reads a file that somebody reads."""
        with self.lock:
            self._readers[inode] = self._readers.get(inode, 0) + 1

    def closed(self, inode: int) -> None:
        """One of its readers has closed it."""
        with self.lock:
            left = self._readers.pop(inode, 1) - 1
            if left:
                self._readers[inode] = left
            else:
                self.unlinked_bytes -= self._unlinked.pop(inode, 0)

    def unlinked(self, found: os.stat_result) -> None:
        """It has just lost its name; ``found`` is what it was before."""
        if found.st_nlink > 1:
            return
        with self.lock:
            if found.st_ino in self._readers:
                self._count(found)

    def _count(self, found: os.stat_result) -> None:
        if found.st_ino not in self._unlinked:
            self._unlinked[found.st_ino] = disk_bytes(found)
            self.unlinked_bytes += disk_bytes(found)


@attrs.define(slots=True)
class _Spool:
    promised: int = 0
    allocated: int = 0

    @property
    def held(self) -> int:
        return max(self.promised, self.allocated)


class Spools:
    """Transfers in flight, by name: what each was promised, and what it has. In any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._spools: dict[str, _Spool] = {}
        self.held_bytes = 0
        self.pending_bytes = 0
        """Of these, what was promised and is not taken yet."""

    def __len__(self) -> int:
        return len(self._spools)

    def promise(self, name: str, size_bytes: int) -> None:
        """It may grow to this size."""
        with self._lock:
            spool = self._take(name)
            spool.promised = max(spool.promised, size_bytes)
            self._put(name, spool)

    def took(self, name: str, allocated: int) -> None:
        """It has this on the disk now."""
        with self._lock:
            spool = self._take(name)
            spool.allocated = allocated
            self._put(name, spool)

    def drop(self, name: str) -> None:
        """It is gone, or a blob now; idempotent."""
        with self._lock:
            self._take(name)

    def _take(self, name: str) -> _Spool:
        spool = self._spools.pop(name, None) or _Spool()
        self.held_bytes -= spool.held
        self.pending_bytes -= spool.held - spool.allocated
        return spool

    def _put(self, name: str, spool: _Spool) -> None:
        self._spools[name] = spool
        self.held_bytes += spool.held
        self.pending_bytes += spool.held - spool.allocated
