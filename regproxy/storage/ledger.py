"""Which links there are, and the mtime by which each digest's bytes are trusted.

Laws: everything that changes it runs in the writer thread, one job after the other, so commit,
grant and unlink of a digest exclude each other. A link's record is on disk before the index has
it, and gone from the disk before the index forgets it. Before the survey has finished the index
may lack links, never the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import attrs

from regproxy.interfaces import Kind, Link
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.storage import durable
from regproxy.storage.layout import Layout
from regproxy.storage.links import UNVERIFIED_MTIME_NS, encode_link, read_link

Holder: TypeAlias = tuple[Repository, Kind]

_FEW = 8
"""Up to so many holders are a tuple, which takes a fifth of a set's memory: most digests have one."""


class Ledger:
    """The link records on disk, and the index over them in memory.

    ``newest_s`` is the latest date of any link seen: a revocation is dated after it, also when the
    wall clock was set back.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._holders: dict[Digest, tuple[Holder, ...] | set[Holder]] = {}
        self._mtimes: dict[Digest, int] = {}
        self._shared: dict[Holder, Holder] = {}
        self.newest_s = 0.0
        self._surveyed = False

    def __repr__(self) -> str:
        return f"<Ledger digests={len(self._holders)} complete={self._surveyed}>"

    @property
    def complete(self) -> bool:
        """Whether the survey has finished: only then a digest without holders has none."""
        return self._surveyed

    def finish(self) -> None:
        """The survey has seen every link."""
        self._surveyed = True

    def read(self, repository: Repository, digest: Digest, kind: Kind) -> Link | None:
        """The record on disk; in any thread."""
        return read_link(self._layout.link(repository, digest, kind))

    def holders(self, digest: Digest) -> tuple[Holder, ...]:
        """Who is known to hold ``digest``."""
        return tuple(self._holders.get(digest, ()))

    def mtime_ns(self, digest: Digest) -> int | None:
        """The mtime by which the bytes of ``digest`` are trusted; None when nothing vouches for them."""
        return self._mtimes.get(digest)

    def look(self, found: Iterable[tuple[Repository, Kind, Digest]]) -> None:
        """Take records that lie on disk into the index, those that are still there."""
        for repository, kind, digest in found:
            link = self.read(repository, digest, kind)
            if link is not None:
                self._note(repository, kind, digest, link)

    def write(self, repository: Repository, kind: Kind, digest: Digest, link: Link) -> None:
        """Write a record, durably, then note it. OSError."""
        durable.write_atomic(self._layout.link(repository, digest, kind), encode_link(link))
        self._note(repository, kind, digest, link)

    def drop(self, repository: Repository, kind: Kind, digest: Digest) -> None:
        """Remove a record, durably, then forget it. OSError."""
        durable.remove(self._layout.link(repository, digest, kind))
        left = [holder for holder in self.holders(digest) if holder != (repository, kind)]
        self._holders[digest] = set(left) if len(left) > _FEW else tuple(left)
        if not left:
            del self._holders[digest]

    def verified(self, digest: Digest, size_bytes: int, mtime_ns: int) -> None:
        """The bytes of ``digest`` were hashed and are right: all its links say so from now on. OSError."""
        self._mtimes[digest] = mtime_ns
        for repository, kind in self.holders(digest):
            link = self.read(repository, digest, kind)
            if link is not None and (link.size_bytes, link.mtime_ns) != (size_bytes, mtime_ns):
                renewed = attrs.evolve(link, size_bytes=size_bytes, mtime_ns=mtime_ns)
                self.write(repository, kind, digest, renewed)

    def forget(self, digest: Digest) -> None:
        """The bytes of ``digest`` are gone, and so is what was known of them."""
        self._mtimes.pop(digest, None)

    def _note(self, repository: Repository, kind: Kind, digest: Digest, link: Link) -> None:
        self._add(digest, self._shared.setdefault((repository, kind), (repository, kind)))
        self.newest_s = max(self.newest_s, link.since_s)
        if link.mtime_ns != UNVERIFIED_MTIME_NS:
            self._mtimes.setdefault(digest, link.mtime_ns)

    def _add(self, digest: Digest, holder: Holder) -> None:
        holders = self._holders.get(digest, ())
        if holder in holders:
            return
        if isinstance(holders, set):
            holders.add(holder)
        else:
            grown = (*holders, holder)
            self._holders[digest] = set(grown) if len(grown) > _FEW else grown
