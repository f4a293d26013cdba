"""The store in memory: ILocalStore that forgets at the end, with failures and gates by script."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, nextafter

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from regproxy.errors import ContentMissing, ContentUntrusted, StorageFailed
from regproxy.interfaces import (
    How,
    IBlob,
    IBlobSource,
    ILocalStore,
    IManifestSource,
    ISpool,
    Kind,
    Link,
    TagRecord,
)
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.media_type import BLOB_TYPE
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.testing.bodies import Feed, MemoryBlob
from regproxy.testing.calls import Call, Script
from regproxy.testing.images import Image
from regproxy.testing.spools import MemorySpool

HISTORY_LENGTH = 20


@implementer(ILocalStore)
class MemoryStore:
    """A store. Operations for ``script``: ``blobs.stat``, ``blobs.open``, ``manifests.stat``,
    ``manifests.get``, ``grant``, ``put``, ``spool``, ``adopt``, ``set_tag``, ``drop_tag``, ``tags``,
    ``revoke``, and those of MemorySpool.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.script = Script()
        self.room_bytes: int | None = None
        """What one blob may have at most before the disk is full; None: no limit."""
        self.cold = False
        """Whether files opened from now on need warm() first."""
        self.contents: dict[Digest, bytes] = {}
        """What is under ``blobs/``."""
        self.quarantined: dict[Digest, bytes] = {}
        self.spools: list[MemorySpool] = []
        """Every spool that was made, the oldest first."""
        self.opened: list[MemoryBlob] = []
        self._clock = clock
        self._mtimes: dict[Digest, int] = {}
        self._links: dict[tuple[Repository, Digest], dict[Kind, Link]] = {}
        self._tags: dict[tuple[Repository, Tag], TagRecord] = {}
        self._revoked: dict[Repository, float] = {}
        self._writes = 0
        self._last_s = 0.0
        self.blobs: IBlobSource = _LocalBlobs(self)
        self.manifests: IManifestSource = _LocalManifests(self)

    # What tests do to it

    def put_blob(self, repository: Repository, content: bytes, algorithm: str = "sha256") -> Digest:
        """A complete blob that ``repository`` holds."""
        digest = Digest.of(content, algorithm)
        self.keep(digest, content, [repository])
        return digest

    def put_image(self, repository: Repository, image: Image) -> Image:
        """All of ``image``, held by ``repository``; no tag."""
        for digest, content in image.all_blobs().items():
            self.keep(digest, content, [repository])
        for manifest in image.all_manifests():
            self._put(repository, manifest)
        return image

    def touch(self, digest: Digest, content: bytes | None = None) -> None:
        """Somebody wrote to the file: another mtime, perhaps other bytes."""
        self.contents[digest] = self.contents[digest] if content is None else content
        self._mtimes[digest] = self._next_mtime()

    def remove(self, digest: Digest) -> None:
        """The file is gone, links stay."""
        self.contents.pop(digest, None)

    # What a spool does to it

    def keep(self, digest: Digest, content: bytes, repositories: Iterable[Repository]) -> None:
        """A complete blob and its links; bytes that are there stay."""
        if digest not in self.contents:
            self.contents[digest] = content
            self._mtimes[digest] = self._next_mtime()
        for repository in repositories:
            self._write_link(repository, digest, Kind.BLOB, BLOB_TYPE, "fetch")

    def trust(self, digest: Digest, repositories: Iterable[Repository]) -> None:
        """The blob was hashed again and is right: its links trust it as it is now."""
        for (_, held), kinds in self._links.items():
            if held == digest:
                for kind, link in kinds.items():
                    kinds[kind] = attrs.evolve(
                        link, mtime_ns=self._mtimes[digest], size_bytes=len(self.contents[digest])
                    )
        self.keep(digest, self.contents[digest], repositories)

    def quarantine(self, digest: Digest) -> None:
        """The blob is wrong: it leaves ``blobs/``."""
        self.quarantined[digest] = self.contents.pop(digest)

    def _next_mtime(self) -> int:
        self._writes += 1
        return int(self._clock.seconds() * 1e9) + self._writes

    def _stamp(self, repository: Repository) -> float:
        """Now: never before an earlier stamp, and after the last revocation, as on disk."""
        revoked_s = self.revoked_s(repository)
        self._last_s = max(self._clock.seconds(), self._last_s, nextafter(revoked_s, inf) if revoked_s else 0)
        return self._last_s

    def _write_link(
        self, repository: Repository, digest: Digest, kind: Kind, media_type: str, source: str
    ) -> None:
        link = Link(
            len(self.contents[digest]), self._mtimes[digest], media_type, self._stamp(repository), source
        )
        self._links.setdefault((repository, digest), {})[kind] = link

    # ILocalStore

    def link(self, repository: Repository, digest: Digest) -> tuple[Kind, Link] | None:
        """See ILocalStore; as a manifest when it is held as both."""
        kinds = self._links.get((repository, digest), {})
        for kind in (Kind.MANIFEST, Kind.BLOB):
            if kind in kinds:
                return kind, kinds[kind]
        return None

    def holds(self, digest: Digest) -> int | None:
        """See ILocalStore."""
        return len(self.contents[digest]) if digest in self.contents else None

    def grant(
        self, repository: Repository, digest: Digest, kind: Kind, media_type: str, source: str
    ) -> Deferred[None]:
        """See ILocalStore."""
        return Deferred.fromCoroutine(self._grant(repository, digest, kind, media_type, source))

    async def _grant(
        self, repository: Repository, digest: Digest, kind: Kind, media_type: str, source: str
    ) -> None:
        await self.script.enter(Call("grant", repository, digest))
        if digest not in self.contents:
            raise ContentMissing("there is no such blob to link to")
        self._write_link(repository, digest, kind, media_type, source)

    def put(self, repository: Repository, manifest: Manifest) -> Deferred[None]:
        """See ILocalStore; StorageFailed for more than ``room_bytes``."""
        return Deferred.fromCoroutine(self._put_scripted(repository, manifest))

    async def _put_scripted(self, repository: Repository, manifest: Manifest) -> None:
        await self.script.enter(Call("put", repository, manifest.digest))
        if self.room_bytes is not None and len(manifest.content) > self.room_bytes:
            raise StorageFailed("no space left on device")
        self._put(repository, manifest)

    def _put(self, repository: Repository, manifest: Manifest) -> None:
        self.keep(manifest.digest, manifest.content, [])
        self._write_link(repository, manifest.digest, Kind.MANIFEST, manifest.media_type, "fetch")

    def spool(self, digest: Digest) -> Deferred[ISpool]:
        """See ILocalStore."""
        return Deferred.fromCoroutine(self._spool(digest))

    async def _spool(self, digest: Digest) -> ISpool:
        await self.script.enter(Call("spool", None, digest))
        self.spools.append(MemorySpool(digest, self))
        return self.spools[-1]

    def adopt(self, digest: Digest) -> Deferred[tuple[ISpool, IBlob]]:
        """See ILocalStore."""
        return Deferred.fromCoroutine(self._adopt(digest))

    async def _adopt(self, digest: Digest) -> tuple[ISpool, IBlob]:
        await self.script.enter(Call("adopt", None, digest))
        if digest not in self.contents:
            raise ContentMissing("there is no such blob to adopt")
        self.spools.append(MemorySpool(digest, self, self.contents[digest]))
        return self.spools[-1], self.open_blob(digest)

    def open_blob(self, digest: Digest) -> MemoryBlob:
        """A blob of what is under ``blobs/`` now."""
        self.opened.append(MemoryBlob(Feed.whole(self.contents[digest]), How.HIT))
        return self.opened[-1]

    def trusted(self, repository: Repository, digest: Digest, kinds: tuple[Kind, ...]) -> Link:
        """The link that lets ``repository`` serve it; ContentMissing or ContentUntrusted."""
        held = self._links.get((repository, digest), {})
        revoked_s = self.revoked_s(repository)
        proven = (held[kind] for kind in kinds if kind in held)
        link = next((link for link in proven if not revoked_s or link.since_s > revoked_s), None)
        content = self.contents.get(digest)
        if link is None or content is None or len(content) != link.size_bytes:
            raise ContentMissing("it is not in the store")
        if self._mtimes[digest] != link.mtime_ns:
            raise ContentUntrusted("it was touched since it was verified")
        return link

    def tag(self, repository: Repository, tag: Tag) -> TagRecord | None:
        """See ILocalStore."""
        return self._tags.get((repository, tag))

    def set_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> Deferred[None]:
        """See ILocalStore."""
        return Deferred.fromCoroutine(self._set_tag(repository, tag, record))

    async def _set_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> None:
        await self.script.enter(Call("set_tag", repository, tag))
        before = self._tags.get((repository, tag))
        history = before.history if before is not None else ()
        if not history or history[-1][0] != record.descriptor.digest:
            history = (*history, (record.descriptor.digest, record.checked_s))[-HISTORY_LENGTH:]
        self._tags[repository, tag] = attrs.evolve(record, history=history)

    def drop_tag(self, repository: Repository, tag: Tag) -> Deferred[None]:
        """See ILocalStore."""
        return Deferred.fromCoroutine(self._drop_tag(repository, tag))

    async def _drop_tag(self, repository: Repository, tag: Tag) -> None:
        await self.script.enter(Call("drop_tag", repository, tag))
        self._tags.pop((repository, tag), None)

    def tags(self, repository: Repository) -> Deferred[tuple[str, ...]]:
        """See ILocalStore."""
        return Deferred.fromCoroutine(self._tag_names(repository))

    async def _tag_names(self, repository: Repository) -> tuple[str, ...]:
        await self.script.enter(Call("tags", repository))
        return tuple(sorted(tag.name for held, tag in self._tags if held == repository))

    def revoke(self, repository: Repository) -> Deferred[None]:
        """See ILocalStore."""
        return Deferred.fromCoroutine(self._revoke(repository))

    async def _revoke(self, repository: Repository) -> None:
        await self.script.enter(Call("revoke", repository))
        self._revoked[repository] = self._stamp(repository) or nextafter(0.0, inf)

    def revoked_s(self, repository: Repository) -> float:
        """See ILocalStore."""
        return self._revoked.get(repository, 0.0)


@implementer(IBlobSource)
class _LocalBlobs:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def stat(self, repository: Repository, digest: Digest) -> Deferred[int]:
        return Deferred.fromCoroutine(self._stat(repository, digest))

    async def _stat(self, repository: Repository, digest: Digest) -> int:
        await self._store.script.enter(Call("blobs.stat", repository, digest))
        return self._store.trusted(repository, digest, (Kind.BLOB, Kind.MANIFEST)).size_bytes

    def open(self, repository: Repository, digest: Digest) -> Deferred[IBlob]:
        return Deferred.fromCoroutine(self._open(repository, digest))

    async def _open(self, repository: Repository, digest: Digest) -> IBlob:
        await self._store.script.enter(Call("blobs.open", repository, digest))
        self._store.trusted(repository, digest, (Kind.BLOB, Kind.MANIFEST))
        return self._store.open_blob(digest)


@implementer(IManifestSource)
class _LocalManifests:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def stat(self, repository: Repository, digest: Digest) -> Deferred[Descriptor]:
        return Deferred.fromCoroutine(self._stat(repository, digest))

    async def _stat(self, repository: Repository, digest: Digest) -> Descriptor:
        await self._store.script.enter(Call("manifests.stat", repository, digest))
        link = self._store.trusted(repository, digest, (Kind.MANIFEST,))
        return Descriptor(digest, link.size_bytes, link.media_type)

    def get(self, repository: Repository, digest: Digest) -> Deferred[Manifest]:
        return Deferred.fromCoroutine(self._get(repository, digest))

    async def _get(self, repository: Repository, digest: Digest) -> Manifest:
        await self._store.script.enter(Call("manifests.get", repository, digest))
        link = self._store.trusted(repository, digest, (Kind.MANIFEST,))
        return Manifest(self._store.contents[digest], link.media_type, digest)
