"""One process has the folder, by flock: it works on a read-only disk too and ends with the process."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from regproxy.errors import StorageFailed, StorageLocked
from regproxy.storage.records import read_record
from regproxy.storage.refusals import storage_failed

READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class FolderLock:
    """The lock on a storage folder, held until :meth:`release`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, path: Path) -> FolderLock:
        """Lock the file at ``path``, or its folder where no file can be made there.

        StorageLocked names the process that has it; StorageFailed when the disk refuses.
        """
        try:
            descriptor, writable = _open(path)
        except OSError as error:
            raise storage_failed(error) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if writable:
                _write_pid(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            raise StorageLocked(_who(path)) from None
        except OSError as error:
            os.close(descriptor)
            raise StorageFailed(f"the storage folder cannot be locked: {storage_failed(error)}") from None
        return cls(descriptor)

    def release(self) -> None:
        """Let another process have the folder; idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _open(path: Path) -> tuple[int, bool]:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o640), True
    except OSError as error:
        if error.errno not in (*READ_ONLY, errno.ENOSPC, errno.EDQUOT):
            raise
    try:
        return os.open(path, os.O_RDONLY | flags), False
    except FileNotFoundError:
        return os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), False


def _write_pid(descriptor: int) -> None:
    """For people only: the flock counts, so a full disk is no reason to give it back."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


def _who(path: Path) -> str:
    try:
        text = (read_record(path, 32) or b"").decode("ascii", "replace").strip()
    except StorageFailed:
        text = ""
    who = f"process {text}" if text.isdecimal() else "another process"
    return f"the storage folder is in use by {who}; stop that one, or give this one another storage.root"
