"""Sources of blobs and manifests, each with the hand that puts content where it takes it from.

A warm proxy has passed everything on once, and its upstream has forgotten it since: what it gives
then comes from the store.
"""

from __future__ import annotations

from typing import TypeAlias

from twisted.internet import reactor
from twisted.internet.task import deferLater

from regproxy.interfaces import ILocalStore
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.proxy.registry import ProxyRegistry
from regproxy.settings import TagRule
from regproxy.testing.contracts import read_to_end
from regproxy.testing.store_contract import REPOSITORY, fill, proofs
from tests.contracts.upstreams import MemoryUpstream, SocketUpstream

Upstream: TypeAlias = MemoryUpstream | SocketUpstream


class StoreBlobs:
    """A local store by itself; nothing stalls there."""

    def __init__(self, store: ILocalStore) -> None:
        self.repository = REPOSITORY
        self.source = store.blobs
        self._store = store

    async def put(self, content: bytes, algorithm: str = "sha256") -> Digest:
        spool = await self._store.spool(digest := Digest.of(content, algorithm))
        await spool.append([content])
        await spool.commit(proofs(self._store, REPOSITORY))
        return digest

    def stalled(self, content: bytes, here_bytes: int) -> None:
        return None


class StoreManifests:
    """The same for manifests."""

    def __init__(self, store: ILocalStore) -> None:
        self.repository = REPOSITORY
        self.source = store.manifests
        self._store = store

    async def put(self, manifest: Manifest) -> None:
        await self._store.put(REPOSITORY, manifest, self._store.stamp(REPOSITORY))


class RemoteBlobs:
    """An upstream by itself."""

    def __init__(self, upstream: Upstream) -> None:
        self.repository = REPOSITORY
        self.source = upstream.remote.blobs
        self._upstream = upstream

    async def put(self, content: bytes, algorithm: str = "sha256") -> Digest:
        digest = Digest.of(content, algorithm)
        self._upstream.holding.blobs[digest] = content
        return digest

    async def stalled(self, content: bytes, here_bytes: int) -> Digest:
        return self._upstream.stall(content, here_bytes)


class RemoteManifests:
    """The same for manifests."""

    def __init__(self, upstream: Upstream) -> None:
        self.repository = REPOSITORY
        self.source = upstream.remote.manifests
        self._upstream = upstream

    async def put(self, manifest: Manifest) -> None:
        self._upstream.holding.manifests[manifest.digest] = manifest


class Proxy:
    """A local store and an upstream, introduced to each other."""

    def __init__(self, store: ILocalStore, upstream: Upstream) -> None:
        self.store = store
        self.upstream = upstream
        remotes = {REPOSITORY.upstream: upstream.remote}
        rules = {REPOSITORY.upstream: (TagRule(),)}
        self.registry = ProxyRegistry(store, remotes, rules, reactor, reactor.seconds)

    async def settled(self) -> None:
        """Nothing is on its way to the disk any more."""
        for _ in range(5000):
            if not self.registry.fills:
                return
            await deferLater(reactor, 0.001)
        raise AssertionError(f"fills stay: {self.registry.fills}")

    async def close(self) -> None:
        await deferLater(reactor, 0)  # doubles call back at once: not from within the fill itself
        await self.registry.stop()


class ColdBlobs(RemoteBlobs):
    """What the upstream has and the store has not."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(proxy.upstream)
        self.source = proxy.registry.blobs


class WarmBlobs(ColdBlobs):
    """What the store has and the upstream has not any more."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(proxy)
        self._proxy = proxy

    async def put(self, content: bytes, algorithm: str = "sha256") -> Digest:
        digest = await super().put(content, algorithm)
        blob = await self.source.open(REPOSITORY, digest)
        assert await read_to_end(blob.body()) == content
        await self._proxy.settled()
        del self._upstream.holding.blobs[digest]
        return digest

    def stalled(self, content: bytes, here_bytes: int) -> None:
        return None


class ProvenBlobs(ColdBlobs):
    """What the store has for another repository: the upstream is asked whether this one has it."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(proxy)
        self._store = proxy.store

    async def put(self, content: bytes, algorithm: str = "sha256") -> Digest:
        digest = await super().put(content, algorithm)
        await fill(self._store, content)
        return digest

    def stalled(self, content: bytes, here_bytes: int) -> None:
        return None


class ColdManifests(RemoteManifests):
    """What the upstream has and the store has not."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(proxy.upstream)
        self.source = proxy.registry.manifests


class WarmManifests(ColdManifests):
    """What the store has and the upstream has not any more."""

    async def put(self, manifest: Manifest) -> None:
        await super().put(manifest)
        assert await self.source.get(REPOSITORY, manifest.digest) == manifest
        del self._upstream.holding.manifests[manifest.digest]
