"""Disk, remote and proxy are sources of one kind: the same contract on each, and on the doubles."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_twisted

from regproxy.errors import NotFound
from regproxy.interfaces import BlobAnswer, How, TagAnswer
from regproxy.oci.digest import Digest
from regproxy.testing.contracts import BlobSourceContract, ManifestSourceContract, read_to_end
from regproxy.testing.images import make_image
from regproxy.testing.store_contract import REPOSITORY
from tests.contracts import sources
from tests.contracts.stores import Disk, Memory
from tests.contracts.upstreams import MemoryUpstream, SocketUpstream

KINDS = ("real", "memory")


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest) -> Disk | Memory:
    return request.getfixturevalue("disk") if request.param == "real" else Memory()


@pytest.fixture(params=KINDS)
def upstream(request: pytest.FixtureRequest) -> SocketUpstream | MemoryUpstream:
    return request.getfixturevalue("socket_upstream") if request.param == "real" else MemoryUpstream()


@pytest_twisted.async_yield_fixture
async def real_proxy(disk: Disk, socket_upstream: SocketUpstream) -> AsyncIterator[sources.Proxy]:
    made = sources.Proxy(disk.store, socket_upstream)
    yield made
    await made.close()


@pytest_twisted.async_yield_fixture
async def memory_proxy() -> AsyncIterator[sources.Proxy]:
    made = sources.Proxy(Memory().store, MemoryUpstream())
    yield made
    await made.close()


@pytest.fixture(params=KINDS)
def proxy(request: pytest.FixtureRequest) -> sources.Proxy:
    return request.getfixturevalue(f"{request.param}_proxy")


class TestStoreBlobs(BlobSourceContract):
    @pytest.fixture
    def room(self, store: Disk | Memory) -> sources.StoreBlobs:
        return sources.StoreBlobs(store.store)


class TestStoreManifests(ManifestSourceContract):
    @pytest.fixture
    def room(self, store: Disk | Memory) -> sources.StoreManifests:
        return sources.StoreManifests(store.store)


class TestRemoteBlobs(BlobSourceContract):
    @pytest.fixture
    def room(self, upstream: sources.Upstream) -> sources.RemoteBlobs:
        return sources.RemoteBlobs(upstream)


class TestRemoteManifests(ManifestSourceContract):
    @pytest.fixture
    def room(self, upstream: sources.Upstream) -> sources.RemoteManifests:
        return sources.RemoteManifests(upstream)


class TestColdProxyBlobs(BlobSourceContract):
    @pytest.fixture
    def room(self, proxy: sources.Proxy) -> sources.ColdBlobs:
        return sources.ColdBlobs(proxy)


class TestWarmProxyBlobs(BlobSourceContract):
    @pytest.fixture
    def room(self, proxy: sources.Proxy) -> sources.WarmBlobs:
        return sources.WarmBlobs(proxy)


class TestProvenProxyBlobs(BlobSourceContract):
    @pytest.fixture
    def room(self, proxy: sources.Proxy) -> sources.ProvenBlobs:
        return sources.ProvenBlobs(proxy)


class TestColdProxyManifests(ManifestSourceContract):
    @pytest.fixture
    def room(self, proxy: sources.Proxy) -> sources.ColdManifests:
        return sources.ColdManifests(proxy)


class TestWarmProxyManifests(ManifestSourceContract):
    @pytest.fixture
    def room(self, proxy: sources.Proxy) -> sources.WarmManifests:
        return sources.WarmManifests(proxy)


class TestWhereFrom:
    """The proxy tells of each answer where it came from, with the same answer as without."""

    async def test_a_blob(self, proxy: sources.Proxy) -> None:
        blobs = proxy.registry.blobs
        cold = sources.ColdBlobs(proxy)
        digest = await cold.put(b"some content")
        assert await blobs.look(cold.repository, digest) == BlobAnswer(12, How.MISS)
        blob = await blobs.open(cold.repository, digest)
        assert blob.how is How.MISS
        await read_to_end(blob.body())
        await proxy.settled()
        assert await blobs.look(cold.repository, digest) == BlobAnswer(12, How.HIT)
        assert await blobs.stat(cold.repository, digest) == 12
        again = await blobs.open(cold.repository, digest)
        assert again.how is How.HIT
        again.close()

    async def test_a_manifest(self, proxy: sources.Proxy) -> None:
        manifests = proxy.registry.manifests
        cold, manifest = sources.ColdManifests(proxy), make_image().manifest
        await cold.put(manifest)
        first = await manifests.look(cold.repository, manifest.digest)
        assert first == TagAnswer(manifest.descriptor, None, How.MISS)
        for how in (How.MISS, How.HIT):
            answer = await manifests.fetch(cold.repository, manifest.digest)
            assert answer == TagAnswer(manifest.descriptor, manifest, how)
        last = await manifests.look(cold.repository, manifest.digest)
        assert last == TagAnswer(manifest.descriptor, None, How.HIT)

    async def test_what_is_not_there_fails_as_without(self, proxy: sources.Proxy) -> None:
        digest = Digest.of(b"nowhere")
        for ask in (
            proxy.registry.blobs.look,
            proxy.registry.manifests.look,
            proxy.registry.manifests.fetch,
        ):
            with pytest.raises(NotFound):
                await ask(REPOSITORY, digest)
