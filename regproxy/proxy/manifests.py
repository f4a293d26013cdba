"""The proxy manifest store: by digest, so a hit asks nobody; a miss is fetched once and kept."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from regproxy.errors import ContentError, StorageFailed
from regproxy.interfaces import ILocalStore, IManifestSource, IRemoteRegistry, Kind
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.repository import Repository
from regproxy.proxy.permission import Permission
from regproxy.singleflight import SingleFlight

_log = Logger()


@implementer(IManifestSource)
class ProxyManifestStore:
    """Manifests of every upstream, kept as they pass."""

    def __init__(
        self, store: ILocalStore, remotes: Mapping[str, IRemoteRegistry], permission: Permission
    ) -> None:
        self._store = store
        self._remotes = remotes
        self._permission = permission
        self._flights: SingleFlight[tuple[Repository, Digest], Manifest] = SingleFlight()

    def stat(self, repository: Repository, digest: Digest) -> Deferred[Descriptor]:
        """As :meth:`IManifestSource.stat`; a cold one is one upstream HEAD (R11)."""
        return Deferred.fromCoroutine(self._stat(repository, digest))

    def get(self, repository: Repository, digest: Digest) -> Deferred[Manifest]:
        """As :meth:`IManifestSource.get`; what was not on disk is from then on (R13)."""
        return Deferred.fromCoroutine(self._get(repository, digest))

    async def keep(self, repository: Repository, manifest: Manifest) -> None:
        """Write it down; a disk that refuses costs the copy, not the pull."""
        try:
            await self._store.put(repository, manifest)
        except StorageFailed as error:
            _log.error(
                "{repository}@{digest} is not kept: {error}",
                repository=str(repository),
                digest=str(manifest.digest),
                error=error.message,
            )

    async def _stat(self, repository: Repository, digest: Digest) -> Descriptor:
        try:
            return await self._store.manifests.stat(repository, digest)
        except ContentError:
            return await self._remotes[repository.upstream].manifests.stat(repository, digest)

    async def _get(self, repository: Repository, digest: Digest) -> Manifest:
        try:
            return await self._store.manifests.get(repository, digest)
        except ContentError:
            pass
        here = self._store.holds(digest) is not None
        if here and not self._permission.remembered(repository, digest):
            await self._permission.prove(repository, digest, Kind.MANIFEST)
            try:
                return await self._store.manifests.get(repository, digest)
            except ContentError:
                pass
        return await self._flights.run((repository, digest), lambda: self._fetch(repository, digest))

    async def _fetch(self, repository: Repository, digest: Digest) -> Manifest:
        manifest = await self._remotes[repository.upstream].manifests.get(repository, digest)
        await self.keep(repository, manifest)
        return manifest
