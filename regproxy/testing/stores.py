"""The store in memory: ILocalStore that forgets at the end, with failures and gates by script."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from regproxy.errors import ContentMissing, ContentUntrusted, InvalidManifest, StorageFailed
from regproxy.interfaces import (
    How,
    IBlob,
    IBlobSource,
    ILocalStore,
    IManifestSource,
    ISpool,
    Kind,
    Leftover,
    TagRecord,
)
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.storage.tags import carry_on
from regproxy.testing.bodies import Feed, MemoryBlob
from regproxy.testing.calls import Call
from regproxy.testing.images import Image
from regproxy.testing.shelf import MemoryShelf
from regproxy.testing.spools import MemorySpool


@implementer(ILocalStore)
class MemoryStore(MemoryShelf):
    """A store. Operations for ``script``: ``blobs.stat``, ``blobs.open``, ``manifests.stat``,
    ``manifests.get``, ``grant``, ``unlink``, ``put``, ``spool``, ``take``, ``adopt``, ``set_tag``,
    ``drop_tag``, ``tags``, ``revoke``, and those of MemorySpool.
    """

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__(clock)
        self.spools: list[MemorySpool] = []
        """Every spool that was made, the oldest first."""
        self.at_hand = True
        """Whether manifests are in memory, so that reading them is no operation of ``script``."""
        self.refusing = False
        """What ``refuses()`` says; failures are by ``script``."""
        self.opened: list[MemoryBlob] = []
        self._tags: dict[tuple[Repository, Tag], TagRecord] = {}
        self.blobs: IBlobSource = _LocalBlobs(self)
        self.manifests: IManifestSource = _LocalManifests(self)

    # What tests do to it

    def put_blob(self, repository: Repository, content: bytes, algorithm: str = "sha256") -> Digest:
        """A complete blob that ``repository`` holds."""
        digest = Digest.of(content, algorithm)
        self._keep_blob(repository, digest, content)
        return digest

    def put_image(self, repository: Repository, image: Image) -> Image:
        """All of ``image``, held by ``repository``; no tag."""
        for digest, content in image.all_blobs().items():
            self._keep_blob(repository, digest, content)
        for manifest in image.all_manifests():
            self._keep_manifest(repository, manifest, self.stamp(repository))
        return image

    def _keep_blob(self, repository: Repository, digest: Digest, content: bytes) -> None:
        if digest not in self._files:
            self.place(digest, content)
        self.link_fetched({repository: self.stamp(repository)}, digest)

    # ILocalStore

    def manifest_at_hand(self, repository: Repository, digest: Digest) -> Manifest | None:
        """See ILocalStore; nothing while ``cold``, or where ``at_hand`` is False."""
        if self.cold or not self.at_hand or digest not in self._files or not self.trusts(digest):
            return None
        try:
            link = self.permitted(repository, digest, (Kind.MANIFEST,))
        except ContentMissing:
            return None
        return Manifest(bytes(self._files[digest].content), link.media_type, digest)

    def holds(self, digest: Digest) -> int | None:
        """See ILocalStore."""
        return len(self._files[digest].content) if digest in self._files else None

    def capacity_bytes(self) -> int | None:
        """No end to it."""
        return None

    def refuses(self) -> bool:
        """See ILocalStore."""
        return self.refusing

    def grant(
        self, repository: Repository, digest: Digest, kind: Kind, media_type: str, source: str, since_s: float
    ) -> Deferred[None]:
        """See ILocalStore."""
        return Deferred.fromCoroutine(self._grant(repository, digest, kind, media_type, source, since_s))

    async def _grant(
        self, repository: Repository, digest: Digest, kind: Kind, media_type: str, source: str, since_s: float
    ) -> None:
        await self.script.enter(Call("grant", repository, digest))
        self.write_link(repository, digest, kind, media_type, since_s, source)

    def unlink(self, repository: Repository, digest: Digest, kind: Kind) -> Deferred[bool]:
        """See ILocalStore."""
        return Deferred.fromCoroutine(self._unlink(repository, digest, kind))

    async def _unlink(self, repository: Repository, digest: Digest, kind: Kind) -> bool:
        await self.script.enter(Call("unlink", repository, digest))
        return self.take_link(repository, digest, kind)

    def put(self, repository: Repository, manifest: Manifest, since_s: float) -> Deferred[None]:
        """See ILocalStore; StorageFailed for more than ``room_bytes``, InvalidManifest for wrong bytes."""
        return Deferred.fromCoroutine(self._put(repository, manifest, since_s))

    async def _put(self, repository: Repository, manifest: Manifest, since_s: float) -> None:
        await self.script.enter(Call("put", repository, manifest.digest))
        if not manifest.digest.matches(manifest.content):
            raise InvalidManifest("the bytes are not what their digest names")
        if self.room_bytes is not None and len(manifest.content) > self.room_bytes:
            raise StorageFailed("no space left on device")
        self._keep_manifest(repository, manifest, since_s)

    def _keep_manifest(self, repository: Repository, manifest: Manifest, since_s: float) -> None:
        if manifest.digest not in self._files or not self.trusts(manifest.digest):
            self.place(manifest.digest, manifest.content)
        self.write_link(repository, manifest.digest, Kind.MANIFEST, manifest.media_type, since_s, "fetch")

    def spool(self, digest: Digest) -> Deferred[ISpool]:
        """See ILocalStore."""
        return Deferred.fromCoroutine(self._spool(digest))

    async def _spool(self, digest: Digest) -> ISpool:
        await self.script.enter(Call("spool", None, digest))
        self.spools.append(MemorySpool(digest, self))
        return self.spools[-1]

    def left(self, digest: Digest) -> Leftover | None:
        """See ILocalStore."""
        return self.leftovers[digest].left if digest in self.leftovers else None

    def take(self, digest: Digest) -> Deferred[ISpool | None]:
        """See ILocalStore."""
        return Deferred.fromCoroutine(self._take(digest))

    async def _take(self, digest: Digest) -> ISpool | None:
        await self.script.enter(Call("take", None, digest))
        file = self.leftovers.pop(digest, None)
        if file is None:
            return None
        self.spools.append(MemorySpool(digest, self, left=file))
        return self.spools[-1]

    def adopt(self, digest: Digest) -> Deferred[tuple[ISpool, IBlob]]:
        """See ILocalStore."""
        return Deferred.fromCoroutine(self._adopt(digest))

    async def _adopt(self, digest: Digest) -> tuple[ISpool, IBlob]:
        await self.script.enter(Call("adopt", None, digest))
        self.spools.append(MemorySpool(digest, self, self.find(digest)))
        return self.spools[-1], self.open_blob(digest)

    def open_blob(self, digest: Digest) -> MemoryBlob:
        """A blob of what is under ``blobs/`` now."""
        self.opened.append(MemoryBlob(Feed.whole(bytes(self.find(digest).content)), How.HIT))
        return self.opened[-1]

    def recheck(self, digest: Digest) -> None:
        """Hash the file again, trust it anew or set it aside; ContentMissing when it is wrong."""
        if not digest.matches(bytes(self.find(digest).content)):
            self.quarantine(digest)
            raise ContentMissing("it was damaged; it was set aside")
        self.vouch(digest)

    def tag(self, repository: Repository, tag: Tag) -> TagRecord | None:
        """See ILocalStore."""
        return self._tags.get((repository, tag))

    def peek_tag(self, repository: Repository, tag: Tag) -> TagRecord | None:
        """See ILocalStore."""
        return self._tags.get((repository, tag))

    def set_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> Deferred[None]:
        """See ILocalStore."""
        return Deferred.fromCoroutine(self._set_tag(repository, tag, record))

    async def _set_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> None:
        await self.script.enter(Call("set_tag", repository, tag))
        self._tags[repository, tag] = carry_on(self._tags.get((repository, tag)), record)

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

    def repositories(
        self, upstream: str, visible: Callable[[Repository], bool], after: str | None, count: int
    ) -> Deferred[tuple[str, ...]]:
        """See ILocalStore."""
        held = {repository for repository, _ in self._links if repository.upstream == upstream}
        names = sorted(each.path for each in held if each.path > (after or "") and visible(each))
        return succeed(tuple(names[:count]))

    def revoke(self, repository: Repository) -> Deferred[None]:
        """See ILocalStore. It counts at once, also where its record fails by script."""
        self.mark_revoked(repository)
        return Deferred.fromCoroutine(self.script.enter(Call("revoke", repository)))


@implementer(IBlobSource)
class _LocalBlobs:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def stat(self, repository: Repository, digest: Digest) -> Deferred[int | None]:
        return Deferred.fromCoroutine(self._stat(repository, digest))

    async def _stat(self, repository: Repository, digest: Digest) -> int | None:
        await self._store.script.enter(Call("blobs.stat", repository, digest))
        return self._store.permitted(repository, digest, (Kind.BLOB, Kind.MANIFEST)).size_bytes

    def open(self, repository: Repository, digest: Digest) -> Deferred[IBlob]:
        return Deferred.fromCoroutine(self._open(repository, digest))

    async def _open(self, repository: Repository, digest: Digest) -> IBlob:
        await self._store.script.enter(Call("blobs.open", repository, digest))
        self._store.permitted(repository, digest, (Kind.BLOB, Kind.MANIFEST))
        if not self._store.trusts(digest):
            raise ContentUntrusted("it was touched since it was verified")
        return self._store.open_blob(digest)


@implementer(IManifestSource)
class _LocalManifests:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def stat(self, repository: Repository, digest: Digest) -> Deferred[Descriptor]:
        return Deferred.fromCoroutine(self._stat(repository, digest))

    async def _stat(self, repository: Repository, digest: Digest) -> Descriptor:
        await self._store.script.enter(Call("manifests.stat", repository, digest))
        link = self._store.permitted(repository, digest, (Kind.MANIFEST,))
        return Descriptor(digest, link.size_bytes, link.media_type)

    def get(self, repository: Repository, digest: Digest) -> Deferred[Manifest]:
        return Deferred.fromCoroutine(self._get(repository, digest))

    async def _get(self, repository: Repository, digest: Digest) -> Manifest:
        await self._store.script.enter(Call("manifests.get", repository, digest))
        link = self._store.permitted(repository, digest, (Kind.MANIFEST,))
        if not self._store.trusts(digest):
            self._store.recheck(digest)
        return Manifest(bytes(self._store.find(digest).content), link.media_type, digest)
