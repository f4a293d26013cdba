"""The images that were pulled last, for the status page: from memory alone, some microseconds each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from regproxy.errors import StorageFailed
from regproxy.eviction.gathering import parse_key
from regproxy.interfaces import ILocalStore
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag

MAX_DIGESTS = 200
"""Of one image; what names more is counted so far."""
MAX_READ_BYTES = 64 * 1024
"""A larger manifest is not looked into."""


class Counts(Protocol):
    """Who knows what was used."""

    def recent(self) -> Sequence[str]:
        """Keys of tags, the last used first."""

    def counts(self, repository: Repository, reference: Reference) -> tuple[float, int, int] | None:
        """Last use (seconds since the epoch), pulls, bytes sent."""


@attrs.frozen(slots=True)
class Recently:
    """One tag. ``sent_bytes`` None: its manifest is not in memory now."""

    image: str
    used_s: float
    pulls: int
    sent_bytes: int | None


def recently(counts: Counts, store: ILocalStore, most: int) -> list[Recently]:
    """The ``most`` that were used last, the newest first."""
    found = []
    for key in counts.recent()[:most]:
        parsed = parse_key(key)
        if parsed is None:
            continue
        repository, tag = parsed
        known = counts.counts(repository, tag)
        if known is None or not isinstance(tag, Tag):
            continue
        used_s, pulls, by_tag = known
        below = _sent(counts, store, repository, tag)
        found.append(Recently(key, used_s, pulls, None if below is None else below + by_tag))
    return found


def _sent(counts: Counts, store: ILocalStore, repository: Repository, tag: Tag) -> int | None:
    try:
        record = store.tag(repository, tag)
    except StorageFailed:
        return None
    if record is None or store.manifest_at_hand(repository, record.descriptor.digest) is None:
        return None
    waiting: list[Digest] = [record.descriptor.digest]
    seen = set(waiting)
    sent = 0
    for digest in waiting:
        known = counts.counts(repository, digest)
        sent += 0 if known is None else known[2]
        manifest = store.manifest_at_hand(repository, digest) if known is not None else None
        if manifest is not None and len(manifest.content) > MAX_READ_BYTES:
            return None
        for named in () if manifest is None else manifest.names():
            if named.digest not in seen and len(seen) < MAX_DIGESTS:
                seen.add(named.digest)
                waiting.append(named.digest)
    return sent
