"""Memory is bounded by connections, not by the size of a blob or the pace of its readers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone

from regproxy.testing.daemon import Daemon
from regproxy.testing.docker_registry import free_port
from regproxy.testing.registry import ScriptableRegistry

pytestmark = pytest.mark.system

SIZE = 256 << 20
SETTINGS = """\
listen: ["tcp:{port}:interface=127.0.0.1"]
admin: ["tcp:{admin}:interface=127.0.0.1"]
storage: {{root: "{root}", min_free: 0 B}}
log: {{access: "off"}}
upstreams: {{registry.test: {{endpoints: ["{upstream}"], insecure: true, default: true, public: true}}}}
"""


class _Count(Protocol):
    """Counts a body; ``stuck`` ones stop reading after their first piece, until let go."""

    def __init__(self, stuck: bool) -> None:
        self.size = 0
        self.stuck = stuck
        self.over: Deferred[int] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.size += len(data)
        if self.stuck:
            self.transport.pauseProducing()

    def let_go(self) -> None:
        self.stuck = False
        self.transport.resumeProducing()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.over.callback(self.size if reason.check(ResponseDone) else -self.size)


def peak_rss_bytes(pid: int) -> int:
    """The most memory that a process has had in pages, since its start."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


async def test_a_large_blob_with_slow_readers(tmp_path):
    registry = ScriptableRegistry(reactor)
    await registry.start()
    digest = registry.put_blob("team/app", bytes(range(256)) * (SIZE >> 8))
    port = free_port()
    settings = tmp_path / "regproxy.yml"
    settings.write_text(
        SETTINGS.format(port=port, admin=free_port(), root=tmp_path / "content", upstream=registry.url)
    )
    daemon = Daemon(reactor, settings, port, limit_s=120)
    await daemon.start()
    try:
        before = peak_rss_bytes(daemon.pid)
        agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
        url = f"{daemon.url}/v2/team/app/blobs/{digest}".encode()
        responses = await gatherResults([agent.request(b"GET", url) for _ in range(10)])
        counts = [_Count(stuck=number > 0) for number in range(10)]
        for response, count in zip(responses, counts, strict=True):
            response.deliverBody(count)
        assert await counts[0].over == SIZE, "slow readers delay nobody"
        assert all(count.size < SIZE for count in counts[1:])
        grown = peak_rss_bytes(daemon.pid) - before
        assert grown < 64 << 20, f"{grown >> 20} MiB more"
        for count in counts[1:]:
            count.let_go()
        assert await gatherResults([count.over for count in counts[1:]]) == [SIZE] * 9
        grown = peak_rss_bytes(daemon.pid) - before
        assert grown < 64 << 20, f"{grown >> 20} MiB more"
        assert registry.count(method="GET", kind="blob") == 1
    finally:
        await daemon.stop()
        await registry.stop()
        await deferLater(reactor, 0)
