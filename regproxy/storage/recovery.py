"""What a start, or a survey, makes of what it finds under ``fills/``.

Laws: no disk fails a start. Of a spool's bytes nothing is read: its map says what it is worth. What is
none of ours, or broken, is removed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

import attrs
from twisted.logger import Logger

from regproxy.errors import StorageFailed
from regproxy.interfaces import Kind, Link
from regproxy.oci.digest import Digest
from regproxy.oci.media_type import BLOB_TYPE
from regproxy.oci.repository import Repository
from regproxy.storage import durable
from regproxy.storage.layout import Layout
from regproxy.storage.ledger import Ledger
from regproxy.storage.leftovers import Left, Leftovers
from regproxy.storage.maps import MAX_MAP_BYTES, Commitment, SpoolMap, decode_map
from regproxy.storage.records import read_record
from regproxy.storage.refusals import storage_failed

_log = Logger()


@attrs.define
class Recovered:
    """What a start has found: blobs that got their links, spools that a later fill can go on from."""

    finished: int = 0
    left: list[Left] = attrs.field(factory=list)


def recover(layout: Layout, ledger: Ledger, leftovers: Leftovers) -> int:
    """Finish what a kill interrupted: write the links of committed blobs, keep the spools whose maps claim
    something, remove all others.

    The number of blobs that got their links. What the disk refuses stays for the next start.
    """
    found = Recovered()
    troubles = list(_trouble(layout, ledger, leftovers, found))
    try:
        leftovers.add(*found.left)
    except OSError as error:
        troubles.append(str(storage_failed(error)))
    if troubles:
        _log.warn(
            "{left} files in fills/ stay for the next start: {reason}", left=len(troubles), reason=troubles[0]
        )
    return found.finished


def _trouble(layout: Layout, ledger: Ledger, leftovers: Leftovers, found: Recovered) -> Iterator[str]:
    """Maps first: a spool without one is worth nothing."""
    names = sorted(os.listdir(layout.fills)) if layout.fills.is_dir() else []
    kept: set[str] = set()
    for name in sorted(names, key=lambda name: not name.endswith(".map")):
        try:
            if name in kept:
                continue
            left = _leftover(layout, leftovers, name)
            if left is None:
                found.finished += recover_one(layout, ledger, name)
                continue
            kept.add(f"{left.name}.spool")
            found.left.append(left)
        except (OSError, StorageFailed) as error:
            yield str(storage_failed(error) if isinstance(error, OSError) else error)


def _leftover(layout: Layout, leftovers: Leftovers, name: str) -> Left | None:
    """The spool whose map this file is, cut to what the map claims; None where it is of no use. OSError."""
    stem = name.removesuffix(".map")
    known = _read_map(layout, name)
    left = None if known is None else leftovers.find(stem, known)
    if known is None or left is None:
        return None
    path, size_bytes = layout.spool(stem), known.there[-1][1]
    if path.stat().st_size > size_bytes:
        durable.cut(path, size_bytes)
    return leftovers.find(stem, known)


def _read_map(layout: Layout, name: str) -> SpoolMap | None:
    if not name.endswith(".map"):
        return None
    return decode_map(read_record(layout.fills / name, MAX_MAP_BYTES))


def recover_one(layout: Layout, ledger: Ledger, name: str) -> bool:
    """Finish what one file under ``fills/`` says, and remove it: whether a blob got its links. OSError."""
    path = layout.fills / name
    spool = _read_map(layout, name)
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
