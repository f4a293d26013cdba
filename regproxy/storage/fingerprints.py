"""Which credential an upstream was last used with: a fingerprint of it, salted and slow to guess."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred

from regproxy.storage import durable
from regproxy.storage.layout import Layout
from regproxy.storage.records import format_record, parse_record, read_record
from regproxy.storage.thread import DiskThread, shield

_MAX_BYTES = 1024
_COST = {"n": 2**14, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024}


class Fingerprints:
    """The records of all upstreams. What another credential was shown is taken back by ``revoke``."""

    def __init__(
        self,
        layout: Layout,
        reader: DiskThread,
        writer: DiskThread,
        revoke: Callable[[str], Deferred[None]],
    ) -> None:
        self._layout = layout
        self._reader = reader
        self._writer = writer
        self._revoke = revoke

    def changed(self, upstream: str, fingerprint: bytes) -> Deferred[bool]:
        """Whether it is another one than before; it is revoked then, and remembered. StorageFailed.

        An upstream that has content but no good record counts as one that was used with another.
        """
        return shield(Deferred.fromCoroutine(self._compare(upstream, fingerprint)))

    async def _compare(self, upstream: str, fingerprint: bytes) -> bool:
        record = self._layout.credential(upstream)
        same = await self._reader.run(_same, record, fingerprint)
        if same:
            return False
        changed = same is False or await self._reader.run(_holds_content, self._layout.upstream(upstream))
        if changed:
            await self._revoke(upstream)
        await self._writer.run(write_fingerprint, record, fingerprint)
        return changed


def _same(path: Path, fingerprint: bytes) -> bool | None:
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


def write_fingerprint(path: Path, fingerprint: bytes) -> None:
    """Remember a fingerprint, salted and slow to guess. OSError."""
    salt = secrets.token_bytes(16)
    record = {"salt": salt.hex(), "hash": _scrypt(fingerprint, salt).hex()}
    durable.write_atomic(path, format_record(record))


def _holds_content(folder: Path) -> bool:
    """Whether an upstream's folder has any repository in it."""
    try:
        return any(not name.startswith(("_", ".")) for name in os.listdir(folder))
    except OSError:
        return False


def _scrypt(fingerprint: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(fingerprint, salt=salt, dklen=32, **_COST)
