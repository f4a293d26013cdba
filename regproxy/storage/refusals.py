"""The system's errors as ours: what a person is told, and what figures are kept by."""

from __future__ import annotations

import errno

from regproxy.errors import StorageFailed

_WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EIO: "the disk fails to read or write",
    errno.EACCES: "the daemon's user may not do this to the storage folder",
    errno.EPERM: "the daemon's user may not do this to the storage folder",
    errno.EMFILE: "too many open files; raise LimitNOFILE",
    errno.ENFILE: "too many open files on this machine",
    errno.EFBIG: "larger than the file system, or the daemon's file size limit, takes",
}

_REASONS = {
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.EROFS: "read-only",
}


def words_of(error: OSError) -> str:
    """What happened, for a person; without paths."""
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    said = _WORDS.get(error.errno or 0) or error.strerror or "the disk refused"
    return f"{said} ({name})"


def reason_of(error: OSError) -> str:
    """``full``, ``read-only`` or ``other``."""
    return _REASONS.get(error.errno or 0, "other")


def storage_failed(error: OSError) -> StorageFailed:
    """The system's error as one of ours."""
    return StorageFailed(words_of(error))
