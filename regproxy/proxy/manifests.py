"""The proxy manifest store: by digest, so a hit asks nobody; a miss is fetched once and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from regproxy.errors import ContentError, Denied, NotFound, StorageFailed
from regproxy.interfaces import (
    NOBODY,
    How,
    ILocalStore,
    IManifestService,
    IRemoteRegistry,
    IUses,
    Kind,
    TagAnswer,
)
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.repository import Repository
from regproxy.proxy.permission import Permission
from regproxy.singleflight import SingleFlight

_log = Logger()

T = TypeVar("T")


@implementer(IManifestService)
class ProxyManifestStore:
    """Manifests of every upstream, kept as they pass."""

    def __init__(
        self,
        store: ILocalStore,
        remotes: Mapping[str, IRemoteRegistry],
        permission: Permission,
        uses: IUses = NOBODY,
        served: Callable[[Repository, Digest], None] = lambda repository, digest: None,
    ) -> None:
        """``served`` is told of each that is given out."""
        self._served = served
        self._uses = uses
        self._store = store
        self._remotes = remotes
        self._permission = permission
        self._flights: SingleFlight[tuple[Repository, Digest, float], Manifest] = SingleFlight()

    def at_hand(self, repository: Repository, digest: Digest) -> Manifest | None:
        """A hit that needs no waiting; None says nothing. A use, like any other answer."""
        manifest = self._store.manifest_at_hand(repository, digest)
        return None if manifest is None else self._used(manifest, repository, digest)

    def stat(self, repository: Repository, digest: Digest) -> Deferred[Descriptor]:
        """As :meth:`IManifestSource.stat`; a cold one is one upstream HEAD (R11)."""
        return self.look(repository, digest).addCallback(lambda answer: answer.descriptor)

    def get(self, repository: Repository, digest: Digest) -> Deferred[Manifest]:
        """As :meth:`IManifestSource.get`; what was not on disk is from then on (R13)."""
        return self.fetch(repository, digest).addCallback(_manifest)

    def look(self, repository: Repository, digest: Digest) -> Deferred[TagAnswer]:
        """As :meth:`IManifestService.look`."""
        return Deferred.fromCoroutine(self._look(repository, digest)).addCallback(
            self._used, repository, digest
        )

    def fetch(self, repository: Repository, digest: Digest) -> Deferred[TagAnswer]:
        """As :meth:`IManifestService.fetch`."""
        return Deferred.fromCoroutine(self._get(repository, digest)).addCallback(
            self._used, repository, digest
        )

    def _used(self, given: T, repository: Repository, digest: Digest) -> T:
        self._uses.used(repository, digest)
        self._served(repository, digest)
        return given

    async def keep(self, repository: Repository, manifest: Manifest, since_s: float) -> None:
        """Write it down, with a proof of ``since_s``; a disk that refuses costs the copy, not the pull."""
        self._served(repository, manifest.digest)
        try:
            await self._store.put(repository, manifest, since_s)
        except StorageFailed as error:
            self._complain(repository, manifest.digest, "is not kept", error)

    def _complain(self, repository: Repository, digest: Digest, what: str, error: StorageFailed) -> None:
        if error.told:
            return
        _log.error(
            "{repository}@{digest} {what}: {error}",
            repository=str(repository),
            digest=str(digest),
            what=what,
            error=error.message,
        )

    async def _look(self, repository: Repository, digest: Digest) -> TagAnswer:
        try:
            return TagAnswer(await self._store.manifests.stat(repository, digest), None, How.HIT)
        except (ContentError, StorageFailed):
            proof = await self._permission.prove(repository, digest, Kind.MANIFEST)
            return TagAnswer(Descriptor(digest, proof.size_bytes or 0, proof.media_type), None, How.MISS)

    async def _get(self, repository: Repository, digest: Digest) -> TagAnswer:
        try:
            return _answer(await self._store.manifests.get(repository, digest), How.HIT)
        except (ContentError, StorageFailed):
            pass
        here = self._store.holds(digest) is not None
        if here and self._permission.remembered_s(repository, digest) is None:
            await self._permission.prove(repository, digest, Kind.MANIFEST)
            try:
                return _answer(await self._store.manifests.get(repository, digest), How.HIT)
            except (ContentError, StorageFailed):
                pass
        flight = repository, digest, self._store.revoked_s(repository)  # none of before a revocation
        how = How.JOINED if flight in self._flights else How.MISS
        return _answer(await self._flights.run(flight, lambda: self._fetch(repository, digest)), how)

    async def _fetch(self, repository: Repository, digest: Digest) -> Manifest:
        since_s = self._store.stamp(repository)
        try:
            manifest = await self._remotes[repository.upstream].manifests.get(repository, digest)
        except (NotFound, Denied):
            await self._permission.take_back(repository, digest, Kind.MANIFEST)
            raise
        await self.keep(repository, manifest, since_s)
        return manifest


def _answer(manifest: Manifest, how: How) -> TagAnswer:
    return TagAnswer(manifest.descriptor, manifest, how)


def _manifest(answer: TagAnswer) -> Manifest:
    assert answer.manifest is not None, "what was fetched is at hand"
    return answer.manifest
