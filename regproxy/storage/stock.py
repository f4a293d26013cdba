"""What lies on the disk, for who decides what goes: what manifests name, what tags mean, idle spools.

Each call reads small files and blocks: for a thread of its own. Nothing is changed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from zope.interface import implementer

from regproxy.errors import StorageFailed
from regproxy.interfaces import IdleSpool, IStock
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import MAX_MANIFEST_BYTES, Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.storage.layout import Layout
from regproxy.storage.records import read_record
from regproxy.storage.space import disk_bytes
from regproxy.storage.tags import MAX_TAG_BYTES, decode_tag
from regproxy.storage.underway import UnderWay


@implementer(IStock)
class Stock:
    """Over the folder of a store."""

    def __init__(self, layout: Layout, under_way: UnderWay) -> None:
        self._layout = layout
        self._under_way = under_way

    def names(self, digest: Digest) -> tuple[Digest, ...]:
        """As :meth:`IStock.names`."""
        try:
            content = read_record(self._layout.blob(digest), MAX_MANIFEST_BYTES)
        except StorageFailed:
            return ()
        if content is None:
            return ()
        return tuple(dict.fromkeys(named.digest for named in Manifest(content, "", digest).names()))

    def tagged(self, repository: Repository, tag: Tag) -> Digest | None:
        """As :meth:`IStock.tagged`."""
        try:
            record = decode_tag(read_record(self._layout.tags(repository) / tag.name, MAX_TAG_BYTES))
        except StorageFailed:
            return None
        return None if record is None else record.descriptor.digest

    def idle_spools(self) -> Sequence[IdleSpool]:
        """As :meth:`IStock.idle_spools`."""
        found = []
        try:
            with os.scandir(self._layout.fills) as listing:
                entries = list(listing)
        except OSError:
            return []
        for entry in entries:
            stem, dot, end = entry.name.rpartition(".")
            if not dot or end != "spool" or self._under_way.has(stem):
                continue
            try:
                seen = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            found.append(IdleSpool(stem, disk_bytes(seen), max(0.0, time.time() - seen.st_mtime)))
        return found
