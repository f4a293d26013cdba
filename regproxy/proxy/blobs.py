"""The proxy blob store: from the disk, else from the fill that runs, else by a new fill.

Laws: a hit asks nobody. A miss is one upstream GET, no HEAD before it (P15). Bytes that are here
for another repository cost one HEAD, not a transfer. A file that was touched is read again as a
fill whose source is the disk, and the upstream is its second source. A disk that refuses costs the
copy, not the pull.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from regproxy.errors import ContentError, ContentMissing, ContentUntrusted, StorageFailed
from regproxy.fill.passing import PassingBlob
from regproxy.fill.source import Source
from regproxy.fill.table import FillTable
from regproxy.interfaces import IBlob, IBlobSource, ILocalStore, IRemoteRegistry, ISpool, Kind
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.proxy.permission import Permission

_log = Logger()


@implementer(IBlobSource)
class ProxyBlobStore:
    """Blobs of every upstream, kept as they pass."""

    def __init__(
        self,
        store: ILocalStore,
        remotes: Mapping[str, IRemoteRegistry],
        fills: FillTable,
        permission: Permission,
    ) -> None:
        self._store = store
        self._remotes = remotes
        self._fills = fills
        self._permission = permission

    def stat(self, repository: Repository, digest: Digest) -> Deferred[int]:
        """As :meth:`IBlobSource.stat`; a cold blob is one upstream HEAD, never a transfer (R36)."""
        return Deferred.fromCoroutine(self._stat(repository, digest))

    def open(self, repository: Repository, digest: Digest) -> Deferred[IBlob]:
        """As :meth:`IBlobSource.open`; what was not on disk is from then on."""
        return Deferred.fromCoroutine(self._open(repository, digest))

    async def _stat(self, repository: Repository, digest: Digest) -> int:
        try:
            return await self._store.blobs.stat(repository, digest)
        except ContentError:
            pass
        fill = self._fills.running(digest)
        if fill is not None and fill.size is not None and fill.serves(repository):
            return fill.size
        return await self._permission.prove(repository, digest, Kind.BLOB)

    async def _open(self, repository: Repository, digest: Digest) -> IBlob:
        proven = False
        while True:
            try:
                return await self._store.blobs.open(repository, digest)
            except ContentUntrusted:
                return await self._read_again(repository, digest)
            except ContentMissing:
                proven = proven or self._permission.remembered(repository, digest)
            if proven or not self._here_for_another(repository, digest):
                break
            await self._permission.prove(repository, digest, Kind.BLOB)
            proven = True
        try:
            return await self._fills.open(digest, self._upstream(repository, digest, proven))
        except StorageFailed as error:
            return await self._pass_through(repository, digest, error)

    async def _pass_through(self, repository: Repository, digest: Digest, error: StorageFailed) -> IBlob:
        """A disk that refuses never fails a pull: each reader has a transfer of its own, nothing is kept."""
        _log.error("{digest} cannot be kept: {error}", digest=str(digest), error=error.message)
        blob = await self._remotes[repository.upstream].blobs.open(repository, digest)
        return PassingBlob(blob, digest, repository.upstream)

    def _here_for_another(self, repository: Repository, digest: Digest) -> bool:
        """Whether the bytes are on disk, or arriving, by another repository's right."""
        fill = self._fills.running(digest)
        if fill is not None:
            return not fill.serves(repository)
        return self._store.holds(digest) is not None

    def _upstream(self, repository: Repository, digest: Digest, proven: bool) -> Source:
        remote = self._remotes[repository.upstream]

        async def begin() -> tuple[ISpool, IBlob]:
            blob = await remote.blobs.open(repository, digest)
            try:
                return await self._store.spool(digest), blob
            except BaseException:
                blob.close()
                raise

        return Source(repository, lambda: Deferred.fromCoroutine(begin()), proven)

    async def _read_again(self, repository: Repository, digest: Digest) -> IBlob:
        if self._fills.running(digest) is None:
            _log.warn(
                "{digest} was touched on disk: it is hashed again while it is served", digest=str(digest)
            )
        disk = Source(repository, lambda: self._store.adopt(digest), proven=True, local=True)
        return await self._fills.open(digest, disk, self._upstream(repository, digest, proven=False))
