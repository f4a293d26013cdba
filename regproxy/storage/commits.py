"""The steps that commits share: the way made free, and links written."""

from __future__ import annotations

import contextlib
import os
import stat

from regproxy.interfaces import Kind, Link
from regproxy.oci.digest import Digest
from regproxy.oci.media_type import BLOB_TYPE
from regproxy.storage import durable
from regproxy.storage.layout import Layout
from regproxy.storage.ledger import Ledger
from regproxy.storage.maps import Commitment


def make_way(layout: Layout, digest: Digest) -> None:
    """Move aside what lies under a blob's name and is no file: a rename cannot replace it. OSError."""
    path = layout.blob(digest)
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            durable.move_aside(path, layout.quarantined(digest))


def write_links(ledger: Ledger, digest: Digest, done: Commitment) -> None:
    """Trust the bytes that were committed, and write the links to them. OSError."""
    ledger.verified(digest, done.size_bytes, done.mtime_ns)
    for repository, since_s in done.proofs.items():
        link = Link(done.size_bytes, done.mtime_ns, BLOB_TYPE, since_s, "fetch")
        ledger.write(repository, Kind.BLOB, digest, link)
