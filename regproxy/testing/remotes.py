"""An upstream registry in memory: IRemoteRegistry with failures, gates and bodies fed by hand."""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import Deferred
from zope.interface import implementer

from regproxy.errors import InvalidManifest, NotFound
from regproxy.interfaces import (
    How,
    IBlob,
    IBlobSource,
    IManifestSource,
    IRemoteRegistry,
    IRemoteTags,
    RemoteTag,
)
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.testing.bodies import Feed, MemoryBlob
from regproxy.testing.calls import Call, Script
from regproxy.testing.contents import Holding
from regproxy.testing.images import Image

T = TypeVar("T")


@implementer(IRemoteRegistry)
class MemoryRemote:
    """One upstream. Operations for ``script``: ``blobs.stat``, ``blobs.open``, ``manifests.stat``,
    ``manifests.get``, ``tags.get``, ``tags.stat``, ``tags.list``, ``check_credentials``, ``close``.
    """

    def __init__(self, name: str = "registry.test") -> None:
        self.name = name
        self.script = Script()
        self.closed = False
        self.opened: list[MemoryBlob] = []
        """Every blob that was opened, the oldest first."""
        self._holdings: dict[Repository, Holding] = {}
        self._feeds: dict[tuple[Repository, Digest], Feed] = {}
        self.blobs: IBlobSource = _RemoteBlobs(self)
        self.manifests: IManifestSource = _RemoteManifests(self)
        self.tags: IRemoteTags = _RemoteTags(self)

    def repository(self, path: str) -> Repository:
        """A repository of this upstream."""
        return Repository.parse(self.name, path)

    def holding(self, repository: Repository) -> Holding:
        """The repository's content: put and delete in it as you like."""
        return self._holdings.setdefault(repository, Holding())

    def put_image(self, repository: Repository, tag: str | None, image: Image) -> Image:
        """All of ``image``, its top under ``tag``."""
        self.holding(repository).put_image(image, tag)
        return image

    def put_blob(self, repository: Repository, content: bytes, algorithm: str = "sha256") -> Digest:
        """A blob."""
        digest = Digest.of(content, algorithm)
        self.holding(repository).blobs[digest] = content
        return digest

    def feed(self, repository: Repository, digest: Digest, feed: Feed) -> Feed:
        """From now on opening this blob reads from ``feed``, whatever is held."""
        self._feeds[repository, digest] = feed
        return feed

    def check_credentials(self) -> Deferred[None]:
        """See IRemoteRegistry; fine unless scripted."""
        return Deferred.fromCoroutine(self.script.enter(Call("check_credentials")))

    def close(self) -> Deferred[None]:
        """See IRemoteRegistry."""
        self.closed = True
        return Deferred.fromCoroutine(self.script.enter(Call("close")))

    def there(self, found: T | None) -> T:
        """What was found, or NotFound."""
        if found is None:
            raise NotFound(self.name, "it is not there (404)")
        return found

    def find_feed(self, repository: Repository, digest: Digest) -> Feed:
        """The feed that was set, else one of what is held."""
        if (repository, digest) in self._feeds:
            return self._feeds[repository, digest]
        return Feed.whole(self.there(self.holding(repository).blob(str(digest))))


@implementer(IBlobSource)
class _RemoteBlobs:
    def __init__(self, remote: MemoryRemote) -> None:
        self._remote = remote

    def stat(self, repository: Repository, digest: Digest) -> Deferred[int]:
        return Deferred.fromCoroutine(self._stat(repository, digest))

    async def _stat(self, repository: Repository, digest: Digest) -> int:
        await self._remote.script.enter(Call("blobs.stat", repository, digest))
        return self._remote.there(self._remote.find_feed(repository, digest).size)

    def open(self, repository: Repository, digest: Digest) -> Deferred[IBlob]:
        return Deferred.fromCoroutine(self._open(repository, digest))

    async def _open(self, repository: Repository, digest: Digest) -> IBlob:
        await self._remote.script.enter(Call("blobs.open", repository, digest))
        blob = MemoryBlob(self._remote.find_feed(repository, digest), How.MISS)
        self._remote.opened.append(blob)
        return blob


@implementer(IManifestSource)
class _RemoteManifests:
    def __init__(self, remote: MemoryRemote) -> None:
        self._remote = remote

    def stat(self, repository: Repository, digest: Digest) -> Deferred[Descriptor]:
        return Deferred.fromCoroutine(self._stat(repository, digest))

    async def _stat(self, repository: Repository, digest: Digest) -> Descriptor:
        await self._remote.script.enter(Call("manifests.stat", repository, digest))
        return self._find(repository, digest).descriptor

    def get(self, repository: Repository, digest: Digest) -> Deferred[Manifest]:
        return Deferred.fromCoroutine(self._get(repository, digest))

    async def _get(self, repository: Repository, digest: Digest) -> Manifest:
        await self._remote.script.enter(Call("manifests.get", repository, digest))
        found = self._find(repository, digest)
        if not digest.matches(found.content):
            raise InvalidManifest("the bytes do not match the digest they were asked for by")
        return found

    def _find(self, repository: Repository, digest: Digest) -> Manifest:
        return self._remote.there(self._remote.holding(repository).manifests.get(digest))


@implementer(IRemoteTags)
class _RemoteTags:
    def __init__(self, remote: MemoryRemote) -> None:
        self._remote = remote

    def get(self, repository: Repository, tag: Tag) -> Deferred[RemoteTag]:
        return Deferred.fromCoroutine(self._get(repository, tag))

    async def _get(self, repository: Repository, tag: Tag) -> RemoteTag:
        await self._remote.script.enter(Call("tags.get", repository, tag))
        manifest = self._find(repository, tag)
        return RemoteTag(manifest.descriptor, f'"{manifest.digest}"', manifest)

    def stat(self, repository: Repository, tag: Tag, known: RemoteTag | None) -> Deferred[RemoteTag | None]:
        return Deferred.fromCoroutine(self._stat(repository, tag, known))

    async def _stat(self, repository: Repository, tag: Tag, known: RemoteTag | None) -> RemoteTag | None:
        await self._remote.script.enter(Call("tags.stat", repository, tag))
        manifest = self._find(repository, tag)
        if known is not None and known.descriptor.digest == manifest.digest:
            return None
        return RemoteTag(manifest.descriptor, f'"{manifest.digest}"')

    def list(self, repository: Repository) -> Deferred[tuple[str, ...]]:
        return Deferred.fromCoroutine(self._list(repository))

    async def _list(self, repository: Repository) -> tuple[str, ...]:
        await self._remote.script.enter(Call("tags.list", repository))
        held = self._remote.holding(repository)
        self._remote.there(held.tags or held.manifests or held.blobs or None)
        return tuple(sorted(held.tags))

    def _find(self, repository: Repository, tag: Tag) -> Manifest:
        return self._remote.there(self._remote.holding(repository).manifest(tag.name))
