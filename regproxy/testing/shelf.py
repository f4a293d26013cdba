"""What the store in memory keeps: files, the links to them, revocations.

The laws are the disk's. A digest's bytes are trusted by one mtime, which all its links say. A link
says the mtime that is known, not the file's: to grant a right to a touched file trusts nothing. A
revocation counts from the moment it is asked for, and a later proof is never replaced by an earlier.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, nextafter

import attrs
from twisted.internet.interfaces import IReactorTime

from regproxy.errors import ContentMissing
from regproxy.interfaces import Kind, Leftover, Link
from regproxy.oci.digest import Digest
from regproxy.oci.media_type import BLOB_TYPE
from regproxy.oci.repository import Repository
from regproxy.testing.calls import Script

UNVERIFIED_MTIME_NS = 0


@attrs.define(eq=False)
class BlobFile:
    """A file under ``blobs/``: as an inode, so that another one of the same name is another one."""

    content: bytearray
    mtime_ns: int


@attrs.define(eq=False)
class LeftFile:
    """A spool that was left."""

    content: bytearray
    left: Leftover


class MemoryShelf:
    """The part of MemoryStore that its spools work on."""

    def __init__(self, clock: IReactorTime) -> None:
        self.script = Script()
        self.room_bytes: int | None = None
        """What one blob may have at most before the disk is full; None: no limit."""
        self.cold = False
        """Whether files opened from now on need warm() first."""
        self.quarantined: dict[Digest, bytes] = {}
        self.leftovers: dict[Digest, LeftFile] = {}
        self._clock = clock
        self._files: dict[Digest, BlobFile] = {}
        self._mtimes: dict[Digest, int] = {}
        self._links: dict[tuple[Repository, Digest], dict[Kind, Link]] = {}
        self._revoked: dict[Repository, float] = {}
        self._writes = 0
        self._last_s = 0.0

    @property
    def contents(self) -> dict[Digest, bytes]:
        """What is under ``blobs/``."""
        return {digest: bytes(file.content) for digest, file in self._files.items()}

    def touch(self, digest: Digest, content: bytes | None = None) -> None:
        """Somebody wrote into the file: another mtime, perhaps other bytes."""
        file = self._files[digest]
        if content is not None:
            file.content[:] = content
        file.mtime_ns = self._next_mtime()

    def remove(self, digest: Digest) -> None:
        """The file is gone, links stay."""
        self._files.pop(digest, None)

    def find(self, digest: Digest) -> BlobFile:
        """The file; ContentMissing."""
        if digest not in self._files:
            raise ContentMissing("there is no such blob on disk")
        return self._files[digest]

    def in_place(self, digest: Digest, file: BlobFile) -> bool:
        """Whether it is this file that has the digest's name."""
        return self._files.get(digest) is file

    def trusts(self, digest: Digest) -> bool:
        """Whether the file is as it was when its bytes were verified."""
        return self.find(digest).mtime_ns == self._mtimes.get(digest)

    def place(self, digest: Digest, content: bytes) -> None:
        """Verified bytes get the name, whatever had it."""
        self._files[digest] = BlobFile(bytearray(content), self._next_mtime())
        self.leftovers.pop(digest, None)
        self.vouch(digest)

    def vouch(self, digest: Digest) -> None:
        """The file was hashed and is right: all links say so from now on."""
        file = self.find(digest)
        known = file.mtime_ns = self._mtimes.setdefault(digest, file.mtime_ns)
        for (_, held), kinds in self._links.items():
            if held == digest:
                for kind, link in kinds.items():
                    kinds[kind] = attrs.evolve(link, mtime_ns=known, size_bytes=len(file.content))

    def quarantine(self, digest: Digest) -> None:
        """The file is wrong: it leaves ``blobs/``."""
        self.quarantined[digest] = bytes(self._files.pop(digest).content)

    def stamp(self, repository: Repository) -> float:
        """See ILocalStore: never before an earlier stamp, and after the last revocation."""
        self._last_s = max(self._clock.seconds(), self._last_s, nextafter(self.revoked_s(repository), inf))
        return self._last_s

    def write_link(
        self, repository: Repository, digest: Digest, kind: Kind, media_type: str, since_s: float, source: str
    ) -> None:
        """A link to what is on disk, trusted as far as its bytes are; ContentMissing."""
        size = len(self.find(digest).content)
        known = self._mtimes.get(digest, UNVERIFIED_MTIME_NS)
        link = Link(size, known, media_type or BLOB_TYPE, since_s, source)
        held = self._links.setdefault((repository, digest), {})
        if kind in held and held[kind].since_s > since_s:
            link = attrs.evolve(held[kind], size_bytes=size, mtime_ns=known)
        held[kind] = link

    def take_link(self, repository: Repository, digest: Digest, kind: Kind) -> bool:
        """Without the link, and without the file once nobody holds it; whether it went."""
        held = self._links.get((repository, digest), {})
        held.pop(kind, None)
        if not held:
            self._links.pop((repository, digest), None)
        if any(known == digest for _, known in self._links):
            return False
        self._mtimes.pop(digest, None)
        return self._files.pop(digest, None) is not None

    def link_fetched(self, proofs: Mapping[Repository, float], digest: Digest) -> None:
        """The links of a blob that came through a spool."""
        for repository, since_s in proofs.items():
            self.write_link(repository, digest, Kind.BLOB, BLOB_TYPE, since_s, "fetch")

    def link(self, repository: Repository, digest: Digest) -> tuple[Kind, Link] | None:
        """See ILocalStore; as a blob where it is held as both."""
        kinds = self._links.get((repository, digest), {})
        return next(((kind, kinds[kind]) for kind in Kind if kind in kinds), None)

    def permitted(self, repository: Repository, digest: Digest, kinds: tuple[Kind, ...]) -> Link:
        """The link that lets ``repository`` serve the file, if that is of its size; ContentMissing."""
        held = self._links.get((repository, digest), {})
        revoked_s = self.revoked_s(repository)
        link = next((held[kind] for kind in kinds if kind in held and held[kind].since_s > revoked_s), None)
        if link is None or len(self.find(digest).content) != link.size_bytes:
            raise ContentMissing("it is not in the store")
        return link

    def mark_revoked(self, repository: Repository) -> None:
        """Links made before now are no permission."""
        self._revoked[repository] = self._last_s = max(self._clock.seconds(), self._last_s)

    def revoked_s(self, repository: Repository) -> float:
        """See ILocalStore."""
        return self._revoked.get(repository, 0.0)

    def _next_mtime(self) -> int:
        self._writes += 1
        return int(self._clock.seconds() * 1e9) + self._writes
