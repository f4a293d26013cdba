"""Entries: what is known of each cached thing's use, under keys that are text.

A key is what people write: ``docker.io/library/nginx:1.29`` or ``docker.io/library/nginx@sha256:…``.
The table is cut into parts, so that a pass over all keys never copies a million of them at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from regproxy.errors import InvalidDigest, InvalidName, InvalidTag
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag

TYPES = ("blob", "manifest", "tag")
_PARTS = 256


@attrs.define(slots=True, eq=False, weakref_slot=False)
class Entry:
    """One cached thing. ``used_s`` is on the scheduler's own time line; ``slot`` where it is filed;
    ``seen``: the number of the survey by which it was last known to be on disk; ``sent_bytes`` are those that
    clients were sent of it."""

    type: str
    used_s: float
    size_bytes: int = 0
    pulls: int = 0
    slot: int | None = None
    seen: int = 0
    sent_bytes: int = 0


def key_of(repository: Repository, reference: Reference) -> str:
    """The key of a tag, or of what a repository holds under a digest."""
    mark = ":" if isinstance(reference, Tag) else "@"
    return f"{repository.upstream}/{repository.path}{mark}{reference}"


def upstream_of(key: str) -> str:
    """The name of the upstream that a key belongs to."""
    return key.partition("/")[0]


def parse_key(key: str) -> tuple[Repository, Reference] | None:
    """What a key names; None for what is no key."""
    name, mark, rest = key.partition("@")
    if not mark:
        name, _, rest = key.rpartition(":")
    upstream, _, path = name.partition("/")
    try:
        return Repository.parse(upstream, path), Digest.parse(rest) if mark else Tag.parse(rest)
    except (InvalidName, InvalidDigest, InvalidTag):
        return None


class Entries:
    """All entries by key."""

    def __init__(self) -> None:
        self._parts: tuple[dict[str, Entry], ...] = tuple({} for _ in range(_PARTS))
        self._counts = dict.fromkeys(TYPES, 0)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __contains__(self, key: str) -> bool:
        return key in self._of(key)

    def __repr__(self) -> str:
        return f"<Entries {len(self)}>"

    def get(self, key: str) -> Entry | None:
        """The entry under ``key``, in any thread."""
        return self._of(key).get(key)

    def put(self, key: str, entry: Entry) -> None:
        """Add or replace an entry."""
        part = self._of(key)
        self._uncount(part.get(key))
        part[key] = entry
        self._counts[entry.type] += 1

    def pop(self, key: str) -> Entry | None:
        """Take an entry out."""
        entry = self._of(key).pop(key, None)
        self._uncount(entry)
        return entry

    def _uncount(self, entry: Entry | None) -> None:
        if entry is not None:
            self._counts[entry.type] -= 1

    def retype(self, entry: Entry, type: str) -> None:
        """An entry of the table is of another type now."""
        self._uncount(entry)
        entry.type = type
        self._counts[type] += 1

    def count(self, type: str) -> int:
        """How many there are of a type."""
        return self._counts[type]

    def __iter__(self) -> Iterator[str]:
        """All keys; the table may change meanwhile, what comes or goes then may be missed."""
        for part in self._parts:
            yield from list(part)

    def _of(self, key: str) -> dict[str, Entry]:
        return self._parts[hash(key) % _PARTS]
