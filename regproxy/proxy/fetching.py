"""A blob from its upstream, as a fill's source: begun anew, gone on with, read on by pieces.

Law: whatever of it is answered by 404, 401 or 403 takes the repository's right to the blob back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred

from regproxy.errors import Denied, NotFound, StorageFailed
from regproxy.fill.limit import SizeLimit
from regproxy.fill.source import Source
from regproxy.interfaces import IBlob, IBody, ILocalStore, IRangedBlob, IRemoteRegistry, ISpool, Kind
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.proxy.permission import Permission
from regproxy.proxy.resuming import discard, forget, go_on

T = TypeVar("T")


@attrs.frozen(eq=False)
class Fetching:
    """One blob of ``remote`` for ``repository``; ``size_of`` is the size that its manifest gives."""

    store: ILocalStore
    remote: IRemoteRegistry
    permission: Permission
    limit: SizeLimit
    repository: Repository
    digest: Digest
    size_of: Callable[[Repository, Digest], int | None]

    def source(self, proven_s: float | None) -> Source:
        """For a fill, asked from now on."""
        asked_s = self.store.stamp(self.repository)
        return Source(
            self.repository,
            lambda: Deferred.fromCoroutine(self._begin()),
            asked_s,
            proven_s,
            resume=self._resume,
        )

    async def _begin(self) -> tuple[ISpool | StorageFailed, IBlob]:
        found = await self._opened()
        blob = found[1]
        if IRangedBlob.providedBy(blob) and blob.piece is not None:
            blob.piece = partial(self._piece, blob.piece)
        return found

    async def _opened(self) -> tuple[ISpool | StorageFailed, IBlob]:
        store, repository, digest = self.store, self.repository, self.digest
        left = store.left(digest)
        if left is not None and not self.limit.allows(left.size_bytes):  # the settings had room for more then
            await forget(store, digest)
            left = None
        if left is not None:
            resumed = await self._allowed(
                Deferred.fromCoroutine(go_on(store, self.remote, repository, digest))
            )
            if resumed is not None:
                return await self._within_limit(*resumed)
        blob = await self._allowed(self.remote.blobs.open(repository, digest))
        size = blob.size if blob.size is not None else self.size_of(repository, digest)
        refusal = self.limit.refusal(digest, size)
        if refusal is not None:
            return refusal, blob
        try:
            return await store.spool(digest), blob
        except StorageFailed as error:
            return error, blob  # a disk that refuses never fails a pull
        except BaseException:
            blob.close()
            raise

    async def _within_limit(
        self, spool: ISpool | StorageFailed, blob: IBlob
    ) -> tuple[ISpool | StorageFailed, IBlob]:
        """Its size may be another than it was."""
        refusal = None if isinstance(spool, StorageFailed) else self.limit.refusal(self.digest, blob.size)
        if refusal is None or isinstance(spool, StorageFailed):
            return spool, blob
        await discard(spool)
        return refusal, blob

    def _piece(self, ask: Callable[[int, int], Deferred[IBody]], start: int, stop: int) -> Deferred[IBody]:
        return Deferred.fromCoroutine(self._allowed(ask(start, stop)))

    def _resume(self, start: int, size: int | None) -> Deferred[IBody]:
        asking = self.remote.blobs.resume(self.repository, self.digest, start, size)
        return Deferred.fromCoroutine(self._allowed(asking))

    async def _allowed(self, asking: Deferred[T]) -> T:
        try:
            return await asking
        except (NotFound, Denied):
            await self.permission.take_back(self.repository, self.digest, Kind.BLOB)
            raise
