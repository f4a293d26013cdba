"""A blob's file read again and hashed, so that it is the disk that answers and no memory is taken for it.

It is read past the page cache where the file system can (``O_DIRECT``): what rots on the disk is seen
although good pages are still in memory, and pages that clients need stay there. Elsewhere it is read as
usual, and the pages that were not in memory before are let go again. All of it blocks.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from pathlib import Path

from regproxy.oci.digest import Digest
from regproxy.storage.records import open_regular

PIECE_BYTES = 4 * 1024 * 1024
BLOCK_BYTES = 4096
LARGEST_BLOCK_BYTES = 64 * 1024
"""Linux knows no device with larger ones."""
UNREADABLE = (errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.ENODATA, errno.EREMOTEIO)
"""What file systems say of bytes that the disk has lost."""
_DIRECT = getattr(os, "O_DIRECT", 0)
_NO_WAIT = getattr(os, "RWF_NOWAIT", 0)
_NOT_SUPPORTED = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


class Rereading:
    """One file, piece by piece. ``found`` is what fstat said of it; ``lost``: the disk fails to read it."""

    def __init__(self, digest: Digest, path: Path, descriptor: int, found: os.stat_result) -> None:
        self.found = found
        self.lost = False
        self._digest = digest
        self._plain = descriptor
        self._direct = _opened_direct(path, found)
        # Begins at a page, as direct reading wants it, which has the kernel find memory for all of it.
        self._buffer = mmap.mmap(-1, min(PIECE_BYTES, _whole_blocks(found)))
        self.again()

    @classmethod
    def begin(cls, digest: Digest, path: Path) -> Rereading | None:
        """None where there is no regular file. StorageFailed where the system cannot say."""
        opened = open_regular(path)
        return None if opened is None else cls(digest, path, *opened)

    def again(self) -> None:
        """From the start, anew."""
        self._offset = 0
        self.lost = False
        self._hash = self._digest.hasher()

    def piece(self) -> int:
        """Hash the next piece: how many bytes, 0 at the end. OSError, but for bytes that are lost."""
        try:
            count = self._read()
        except OSError as error:
            if error.errno not in UNREADABLE:
                raise
            self.lost = True
            return 0
        with memoryview(self._buffer) as view, view[:count] as part:
            self._hash.update(part)
        self._offset += count
        return count

    @property
    def right(self) -> bool:
        """Whether the bytes that were read are what the digest names."""
        return not self.lost and self._hash.hexdigest() == self._digest.hex

    @property
    def past_the_cache(self) -> bool:
        """Whether the disk itself is read."""
        return self._direct is not None

    def close(self) -> None:
        """Let go of it; idempotent."""
        for descriptor in (self._plain, self._direct):
            if descriptor is not None and descriptor >= 0:
                os.close(descriptor)
        self._plain, self._direct = -1, None
        self._buffer.close()

    def _read(self) -> int:
        if self._offset >= self.found.st_size:
            return 0
        if self._direct is not None and not self._offset % BLOCK_BYTES:
            try:
                return os.preadv(self._direct, [self._buffer], self._offset)
            except OSError as error:
                if error.errno not in _NOT_SUPPORTED:
                    raise
                os.close(self._direct)
                self._direct = None
        return self._read_plain()

    def _read_plain(self) -> int:
        """What was in memory stays there; what was not goes again."""
        try:
            return os.preadv(self._plain, [self._buffer], self._offset, _NO_WAIT)
        except OSError as error:  # a BlockingIOError: not in memory
            if error.errno not in (*_NOT_SUPPORTED, errno.EAGAIN):
                raise
        count = os.preadv(self._plain, [self._buffer], self._offset)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._plain, self._offset, count, os.POSIX_FADV_DONTNEED)
        return count


def _whole_blocks(found: os.stat_result) -> int:
    """Room for the file in whole blocks, one at least. A device reads nothing less past the cache, and has
    none larger than the file system's."""
    block = BLOCK_BYTES if found.st_blksize <= BLOCK_BYTES else LARGEST_BLOCK_BYTES
    return max(1, -(-found.st_size // block)) * block


def _opened_direct(path: Path, found: os.stat_result) -> int | None:
    """The same file, to be read past the page cache; None where that cannot be had."""
    if not _DIRECT:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | _DIRECT)
    except OSError:
        return None
    same = os.fstat(descriptor)
    if stat.S_ISREG(same.st_mode) and (same.st_dev, same.st_ino) == (found.st_dev, found.st_ino):
        return descriptor
    os.close(descriptor)
    return None
