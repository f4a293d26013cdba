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
        self._flights: SingleFlight[tuple[Repository, Digest, Kind], None] = SingleFlight()

    def prove(self, repository: Repository, digest: Digest, kind: Kind) -> Deferred[None]:
        """Fires when the upstream has shown that ``repository`` holds ``digest``.

        Where the bytes are on disk the link is written before it fires. Fails with NotFound,
        Denied, Throttled or UpstreamTrouble: no permission.
        """
        return self._flights.run((repository, digest, kind), lambda: self._ask(repository, digest, kind))

    async def _ask(self, repository: Repository, digest: Digest, kind: Kind) -> None:
        remote = self._remotes[repository.upstream]
        media_type = ""
        if kind is Kind.MANIFEST:
            media_type = (await remote.manifests.stat(repository, digest)).media_type
        else:
            await remote.blobs.stat(repository, digest)
        if self._store.holds(digest) is not None:
            await self._store.grant(repository, digest, kind, media_type, "head")
