"""Disk, remote and proxy are sources of one kind: the same contract on each, and on the doubles."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_twisted

from regproxy.testing.contracts import BlobSourceContract, ManifestSourceContract
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
