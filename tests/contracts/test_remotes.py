"""The client of a real registry and the upstream in memory keep one contract."""

from __future__ import annotations

import pytest

from regproxy.testing.remote_contract import RemoteRegistryContract
from tests.contracts.upstreams import MemoryUpstream, SocketUpstream


class TestRemoteRegistry(RemoteRegistryContract):
    @pytest.fixture
    def room(self, socket_upstream: SocketUpstream) -> SocketUpstream:
        return socket_upstream


class TestMemoryRemote(RemoteRegistryContract):
    @pytest.fixture
    def room(self) -> MemoryUpstream:
        return MemoryUpstream()
