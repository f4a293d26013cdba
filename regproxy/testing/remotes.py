"""An upstream registry in memory: IRemoteRegistry with failures, gates and bodies fed by hand."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from regproxy.errors import (
    ContentMismatch,
    Denied,
    NotFound,
    RangeIgnored,
    Throttled,
    TransferStopped,
    UpstreamError,
    UpstreamFailed,
)
from regproxy.interfaces import (
    Allowance,
    Circuit,
    How,
    IBlob,
    IBody,
    IManifestSource,
    IRangedBlob,
    IRemoteBlobs,
    IRemoteRegistry,
    IRemoteTags,
    RemoteTag,
    Standing,
)
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag
from regproxy.testing.bodies import Feed, MemoryBlob, MemoryBody
from regproxy.testing.calls import Call, Script
from regproxy.testing.contents import Holding
from regproxy.testing.images import Image

T = TypeVar("T")


@implementer(IRemoteRegistry)
class MemoryRemote:
    """One upstream. Operations for ``script``: ``blobs.stat``, ``blobs.open``, ``blobs.open_from``,
    ``blobs.piece``, ``blobs.resume``, ``manifests.stat``, ``manifests.get``, ``tags.get``, ``tags.stat``,
    ``tags.list``, ``check_credentials``, ``close``.
    """

    def __init__(self, name: str = "registry.test") -> None:
        self.name = name
        self.script = Script()
        self.closed = False
        self.opened: list[MemoryBlob] = []
        """Every blob that was opened, the oldest first."""
        self.ranged = False
        """Whether blobs of a known size may be read by pieces."""
        self.piece_from: Callable[[Feed, int, int], Feed] = lambda feed, start, stop: feed
        """What the bytes from an offset up to another are read from, where a blob is read from a feed."""
        self.resumed_from: Callable[[Feed, int], Feed] = lambda feed, start: feed
        """The same for all bytes from an offset on."""
        self.etag: str | None = None
        """What blobs are opened with."""
        self.stands = Standing()
        """What :meth:`standing` says."""
        self.allows = Allowance()
        """What :meth:`allowance` says."""
        self.warns: dict[tuple[Repository, Reference | None], tuple[str, ...]] = {}
        """What :meth:`warnings` says."""
        self._holdings: dict[Repository, Holding] = {}
        self._feeds: dict[tuple[Repository, Digest], Feed] = {}
        self._read: list[Feed] = []
        self._error: UpstreamError | None = None
        self._running: set[Deferred[Any]] = set()
        self.blobs: IRemoteBlobs = _RemoteBlobs(self)
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

    def answer(self, status: int | None, retry_after_s: int | None = None) -> None:
        """From now on everything fails as with this HTTP status, as a real upstream's answers do;
        None: no longer."""
        reason = f"the upstream was told to answer {status}"
        if status is None:
            self._error = None
        elif status == 429:
            self._error = Throttled(self.name, reason, retry_after_s)
        elif status in (401, 403):
            self._error = Denied(self.name, reason)
        else:
            kind = NotFound if status in (404, 410) else UpstreamFailed
            self._error = kind(self.name, reason)

    def run(self, call: Call, work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        """Do ``work`` after what the script says; TransferStopped when all is closed."""
        running = Deferred.fromCoroutine(self._enter(call, work))
        self._running.add(running)
        return running.addBoth(self._settle, running)

    async def _enter(self, call: Call, work: Coroutine[Deferred[Any], Any, T]) -> T:
        try:
            if self.closed:
                raise TransferStopped("the daemon ends")
            await self.script.enter(call)
            if self._error is not None:
                raise self._error
        except BaseException:
            work.close()
            raise
        return await work

    def _settle(self, result: T | Failure, running: Deferred[T]) -> T | Failure:
        self._running.discard(running)
        if self.closed and isinstance(result, Failure) and result.check(CancelledError):
            return Failure(TransferStopped("the daemon ends"))
        return result

    def check_credentials(self) -> Deferred[None]:
        """See IRemoteRegistry; fine unless scripted."""
        return Deferred.fromCoroutine(self.script.enter(Call("check_credentials")))

    def answers(self) -> Deferred[bool]:
        """See IRemoteRegistry; True unless scripted to fail."""
        asking = Deferred.fromCoroutine(self.script.enter(Call("answers")))
        return asking.addCallbacks(
            lambda _: True, lambda failure: failure.trap(UpstreamError, TransferStopped) is None
        )

    def standing(self) -> Standing:
        """See IRemoteRegistry."""
        return self.stands

    def endpoints(self) -> Sequence[tuple[str, Standing]]:
        """See IRemoteRegistry."""
        return [(self.name, self.stands)]

    def allowance(self) -> Allowance:
        """See IRemoteRegistry."""
        return self.allows

    def warnings(self, repository: Repository, reference: Reference | None) -> tuple[str, ...]:
        """See IRemoteRegistry."""
        return self.warns.get((repository, reference), ())

    def set_offline(self, offline: bool, since_s: float | None = None) -> bool:
        """See IRemoteRegistry; only :meth:`standing` tells it."""
        news = offline != (self.stands.circuit is Circuit.OFFLINE)
        self.stands = Standing(Circuit.OFFLINE, since_s) if offline else Standing()
        return news

    def close(self) -> Deferred[None]:
        """See IRemoteRegistry: what is under way and what comes after fails with TransferStopped."""
        self.closed = True
        for running in tuple(self._running):
            running.cancel()
        for feed in self._read:
            if not feed.ended:
                feed.fail(TransferStopped("the daemon ends"))
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

    def read_feed(self, feed: Feed, start: int, stop: int | None = None) -> IBody:
        """The bytes of ``feed`` from ``start`` on, up to ``stop``."""
        self._read.append(feed)
        return MemoryBody(feed, start, feed.size if stop is None else stop)

    def open_feed(self, feed: Feed) -> MemoryBlob:
        """A blob that reads from ``feed``."""
        self._read.append(feed)
        self.opened.append(MemoryBlob(feed, How.MISS))
        return self.opened[-1]


@implementer(IRemoteBlobs)
class _RemoteBlobs:
    def __init__(self, remote: MemoryRemote) -> None:
        self._remote = remote

    def stat(self, repository: Repository, digest: Digest) -> Deferred[int | None]:
        return self._remote.run(Call("blobs.stat", repository, digest), self._stat(repository, digest))

    async def _stat(self, repository: Repository, digest: Digest) -> int | None:
        return self._remote.find_feed(repository, digest).size

    def open(self, repository: Repository, digest: Digest) -> Deferred[IBlob]:
        return self._remote.run(Call("blobs.open", repository, digest), self._open(repository, digest))

    async def _open(self, repository: Repository, digest: Digest) -> IRangedBlob:
        feed = self._remote.find_feed(repository, digest)
        blob = self._remote.open_feed(feed)
        blob.validator = self._remote.etag
        if self._remote.ranged and feed.size is not None:
            blob.piece = partial(self._open_piece, repository, digest, feed)
        return blob

    def open_from(
        self, repository: Repository, digest: Digest, start: int, validator: str | None
    ) -> Deferred[IRangedBlob]:
        work = self._open_from(repository, digest, start, validator)
        return self._remote.run(Call("blobs.open_from", repository, digest), work)

    async def _open_from(
        self, repository: Repository, digest: Digest, start: int, validator: str | None
    ) -> IRangedBlob:
        blob = await self._open(repository, digest)
        if self._remote.ranged and blob.size is not None and validator in (None, self._remote.etag):
            if start >= blob.size:
                raise RangeIgnored(self._remote.name, "it has fewer bytes")
            blob.start = start
        return blob

    def _open_piece(
        self, repository: Repository, digest: Digest, feed: Feed, start: int, stop: int
    ) -> Deferred[IBody]:
        work = self._piece(feed, start, stop)
        return self._remote.run(Call("blobs.piece", repository, digest), work)

    async def _piece(self, feed: Feed, start: int, stop: int) -> IBody:
        return self._remote.read_feed(self._remote.piece_from(feed, start, stop), start, stop)

    def resume(self, repository: Repository, digest: Digest, start: int, size: int | None) -> Deferred[IBody]:
        work = self._resume(repository, digest, start, size)
        return self._remote.run(Call("blobs.resume", repository, digest), work)

    async def _resume(self, repository: Repository, digest: Digest, start: int, size: int | None) -> IBody:
        feed = self._remote.find_feed(repository, digest)
        if size is not None and feed.size not in (None, size):
            raise ContentMismatch(self._remote.name, f"the blob has {feed.size} bytes now")
        return self._remote.read_feed(self._remote.resumed_from(feed, start), start)


@implementer(IManifestSource)
class _RemoteManifests:
    def __init__(self, remote: MemoryRemote) -> None:
        self._remote = remote

    def stat(self, repository: Repository, digest: Digest) -> Deferred[Descriptor]:
        return self._remote.run(Call("manifests.stat", repository, digest), self._stat(repository, digest))

    async def _stat(self, repository: Repository, digest: Digest) -> Descriptor:
        return self._find(repository, digest).descriptor

    def get(self, repository: Repository, digest: Digest) -> Deferred[Manifest]:
        return self._remote.run(Call("manifests.get", repository, digest), self._get(repository, digest))

    async def _get(self, repository: Repository, digest: Digest) -> Manifest:
        found = self._find(repository, digest)
        if not digest.matches(found.content):
            raise ContentMismatch(self._remote.name, "its bytes are not what the digest names")
        return found

    def _find(self, repository: Repository, digest: Digest) -> Manifest:
        return self._remote.there(self._remote.holding(repository).manifests.get(digest))


@implementer(IRemoteTags)
class _RemoteTags:
    def __init__(self, remote: MemoryRemote) -> None:
        self._remote = remote

    def get(self, repository: Repository, tag: Tag) -> Deferred[RemoteTag]:
        return self._remote.run(Call("tags.get", repository, tag), self._get(repository, tag))

    async def _get(self, repository: Repository, tag: Tag) -> RemoteTag:
        manifest = self._find(repository, tag)
        return RemoteTag(manifest.descriptor, f'"{manifest.digest}"', manifest)

    def stat(self, repository: Repository, tag: Tag, known: RemoteTag | None) -> Deferred[RemoteTag | None]:
        return self._remote.run(Call("tags.stat", repository, tag), self._stat(repository, tag, known))

    async def _stat(self, repository: Repository, tag: Tag, known: RemoteTag | None) -> RemoteTag | None:
        manifest = self._find(repository, tag)
        if known is not None and known.descriptor.digest == manifest.digest:
            return None
        return RemoteTag(manifest.descriptor, f'"{manifest.digest}"')

    def list(self, repository: Repository) -> Deferred[tuple[str, ...]]:
        return self._remote.run(Call("tags.list", repository), self._list(repository))

    async def _list(self, repository: Repository) -> tuple[str, ...]:
        held = self._remote.holding(repository)
        self._remote.there(held.tags or held.manifests or held.blobs or None)
        return tuple(sorted(held.tags))

    def _find(self, repository: Repository, tag: Tag) -> Manifest:
        return self._remote.there(self._remote.holding(repository).manifest(tag.name))
