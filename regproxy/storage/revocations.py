"""When repositories and upstreams were revoked, and the times that links are dated by.

Laws: a revocation is dated after all links that are known, and counts from the moment it is asked
for, also while (or although) the disk does not take its record. A link made after it is dated after
it, whatever the wall clock does.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterable
from math import inf, nextafter
from pathlib import Path

from regproxy.oci.repository import Repository
from regproxy.storage import durable
from regproxy.storage.layout import Layout
from regproxy.storage.records import format_record, parse_record, read_record, seconds

_MAX_BYTES = 1024
_COST = {"n": 2**14, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024}


class Revocations:
    """The records ``_revoked``, and those not on disk yet."""

    def __init__(self, layout: Layout, wall: Callable[[], float], newest: Callable[[], float]) -> None:
        self._layout = layout
        self._wall = wall
        self._newest = newest
        self._last_s = 0.0
        self._pending: dict[Path, float] = {}

    def revoked_s(self, repository: Repository) -> float:
        """The later of the repository's and its upstream's; 0.0 for never."""
        own, whole = self._layout.revoked(repository), self._layout.upstream_revoked(repository.upstream)
        return max(self._read(own), self._read(whole))

    def stamp(self, repositories: Iterable[Repository] = ()) -> float:
        """Now, in seconds since the epoch: never before an earlier stamp, after each revocation."""
        revoked_s = max((self.revoked_s(repository) for repository in repositories), default=0.0)
        self._last_s = max(self._wall(), self._last_s, nextafter(revoked_s, inf) if revoked_s else 0.0)
        return self._last_s

    def announce(self, path: Path) -> float:
        """The revocation whose record is ``path`` counts from now on; in the reactor's thread."""
        self._pending[path] = self._last_s = max(self.stamp(), self._newest())
        return self._pending[path]

    def write(self, path: Path, revoked_s: float) -> None:
        """Write the record; in the writer thread. OSError."""
        durable.write_atomic(path, format_record({"revoked": revoked_s}))
        if self._pending.get(path) == revoked_s:
            del self._pending[path]

    def _read(self, path: Path) -> float:
        return max(self._pending.get(path, 0.0), _recorded(path))


def _recorded(path: Path) -> float:
    """What the record says; a broken one was written when its file was."""
    content = read_record(path, _MAX_BYTES)
    if content is None and not os.path.lexists(path):
        return 0.0
    record = parse_record(content)
    revoked_s = seconds(record.get("revoked")) if record is not None else None
    if revoked_s is not None:
        return revoked_s
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0.0


def same_credential(path: Path, fingerprint: bytes) -> bool | None:
    """Whether the record is of this fingerprint; None without a good record. Takes 50 ms (scrypt)."""
    record = parse_record(read_record(path, _MAX_BYTES))
    if record is None:
        return None
    salt, kept = record.get("salt"), record.get("hash")
    if not isinstance(salt, str) or not isinstance(kept, str):
        return None
    try:
        return hmac.compare_digest(_scrypt(fingerprint, bytes.fromhex(salt)), bytes.fromhex(kept))
    except ValueError:
        return None


def write_credential(path: Path, fingerprint: bytes) -> None:
    """Remember a fingerprint, salted and slow to guess. OSError."""
    salt = secrets.token_bytes(16)
    record = {"salt": salt.hex(), "hash": _scrypt(fingerprint, salt).hex()}
    durable.write_atomic(path, format_record(record))


def holds_content(folder: Path) -> bool:
    """Whether an upstream's folder has any repository in it."""
    try:
        return any(not name.startswith(("_", ".")) for name in os.listdir(folder))
    except OSError:
        return False


def _scrypt(fingerprint: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(fingerprint, salt=salt, dklen=32, **_COST)
