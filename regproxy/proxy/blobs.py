"""The proxy blob store: from the disk, else from the fill that runs, else by a new fill.

Laws: a hit asks nobody. A miss is one upstream GET, no HEAD before it (P15). Bytes that are here
for another repository cost one HEAD, not a transfer. A file that was touched is read again as a
fill whose source is the disk, and the upstream is its second source. A disk that refuses costs the
copy, not the pull.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from regproxy.errors import ContentError, ContentMissing, ContentUntrusted, Denied, NotFound, StorageFailed
from regproxy.fill.passing import PassingBlob
from regproxy.fill.source import Source
from regproxy.fill.table import FillTable
from regproxy.interfaces import (
    NOBODY,
    IBlob,
    IBlobSource,
    ILocalStore,
    IRemoteRegistry,
    ISpool,
    IUses,
    Kind,
)
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.proxy.permission import Permission, Proof

_log = Logger()

T = TypeVar("T")


@implementer(IBlobSource)
class ProxyBlobStore:
    """Blobs of every upstream, kept as they pass."""

    def __init__(
        self,
        store: ILocalStore,
        remotes: Mapping[str, IRemoteRegistry],
        fills: FillTable,
        permission: Permission,
        uses: IUses = NOBODY,
    ) -> None:
        self._uses = uses
        self._store = store
        self._remotes = remotes
        self._fills = fills
        self._permission = permission

    def stat(self, repository: Repository, digest: Digest) -> Deferred[int | None]:
        """As :meth:`IBlobSource.stat`; a cold blob is one upstream HEAD, never a transfer (R36)."""
        return Deferred.fromCoroutine(self._stat(repository, digest)).addCallback(
            self._used, repository, digest
        )

    def open(self, repository: Repository, digest: Digest) -> Deferred[IBlob]:
        """As :meth:`IBlobSource.open`; what was not on disk is from then on."""
        return Deferred.fromCoroutine(self._open(repository, digest)).addCallback(
            self._used, repository, digest
        )

    def _used(self, given: T, repository: Repository, digest: Digest) -> T:
        self._uses.used(repository, digest)
        return given

    async def _stat(self, repository: Repository, digest: Digest) -> int | None:
        try:
            return await self._store.blobs.stat(repository, digest)
        except ContentError:
            pass
        fill = self._fills.running(digest)
        if fill is not None and fill.serves(repository):
            size = fill.size_for(repository)
            if size is not None:
                return size
        return (await self._permission.prove(repository, digest, Kind.BLOB)).size_bytes

    async def _open(self, repository: Repository, digest: Digest) -> IBlob:
        proven_s: float | None = None
        while True:
            try:
                return await self._store.blobs.open(repository, digest)
            except ContentUntrusted:
                return await self._read_again(repository, digest, proven_s)
            except ContentMissing:
                proven_s = proven_s or self._permission.remembered_s(repository, digest)
            if proven_s is not None or not self._here_for_another(repository, digest):
                return await self._fetch(repository, digest, proven_s)
            proof = await self._permission.prove(repository, digest, Kind.BLOB)
            proven_s = proof.since_s
            if self._is_here_unlinked(repository, digest, proof):
                return await self._read_again(repository, digest, proven_s)

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

    async def _fetch(self, repository: Repository, digest: Digest, proven_s: float | None) -> IBlob:
        try:
            return await self._fills.open(digest, self._upstream(repository, digest, proven_s))
        except StorageFailed as error:
            return await self._pass_through(repository, digest, error)

    async def _pass_through(self, repository: Repository, digest: Digest, error: StorageFailed) -> IBlob:
        """A disk that refuses never fails a pull: each reader has a transfer of its own, nothing is kept."""
        _log.error("{digest} cannot be kept: {error}", digest=str(digest), error=error.message)
        blob = await self._remotes[repository.upstream].blobs.open(repository, digest)
        return PassingBlob(blob, digest, repository.upstream)

    def _upstream(self, repository: Repository, digest: Digest, proven_s: float | None) -> Source:
        remote = self._remotes[repository.upstream]

        async def begin() -> tuple[ISpool, IBlob]:
            try:
                blob = await remote.blobs.open(repository, digest)
            except (NotFound, Denied):
                await self._permission.take_back(repository, digest, Kind.BLOB)
                raise
            try:
                return await self._store.spool(digest), blob
            except BaseException:
                blob.close()
                raise

        asked_s = self._store.stamp(repository)
        return Source(repository, lambda: Deferred.fromCoroutine(begin()), asked_s, proven_s)

    async def _read_again(self, repository: Repository, digest: Digest, proven_s: float | None) -> IBlob:
        if self._fills.running(digest) is None:
            _log.warn("{digest} is hashed again while it is served", digest=str(digest))
        proven_s = proven_s or self._permission.remembered_s(repository, digest)
        asked_s = self._store.stamp(repository)
        disk = Source(repository, lambda: self._store.adopt(digest), asked_s, proven_s, local=True)
        try:
            return await self._fills.open(digest, disk, self._upstream(repository, digest, proven_s))
        except StorageFailed as error:
            return await self._pass_through(repository, digest, error)
