"""The VERSION file: that the folder is ours, and how it is laid out."""

from __future__ import annotations

import errno
import os

from regproxy.errors import StorageForeign
from regproxy.storage import durable
from regproxy.storage.layout import Layout
from regproxy.storage.lock import READ_ONLY
from regproxy.storage.records import read_record

VERSION = b"regproxy storage 1\n"
_FOLDERS = frozenset({"blobs", "fills", "repositories", "quarantine"})
_OURS = _FOLDERS | {"lock", "admin.sock", "lost+found", "pins", "upkeep.json"}


def check_version(layout: Layout) -> bool:
    """Whether VERSION is there and right; False where it is still to be written.

    StorageForeign for another version, or a folder with somebody else's files. OSError.
    """
    content = read_record(layout.version, 256)
    if content == VERSION:
        return True
    if content is not None or os.path.lexists(layout.version):
        raise StorageForeign(
            f"{layout.version} is of another regproxy: this one reads only '{VERSION.decode().strip()}'; "
            "give it another storage.root"
        )
    strange = sorted(name for name in os.listdir(layout.root) if not _is_ours(name))
    if strange:
        raise StorageForeign(
            f"{layout.root} holds files that are not regproxy's and no VERSION file; "
            "give storage.root a folder of its own"
        )
    return False


def _is_ours(name: str) -> bool:
    return name in _OURS or name.startswith((".", "scheduler-state."))


def write_version(layout: Layout) -> bool:
    """Make the folder ours; False where the disk takes no writes at all. OSError."""
    try:
        durable.write_atomic(layout.version, VERSION)
    except OSError as error:
        if error.errno in READ_ONLY:
            return False
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
    return True
