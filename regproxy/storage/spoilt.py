"""Files under ``blobs/`` that are known to be bad and could not be moved aside: a disk may be read-only.

Laws: an entry is about one file as it was (inode, mtime, size), never about its name, so that what
takes its place is another one. Bounded: what is forgotten is hashed again.
"""

from __future__ import annotations

import os
from threading import Lock

from regproxy.oci.digest import Digest

MAX_ENTRIES = 10_000


class Spoilt:
    """Noted in any thread. ``wrong``: its bytes are not what the digest names, and never served;
    else the disk could not read them just now, and they are written again when they come."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._files: dict[Digest, tuple[tuple[int, int, int], bool]] = {}

    def __len__(self) -> int:
        return len(self._files)

    def add(self, digest: Digest, found: os.stat_result, wrong: bool) -> None:
        """The file under ``digest`` that ``found`` tells of is bad."""
        with self._lock:
            self._files.pop(digest, None)
            self._files[digest] = (_identity(found), wrong)
            if len(self._files) > MAX_ENTRIES:
                del self._files[next(iter(self._files))]

    def forget(self, digest: Digest) -> None:
        """Right bytes have its place."""
        with self._lock:
            self._files.pop(digest, None)

    def is_bad(self, digest: Digest, found: os.stat_result) -> bool:
        """Whether the file is to be replaced."""
        known = self._files.get(digest)
        return known is not None and known[0] == _identity(found)

    def is_wrong(self, digest: Digest, found: os.stat_result) -> bool:
        """Whether the file must not be served."""
        known = self._files.get(digest)
        return known == (_identity(found), True)


def _identity(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_mtime_ns, found.st_size
