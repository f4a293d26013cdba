"""Many clients at once for one cold blob: one upstream GET, every body right."""

from __future__ import annotations

import hashlib
import os

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone

from regproxy.testing import actions
from regproxy.testing.contents import Quirks
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.reply import Gate
from regproxy.testing.rules import Match
from tests.system.mirror import Mirror, upstream

pytestmark = pytest.mark.system

CLIENTS = 50
SIZE = 64 << 20


class _Hash(Protocol):
    """Hashes a body as it comes; keeps none of it."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.size = 0
        self.over: Deferred[str] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.hash.update(data)
        self.size += len(data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        whole = reason.check(ResponseDone) is not None
        self.over.callback(self.hash.hexdigest() if whole else f"cut after {self.size}")


async def _pull(agent: Agent, url: str) -> str:
    response = await agent.request(b"GET", url.encode())
    hashing = _Hash()
    response.deliverBody(hashing)
    return await hashing.over


async def test_fifty_clients_one_cold_blob_one_upstream_get(tmp_path):
    registry = ScriptableRegistry(reactor, quirks=Quirks(ranges=False))  # held back it looks slow
    await registry.start()
    digest = registry.put_blob("team/app", os.urandom(1 << 20) * (SIZE >> 20))
    gate = Gate()
    registry.script(Match(kind="blob"), actions.hold(gate, at=SIZE // 2))
    mirror = Mirror(tmp_path / "content", upstream(registry))
    await mirror.start()
    pool = HTTPConnectionPool(reactor, persistent=False)
    agent = Agent(reactor, pool=pool)
    url = f"{mirror.url}/v2/team/app/blobs/{digest}"
    asking = [Deferred.fromCoroutine(_pull(agent, url)) for _ in range(CLIENTS)]
    await gate.arrived()
    asking.append(Deferred.fromCoroutine(_pull(agent, url)))
    gate.open()
    hashes = await gatherResults(asking)
    await mirror.settled()
    try:
        assert hashes == [digest.hex] * (CLIENTS + 1)
        assert [record.method for record in registry.requests] == ["GET"]
        [blob] = mirror.files("blobs")
        assert blob.stat().st_size == SIZE
    finally:
        await mirror.stop()
        await registry.stop()
