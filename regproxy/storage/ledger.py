"""Which links there are, and the mtime by which each digest's bytes are trusted.

Laws: everything that changes it runs in the writer thread, one job after the other, so commit,
grant and unlink of a digest exclude each other. A link's record is on disk before the index has
it, and gone from the disk before the index forgets it. Before the survey has finished the index
may lack links, never the other way round. A later proof is never replaced by an earlier one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TypeAlias

import attrs

from regproxy.errors import StorageFailed
from regproxy.interfaces import Held, Kind, Link
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.storage import durable
from regproxy.storage.layout import Layout
from regproxy.storage.links import UNVERIFIED_MTIME_NS, encode_link, read_link
from regproxy.storage.spoilt import Spoilt
from regproxy.storage.telling import Teller

Holder: TypeAlias = tuple[Repository, Kind]

MAX_AT_ODDS = 10_000
_FEW = 8
"""Up to so many holders are a tuple, which takes a fifth of a set's memory: most digests have one."""


class Ledger:
    """The link records on disk, and the index over them in memory.

    ``newest_s`` is the latest date of any link seen: a revocation is dated after it, also when the
    wall clock was set back. ``former_s`` is that of the links that this process has not written.
    ``before_link`` is called before each link is written; ``promised`` are those for whom a map on
    disk says that one is to be. ``at_odds`` are digests whose links say different mtimes, some of them.
    """

    def __init__(self, layout: Layout, teller: Teller | None = None) -> None:
        self._layout = layout
        self._teller = teller
        self.unreadable = 0
        self._holders: dict[Digest, tuple[Holder, ...] | set[Holder]] = {}
        self._mtimes: dict[Digest, int] = {}
        self._shared: dict[Holder, Holder] = {}
        self.newest_s = 0.0
        self.former_s = 0.0
        self.spoilt = Spoilt()
        self.at_odds: set[Digest] = set()
        self.promised: set[Repository] = set()
        self.before_link: Callable[[Repository], None] = _nothing
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

    def look(self, found: Iterable[tuple[Repository, Kind, Digest]]) -> list[Held]:
        """Take records that lie on disk into the index, those that are still there; what these are.

        A broken one is among them, so that it expires, but vouches for nothing. One that the system
        does not let us read counts as ``unreadable``: nobody knows then what has no link.
        """
        seen = []
        for repository, kind, digest in found:
            try:
                link = self.read(repository, digest, kind)
            except StorageFailed:
                self.unreadable += 1
                seen.append(Held(repository, digest, kind))
                continue
            if link is not None:
                self._note_former(repository, kind, digest, link)
                self._note(repository, kind, digest, link)
                seen.append(Held(repository, digest, kind, link.size_bytes))
            elif os.path.lexists(self._layout.link(repository, digest, kind)):
                seen.append(Held(repository, digest, kind))
        return seen

    def write(self, repository: Repository, kind: Kind, digest: Digest, link: Link) -> None:
        """Write a record, durably, then note it. OSError.

        One there of a later proof stays, and learns what its bytes are trusted by.
        """
        kept = self.read(repository, digest, kind)
        if kept is not None and kept.since_s > link.since_s:
            self._note_former(repository, kind, digest, kept)
            link = attrs.evolve(kept, size_bytes=link.size_bytes, mtime_ns=link.mtime_ns)
        self.before_link(repository)
        durable.write_atomic(self._layout.link(repository, digest, kind), encode_link(link))
        self._note(repository, kind, digest, link)
        if self._teller is not None:
            self._teller.added(Held(repository, digest, kind, link.size_bytes))

    def promise(self, repositories: Iterable[Repository]) -> None:
        """A map is about to say that these are to have a link, be it by the next process. OSError."""
        for repository in repositories:
            self.before_link(repository)
            self.promised.add(repository)

    def drop(self, repository: Repository, kind: Kind, digest: Digest) -> None:
        """Remove a record, durably, then forget it. OSError."""
        path = self._layout.link(repository, digest, kind)
        durable.remove(path)
        durable.remove_empty(path.parent, self._layout.repositories)
        left = [holder for holder in self.holders(digest) if holder != (repository, kind)]
        self._holders[digest] = set(left) if len(left) > _FEW else tuple(left)
        if not left:
            del self._holders[digest]

    def verified(self, digest: Digest, size_bytes: int, mtime_ns: int) -> None:
        """The bytes of ``digest`` were hashed and are right: all its links say so from now on. OSError."""
        self.spoilt.forget(digest)
        self._mtimes[digest] = mtime_ns
        for repository, kind in self.holders(digest):
            link = self.read(repository, digest, kind)
            if link is not None and (link.size_bytes, link.mtime_ns) != (size_bytes, mtime_ns):
                renewed = attrs.evolve(link, size_bytes=size_bytes, mtime_ns=mtime_ns)
                self.write(repository, kind, digest, renewed)

    def forget(self, digest: Digest) -> None:
        """The bytes of ``digest`` are gone, and so is what was known of them."""
        self._mtimes.pop(digest, None)

    def knows(self, repository: Repository, kind: Kind, digest: Digest) -> bool:
        """Whether the link is in the index; in any thread."""
        return (repository, kind) in self._holders.get(digest, ())

    def note_former(self, since_s: float) -> None:
        """A link of this date is another process's, though this one may write it."""
        self.former_s = max(self.former_s, since_s)

    def _note_former(self, repository: Repository, kind: Kind, digest: Digest, link: Link) -> None:
        if not self.knows(repository, kind, digest):
            self.note_former(link.since_s)

    def _note(self, repository: Repository, kind: Kind, digest: Digest, link: Link) -> None:
        self._add(digest, self._shared.setdefault((repository, kind), (repository, kind)))
        self.newest_s = max(self.newest_s, link.since_s)
        if link.mtime_ns != UNVERIFIED_MTIME_NS:
            known = self._mtimes.setdefault(digest, link.mtime_ns)
            if known != link.mtime_ns and len(self.at_odds) < MAX_AT_ODDS:
                self.at_odds.add(digest)

    def _add(self, digest: Digest, holder: Holder) -> None:
        holders = self._holders.get(digest, ())
        if holder in holders:
            return
        if isinstance(holders, set):
            holders.add(holder)
        else:
            grown = (*holders, holder)
            self._holders[digest] = set(grown) if len(grown) > _FEW else grown


def _nothing(_: Repository) -> None:
    """Nobody wants to know."""
