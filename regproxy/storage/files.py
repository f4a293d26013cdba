"""Open files of the store, read without ever blocking the reactor on a cold disk (invariant 8).

Law: a descriptor is closed in the reactor's thread, and never while the reader thread uses it.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure
from zope.interface import implementer

from regproxy.errors import StorageFailed, TransferStopped
from regproxy.interfaces import IFile
from regproxy.storage.records import open_regular
from regproxy.storage.refusals import storage_failed
from regproxy.storage.space import OpenFiles
from regproxy.storage.thread import DiskThread, shield

MAX_READ_BYTES = 1024 * 1024
AHEAD_BYTES = 8 * 1024 * 1024
_NO_WAIT: int | None = getattr(os, "RWF_NOWAIT", None)
_NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


class Files:
    """Opens files; they share one buffer, since reading happens in the reactor's thread only.

    ``opened`` knows which are open.
    """

    def __init__(self, reader: DiskThread, opened: OpenFiles | None = None) -> None:
        self.reader = reader
        self._opened = OpenFiles() if opened is None else opened
        self._buffer = memoryview(bytearray(MAX_READ_BYTES))

    def open(self, path: Path) -> StoredFile | None:
        """The regular file at ``path``; None where there is none (a symbolic link is none)."""
        with self._opened.lock:
            found = open_regular(path)
            if found is None:
                return None
            inode = self._opened.opened(found[1])
        return StoredFile(found[0], self.reader, self._buffer, self._opened, inode)

    def duplicate(self, descriptor: int) -> StoredFile:
        """A file of its own over the same open file; StorageFailed when descriptors run out."""
        try:
            own = os.dup(descriptor)
        except OSError as error:
            raise storage_failed(error) from None
        with self._opened.lock:
            inode = self._opened.opened(os.fstat(own))
        return StoredFile(own, self.reader, self._buffer, self._opened, inode)


@implementer(IFile)
class StoredFile:
    """One descriptor for one reader. Pages that are not in memory are read in the reader thread.

    So are all where the system cannot tell (tmpfs, other systems).
    """

    def __init__(
        self, descriptor: int, reader: DiskThread, buffer: memoryview, opened: OpenFiles, inode: int
    ) -> None:
        self._descriptor = descriptor
        self._opened = opened
        self._inode = inode
        self._reader = reader
        self._buffer = buffer
        self._no_wait = _NO_WAIT
        self._warmed: tuple[int, bytes] | None = None
        self._warming = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"<StoredFile fd={self._descriptor} closed={self._closed} warming={self._warming}>"

    def duplicate(self) -> StoredFile:
        """One more descriptor of the same open file."""
        if self._closed:
            raise TransferStopped("the file is closed")
        try:
            own = os.dup(self._descriptor)
        except OSError as error:
            raise storage_failed(error) from None
        self._opened.again(self._inode)
        return StoredFile(own, self._reader, self._buffer, self._opened, self._inode)

    def stat(self) -> os.stat_result:
        """What fstat says of the open file."""
        return os.fstat(self._descriptor)

    def read_at(self, offset: int, max_bytes: int) -> bytes | None:
        """Bytes at ``offset``, at most 1 MiB; None when reading would block. StorageFailed."""
        if self._closed:
            raise TransferStopped("the file is closed")
        wanted = min(max_bytes, MAX_READ_BYTES)
        kept = self._take_warmed(offset, wanted)
        if kept is not None:
            return kept
        try:
            return self._read(offset, wanted)
        except OSError as error:
            raise storage_failed(error) from None

    def _read(self, offset: int, wanted: int) -> bytes | None:
        if self._no_wait is not None:
            try:
                count = os.preadv(self._descriptor, [self._buffer[:wanted]], offset, self._no_wait)
                return bytes(self._buffer[:count])
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno not in _NOT_SUPPORTED:
                    raise
                self._no_wait = None
        return None

    def send_at(self, socket_fd: int, offset: int, max_bytes: int) -> int | None:
        """Send bytes at ``offset`` by sendfile, unless the first of them would have to be waited for."""
        if self._closed:
            raise TransferStopped("the file is closed")
        warmed = self._warmed[1] if self._warmed is not None and self._warmed[0] == offset else None
        if warmed is None and (first := self._read(offset, 1)) in (None, b""):
            return None if first is None else 0
        if warmed is None or self._no_wait is not None:
            self._warmed = None
            return os.sendfile(socket_fd, self._descriptor, offset, max_bytes)
        sent = os.sendfile(socket_fd, self._descriptor, offset, min(max_bytes, len(warmed)))
        self._warmed = (offset + sent, warmed[sent:]) if sent < len(warmed) else None
        return sent

    def _take_warmed(self, offset: int, wanted: int) -> bytes | None:
        """What warm() read at exactly ``offset``: taken from there, reading goes on for certain."""
        warmed, self._warmed = self._warmed, None
        if warmed is None or warmed[0] != offset:
            return None
        if len(warmed[1]) > wanted:
            self._warmed = (offset + wanted, warmed[1][wanted:])
        return warmed[1][:wanted]

    def warm(self, offset: int, max_bytes: int) -> Deferred[None]:
        """Read these bytes in the reader thread; the next read_at() of ``offset`` has them."""
        if self._closed:
            return fail(TransferStopped("the file is closed"))
        self._warming += 1
        reading = self._reader.run(_read_ahead, self._descriptor, offset, min(max_bytes, MAX_READ_BYTES))
        landed: Deferred[None] = reading.addCallbacks(self._landed, self._not_landed, callbackArgs=(offset,))
        return shield(landed)

    def _landed(self, content: bytes, offset: int) -> None:
        self._warming -= 1
        if self._closed:
            self._close_when_idle()
        elif content:
            self._warmed = (offset, content)

    def _not_landed(self, failure: Failure) -> Failure:
        self._warming -= 1
        if self._closed:
            self._close_when_idle()
        return failure

    def close(self) -> None:
        """Close the descriptor, or have it closed when the reader thread is done; idempotent."""
        if not self._closed:
            self._closed = True
            self._warmed = None
            self._close_when_idle()

    def _close_when_idle(self) -> None:
        if not self._warming:
            os.close(self._descriptor)
            self._opened.closed(self._inode)


def _read_ahead(descriptor: int, offset: int, max_bytes: int) -> bytes:
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, offset, AHEAD_BYTES, os.POSIX_FADV_WILLNEED)
    return os.pread(descriptor, max_bytes, offset)


def read_whole(descriptor: int, size_bytes: int) -> bytes:
    """``size_bytes`` from the start; StorageFailed when the file is shorter. Blocks."""
    parts, offset = [], 0
    while offset < size_bytes:
        part = os.pread(descriptor, min(size_bytes - offset, MAX_READ_BYTES), offset)
        if not part:
            raise StorageFailed("a file on the disk is shorter than its record says")
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
