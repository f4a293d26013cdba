"""The proxy blob store: from the disk, else from the fill that runs, else by a new fill.

Laws: a hit asks nobody. A miss is one upstream GET, no HEAD before it (P15). Bytes that are here
for another repository cost one HEAD, not a transfer. A file that was touched is read again as a
fill whose source is the disk, and the upstream is its second source. A disk that refuses costs the
copy, not the pull.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from regproxy.errors import ContentError, ContentMissing, ContentUntrusted, StorageFailed
from regproxy.fill.source import Source
from regproxy.fill.table import FillTable
from regproxy.interfaces import (
    NOBODY,
    BlobAnswer,
    How,
    IBlob,
    IBlobService,
    ILocalStore,
    IRemoteRegistry,
    ISpool,
    IUses,
    Kind,
)
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.proxy.ahead import LookAhead
from regproxy.proxy.fetching import Fetching
from regproxy.proxy.permission import Permission, Proof

_log = Logger()

T = TypeVar("T")


@implementer(IBlobService)
class ProxyBlobStore:
    """Blobs of every upstream, kept as they pass."""

    def __init__(
        self,
        store: ILocalStore,
        remotes: Mapping[str, IRemoteRegistry],
        fills: FillTable,
        permission: Permission,
        uses: IUses = NOBODY,
        ahead: int = 0,
    ) -> None:
        """``ahead``: so many layers of an image are fetched beside one that is asked for."""
        self._uses = uses
        self.ahead = LookAhead(
            store, fills, self._begin, ahead, lambda upstream: remotes[upstream].standing().asked
        )
        self._store = store
        self._remotes = remotes
        self._fills = fills
        self._permission = permission

    def stat(self, repository: Repository, digest: Digest) -> Deferred[int | None]:
        """As :meth:`IBlobSource.stat`; a cold blob is one upstream HEAD, never a transfer (R36)."""
        return self.look(repository, digest).addCallback(lambda answer: answer.size)

    def look(self, repository: Repository, digest: Digest) -> Deferred[BlobAnswer]:
        """As :meth:`IBlobService.look`."""
        return Deferred.fromCoroutine(self._look(repository, digest)).addCallback(
            self._used, repository, digest
        )

    def open(self, repository: Repository, digest: Digest) -> Deferred[IBlob]:
        """As :meth:`IBlobSource.open`; what was not on disk is from then on."""
        return Deferred.fromCoroutine(self._open(repository, digest)).addCallback(
            self._used, repository, digest
        )

    def bring(self, repository: Repository, digest: Digest) -> Deferred[None]:
        """Have it on the disk, though no client asks for it now. Fails as :meth:`FillTable.begin`."""
        held = self._store.holds(digest)
        return succeed(None) if held is not None else self._begin(repository, digest, awaited=True)

    def _begin(self, repository: Repository, digest: Digest, awaited: bool = False) -> Deferred[None]:
        """Fetch it for no client; fires when that is over."""
        return self._fills.begin(digest, self._upstream(repository, digest, None), awaited)

    def _used(self, given: T, repository: Repository, digest: Digest) -> T:
        self._uses.used(repository, digest)
        return given

    async def _look(self, repository: Repository, digest: Digest) -> BlobAnswer:
        try:
            return BlobAnswer(await self._store.blobs.stat(repository, digest), How.HIT)
        except (ContentError, StorageFailed):
            pass
        fill = self._fills.running(digest)
        if fill is not None and fill.serves(repository):
            size = fill.size_for(repository)
            if size is not None:
                return BlobAnswer(size, How.JOINED)
        proof = await self._permission.prove(repository, digest, Kind.BLOB)
        return BlobAnswer(proof.size_bytes, How.MISS)

    async def _open(self, repository: Repository, digest: Digest) -> IBlob:
        proven_s: float | None = None
        while True:
            try:
                blob = await self._store.blobs.open(repository, digest)
                self.ahead.used(digest)
                return blob
            except ContentUntrusted:
                return await self._read_again(repository, digest, proven_s)
            except StorageFailed:
                return await self._around_the_disk(repository, digest)
            except ContentMissing:
                proven_s = proven_s or self._permission.remembered_s(repository, digest)
            if proven_s is not None or not self._here_for_another(repository, digest):
                return await self._fetch(repository, digest, proven_s)
            proof = await self._permission.prove(repository, digest, Kind.BLOB)
            proven_s = proof.since_s
            if self._is_here_unlinked(repository, digest, proof):
                return await self._read_again(repository, digest, proven_s)

    async def _around_the_disk(self, repository: Repository, digest: Digest) -> IBlob:
        """The disk fails to read: ask who can. A fill that runs is joined by a right only, as ever."""
        fill, proven_s = self._fills.running(digest), None
        if fill is not None and not fill.serves(repository):
            proven_s = (await self._permission.prove(repository, digest, Kind.BLOB)).since_s
        return await self._fetch(repository, digest, proven_s)

    def _here_for_another(self, repository: Repository, digest: Digest) -> bool:
        """Whether the bytes are on disk, or arriving, by another repository's right."""
        fill = self._fills.running(digest)
        if fill is not None:
            return not fill.serves(repository)
        return self._store.holds(digest) is not None

    def _is_here_unlinked(self, repository: Repository, digest: Digest, proof: Proof) -> bool:
        """Whether the disk has the bytes, and did not take the link to them."""
        held = self._store.holds(digest)
        here = held is not None and proof.size_bytes in (held, None)
        return here and self._permission.remembered_s(repository, digest) is None

    def _fetch(self, repository: Repository, digest: Digest, proven_s: float | None) -> Deferred[IBlob]:
        opening = self._fills.open(digest, self._upstream(repository, digest, proven_s))
        self.ahead.asked(repository, digest)
        return opening

    def _upstream(self, repository: Repository, digest: Digest, proven_s: float | None) -> Source:
        fetching = Fetching(
            self._store,
            self._remotes[repository.upstream],
            self._permission,
            self._fills.limit,
            repository,
            digest,
            self.ahead.size_of,
        )
        return fetching.source(proven_s)

    async def _read_again(self, repository: Repository, digest: Digest, proven_s: float | None) -> IBlob:
        if self._fills.running(digest) is None:
            _log.warn("{digest} is hashed again while it is served", digest=str(digest))
        proven_s = proven_s or self._permission.remembered_s(repository, digest)
        asked_s = self._store.stamp(repository)

        async def adopted() -> tuple[ISpool | StorageFailed, IBlob]:
            return await self._store.adopt(digest)

        disk = Source(repository, lambda: Deferred.fromCoroutine(adopted()), asked_s, proven_s, local=True)
        return await self._fills.open(digest, disk, self._upstream(repository, digest, proven_s))
