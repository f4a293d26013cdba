"""A small file that the settings name: what tells its versions apart, and all that is in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TypeAlias

from regproxy.errors import RegproxyError

Marks: TypeAlias = tuple[int, int, int] | None

MAX_FILE_BYTES = 1024 * 1024


class Unusable(RegproxyError):
    """A file of the settings that cannot be used; the message says why, in one line."""


def marks_of(path: Path) -> Marks:
    """What tells one version of a file from another; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def read_small(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """All of a regular file of at most ``max_bytes``, without waiting for anybody; :exc:`Unusable`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Unusable("it is not a regular file")
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(max_bytes + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Unusable(error.strerror or "system error") from None
    if len(content) > max_bytes:
        raise Unusable(f"it has more than {max_bytes} bytes")
    return content
