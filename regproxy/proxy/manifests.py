"""The proxy manifest store: by digest, so a hit asks nobody; a miss is fetched once and kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from regproxy.errors import ContentError, Denied, NotFound, StorageFailed
from regproxy.interfaces import NOBODY, ILocalStore, IManifestSource, IRemoteRegistry, IUses, Kind
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.repository import Repository
from regproxy.proxy.permission import Permission
from regproxy.singleflight import SingleFlight

_log = Logger()

T = TypeVar("T")


@implementer(IManifestSource)
class ProxyManifestStore:
    """Manifests of every upstream, kept as they pass."""

    def __init__(
        self,
        store: ILocalStore,
        remotes: Mapping[str, IRemoteRegistry],
        permission: Permission,
        uses: IUses = NOBODY,
    ) -> None:
        self._uses = uses
        self._store = store
        self._remotes = remotes
        self._permission = permission
        self._flights: SingleFlight[tuple[Repository, Digest], Manifest] = SingleFlight()

    def stat(self, repository: Repository, digest: Digest) -> Deferred[Descriptor]:
        """As :meth:`IManifestSource.stat`; a cold one is one upstream HEAD (R11)."""
        return Deferred.fromCoroutine(self._stat(repository, digest)).addCallback(
            self._used, repository, digest
        )

    def get(self, repository: Repository, digest: Digest) -> Deferred[Manifest]:
        """As :meth:`IManifestSource.get`; what was not on disk is from then on (R13)."""
        return Deferred.fromCoroutine(self._get(repository, digest)).addCallback(
            self._used, repository, digest
        )

    def _used(self, given: T, repository: Repository, digest: Digest) -> T:
        self._uses.used(repository, digest)
        return given

    async def keep(self, repository: Repository, manifest: Manifest, since_s: float) -> None:
        """Write it down, with a proof of ``since_s``; a disk that refuses costs the copy, not the pull."""
        try:
            await self._store.put(repository, manifest, since_s)
        except StorageFailed as error:
            self._complain(repository, manifest.digest, "is not kept", error)

    def _complain(self, repository: Repository, digest: Digest, what: str, error: StorageFailed) -> None:
        _log.error(
            "{repository}@{digest} {what}: {error}",
            repository=str(repository),
            digest=str(digest),
            what=what,
            error=error.message,
        )

    async def _stat(self, repository: Repository, digest: Digest) -> Descriptor:
        try:
            return await self._store.manifests.stat(repository, digest)
        except (ContentError, StorageFailed):
            proof = await self._permission.prove(repository, digest, Kind.MANIFEST)
            return Descriptor(digest, proof.size_bytes or 0, proof.media_type)

    async def _get(self, repository: Repository, digest: Digest) -> Manifest:
        try:
            return await self._store.manifests.get(repository, digest)
        except (ContentError, StorageFailed):
            pass
        here = self._store.holds(digest) is not None
        if here and self._permission.remembered_s(repository, digest) is None:
            await self._permission.prove(repository, digest, Kind.MANIFEST)
            try:
                return await self._store.manifests.get(repository, digest)
            except (ContentError, StorageFailed):
                pass
        return await self._flights.run((repository, digest), lambda: self._fetch(repository, digest))

    async def _fetch(self, repository: Repository, digest: Digest) -> Manifest:
        since_s = self._store.stamp(repository)
        try:
            manifest = await self._remotes[repository.upstream].manifests.get(repository, digest)
        except (NotFound, Denied):
            await self._permission.take_back(repository, digest, Kind.MANIFEST)
            raise
        await self.keep(repository, manifest, since_s)
        return manifest
