"""A repository's right to serve bytes that are on disk, or on their way, for another one.

Laws (invariant 5, R41): only that repository's upstream gives it, by a 2xx to a HEAD for the digest
there. It is asked once, however many wait, and the link remembers it. That a manifest names a
digest, or that the bytes are here, gives nothing. A proof is of the moment before it was asked for,
so that a revocation in between voids it; then it is asked for again. Who comes after a revocation
waits for no answer that was asked for before it.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from regproxy.errors import ContentMissing, StorageFailed
from regproxy.interfaces import ILocalStore, IRemoteRegistry, Kind, Link
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.singleflight import SingleFlight

_log = Logger()


@attrs.frozen(slots=True)
class Proof:
    """That a repository's upstream holds some content, and what it said of it."""

    since_s: float
    """The store's stamp from before it was asked."""
    size_bytes: int | None
    media_type: str = ""


class Permission:
    """Asks upstreams, and writes down what they allow."""

    def __init__(self, store: ILocalStore, remotes: Mapping[str, IRemoteRegistry]) -> None:
        self._store = store
        self._remotes = remotes
        self._flights: SingleFlight[tuple[Repository, Digest, Kind, float], Proof] = SingleFlight()

    def remembered_s(self, repository: Repository, digest: Digest) -> float | None:
        """The moment of the proof that a link remembers; None without one that still counts."""
        found = right_of(self._store, repository, digest)
        return None if found is None else found.since_s

    def prove(self, repository: Repository, digest: Digest, kind: Kind) -> Deferred[Proof]:
        """Fires when the upstream has shown that ``repository`` holds ``digest``.

        Where the bytes are on disk, as many as the upstream says, the link is written before it
        fires, if the disk takes it. Fails with NotFound, Denied, Throttled or UpstreamTrouble.
        """
        flight = repository, digest, kind, self._store.revoked_s(repository)
        return self._flights.run(flight, lambda: self._prove(repository, digest, kind))

    async def take_back(self, repository: Repository, digest: Digest, kind: Kind) -> None:
        """The upstream says no to this very content: an older link to it is no right any more."""
        if self._store.link(repository, digest) is None:
            return
        try:
            await self._store.unlink(repository, digest, kind)
        except StorageFailed as error:
            self._complain(repository, digest, "was taken back, and its link stays", error)

    async def _prove(self, repository: Repository, digest: Digest, kind: Kind) -> Proof:
        while True:
            proof = await self._ask(repository, digest, kind)
            if proof.since_s > self._store.revoked_s(repository):
                break
        held = self._store.holds(digest)
        if held is not None and proof.size_bytes in (held, None):
            await self._write(repository, digest, kind, proof)
        return proof

    async def _ask(self, repository: Repository, digest: Digest, kind: Kind) -> Proof:
        remote, since_s = self._remotes[repository.upstream], self._store.stamp(repository)
        if kind is Kind.MANIFEST:
            descriptor = await remote.manifests.stat(repository, digest)
            return Proof(since_s, descriptor.size_bytes, descriptor.media_type)
        return Proof(since_s, await remote.blobs.stat(repository, digest))

    async def _write(self, repository: Repository, digest: Digest, kind: Kind, proof: Proof) -> None:
        """The link; what is gone meanwhile, or cannot be written, leaves the proof as it is."""
        try:
            await self._store.grant(repository, digest, kind, proof.media_type, "head", proof.since_s)
        except ContentMissing:
            return
        except StorageFailed as error:
            self._complain(repository, digest, "is not remembered", error)

    def _complain(self, repository: Repository, digest: Digest, what: str, error: StorageFailed) -> None:
        if error.told:
            return
        _log.error(
            "{repository}: the right to {digest} {what}: {error}",
            repository=str(repository),
            digest=str(digest),
            what=what,
            error=error.message,
        )


def right_of(store: ILocalStore, repository: Repository, digest: Digest) -> Link | None:
    """The link that gives ``repository`` the right to ``digest``; None without one that still counts."""
    found = store.link(repository, digest)
    if found is None or found[1].since_s <= store.revoked_s(repository):
        return None
    return found[1]


def rightful(store: ILocalStore, repository: Repository, digest: Digest) -> bool:
    """Whether the bytes are on disk, as large as the link says, by a right that holds."""
    link = right_of(store, repository, digest)
    return link is not None and store.holds(digest) == link.size_bytes
