"""A repository's right to serve bytes that are on disk, or on their way, for another one.

Laws (invariant 5, R41): only that repository's upstream gives it, by a 2xx to a HEAD for the digest
there. It is asked once, however many wait, and the link remembers it. That a manifest names a
digest, or that the bytes are here, gives nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred

from regproxy.interfaces import ILocalStore, IRemoteRegistry, Kind
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.singleflight import SingleFlight


class Permission:
    """Asks upstreams, and writes down what they allow."""

    def __init__(self, store: ILocalStore, remotes: Mapping[str, IRemoteRegistry]) -> None:
        self._store = store
        self._remotes = remotes
        self._flights: SingleFlight[tuple[Repository, Digest, Kind], int] = SingleFlight()

    def remembered(self, repository: Repository, digest: Digest) -> bool:
        """Whether a link says that the upstream has shown it, and nothing was revoked since."""
        found = self._store.link(repository, digest)
        return found is not None and found[1].since_s > self._store.revoked_s(repository)

    def prove(self, repository: Repository, digest: Digest, kind: Kind) -> Deferred[int]:
        """Fires with the size in bytes when the upstream has shown that ``repository`` holds ``digest``.

        Where the bytes are on disk, as many as the upstream says, the link is written before it
        fires. Fails with NotFound, Denied, Throttled or UpstreamTrouble: no permission.
        """
        return self._flights.run((repository, digest, kind), lambda: self._ask(repository, digest, kind))

    async def _ask(self, repository: Repository, digest: Digest, kind: Kind) -> int:
        remote = self._remotes[repository.upstream]
        media_type = ""
        if kind is Kind.MANIFEST:
            descriptor = await remote.manifests.stat(repository, digest)
            media_type, size = descriptor.media_type, descriptor.size_bytes
        else:
            size = await remote.blobs.stat(repository, digest)
        if self._store.holds(digest) == size:
            await self._store.grant(repository, digest, kind, media_type, "head")
        return size
