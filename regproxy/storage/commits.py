"""The steps that commits share: the way made free, links written, and what a kill left finished."""

from __future__ import annotations

import contextlib
import os
import stat

from twisted.logger import Logger

from regproxy.errors import StorageFailed
from regproxy.interfaces import Kind, Link
from regproxy.oci.digest import Digest
from regproxy.oci.media_type import BLOB_TYPE
from regproxy.oci.repository import Repository
from regproxy.storage import durable
from regproxy.storage.layout import Layout
from regproxy.storage.ledger import Ledger
from regproxy.storage.maps import MAX_MAP_BYTES, Commitment, SpoolMap, decode_map
from regproxy.storage.records import read_record
from regproxy.storage.refusals import storage_failed

_log = Logger()


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


def recover(layout: Layout, ledger: Ledger) -> int:
    """Finish what a kill interrupted: write the links of committed blobs, remove all other spools.

    The number of blobs that got their links. What the disk refuses stays for the next start, since
    no disk may fail a start. A spool that is to be continued instead is recognised here, by its map.
    """
    finished, left, reason = 0, 0, ""
    names = sorted(os.listdir(layout.fills)) if layout.fills.is_dir() else []
    for name in names:
        try:
            finished += recover_one(layout, ledger, name)
        except (OSError, StorageFailed) as error:
            left += 1
            reason = reason or str(storage_failed(error) if isinstance(error, OSError) else error)
    if left:
        _log.warn("{left} files in fills/ stay for the next start: {reason}", left=left, reason=reason)
    return finished


def recover_one(layout: Layout, ledger: Ledger, name: str) -> bool:
    """The same for one file under ``fills/``: whether a blob got its links. OSError."""
    path = layout.fills / name
    spool = decode_map(read_record(path, MAX_MAP_BYTES)) if name.endswith(".map") else None
    finished = spool is not None and _finish(layout, ledger, spool)
    if not path.is_dir() or path.is_symlink():
        durable.remove(path)
    return finished


def _finish(layout: Layout, ledger: Ledger, spool: SpoolMap) -> bool:
    done = spool.commitment
    if done is None:
        return False
    try:
        found = os.lstat(layout.blob(spool.digest))
    except OSError:
        return False
    if not stat.S_ISREG(found.st_mode) or found.st_size != done.size_bytes:
        return False
    for repository in done.proofs:
        _restore_link(ledger, spool.digest, repository, done)
    return True


def _restore_link(ledger: Ledger, digest: Digest, repository: Repository, done: Commitment) -> None:
    known, since_s = ledger.read(repository, digest, Kind.BLOB), done.proofs[repository]
    ledger.note_former(since_s)
    if known is None or known.since_s <= since_s:
        link = Link(done.size_bytes, done.mtime_ns, BLOB_TYPE, since_s, "fetch")
        ledger.write(repository, Kind.BLOB, digest, link)
