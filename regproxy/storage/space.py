"""What content takes on the disk beside complete blobs: transfers in flight or left, and files without a name
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
    kept: bool = False

    @property
    def held(self) -> int:
        return max(self.promised, self.allocated)


class Spools:
    """Transfers in flight, and what broken ones have left, by name: what each was promised, and what it has.
    In any thread.

    ``kept`` are those that are left for a later fill, ``kept_bytes`` what they have.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._spools: dict[str, _Spool] = {}
        self.held_bytes = 0
        self.pending_bytes = 0
        """Of these, what was promised and is not taken yet."""
        self.kept = 0
        self.kept_bytes = 0

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

    def names(self) -> list[str]:
        """Of all of them."""
        with self._lock:
            return list(self._spools)

    def held(self, name: str) -> int:
        """What counts for it now."""
        with self._lock:
            spool = self._spools.get(name)
            return 0 if spool is None else spool.held

    def settle(self, name: str) -> None:
        """It grows no more: it has what it has."""
        with self._lock:
            if name in self._spools:
                spool = self._take(name)
                spool.promised = 0
                self._put(name, spool)

    def keep(self, name: str, allocated: int) -> None:
        """It is left for a later fill, and has this on the disk."""
        with self._lock:
            self._take(name)
            self._put(name, _Spool(0, allocated, kept=True))

    def resume(self, name: str) -> None:
        """It is left no more: somebody goes on with it, or it is about to go."""
        with self._lock:
            if name in self._spools:
                spool = self._take(name)
                spool.kept = False
                self._put(name, spool)

    def drop(self, name: str) -> None:
        """It is gone, or a blob now; idempotent."""
        with self._lock:
            self._take(name)

    def _take(self, name: str) -> _Spool:
        spool = self._spools.pop(name, None) or _Spool()
        self._add(spool, -1)
        return spool

    def _put(self, name: str, spool: _Spool) -> None:
        self._spools[name] = spool
        self._add(spool, 1)

    def _add(self, spool: _Spool, sign: int) -> None:
        self.held_bytes += sign * spool.held
        self.pending_bytes += sign * (spool.held - spool.allocated)
        if spool.kept:
            self.kept += sign
            self.kept_bytes += sign * spool.allocated
