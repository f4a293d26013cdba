"""Forks of one twistd: real daemons, each with a reactor of its own, none left behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor

from regproxy.testing.docker_registry import free_port
from regproxy.testing.forked import ForkedDaemon, ForkServer
from regproxy.testing.processes import ProcessFailed
from tests.system.client import Client

pytestmark = pytest.mark.system


def settings(folder: Path, port: int) -> Path:
    folder.mkdir()
    content = {
        "listen": [f"tcp:{port}:interface=127.0.0.1"],
        "admin": [f"unix:{folder}/admin.sock"],
        "storage": {"root": str(folder / "root")},
        "upstreams": {"registry.test": {"endpoints": ["http://127.0.0.1:1"], "insecure": True}},
    }
    path = folder / "regproxy.json"
    path.write_text(json.dumps(content))
    return path


@pytest_twisted.async_yield_fixture
async def server() -> AsyncIterator[ForkServer]:
    made = ForkServer(reactor, limit_s=60)
    yield made
    await made.close()


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_two_at_once_are_killed_stopped_and_started_again(server: ForkServer, tmp_path: Path) -> None:
    ports = free_port(), free_port()
    daemons = [
        ForkedDaemon(server, settings(tmp_path / str(number), port)) for number, port in enumerate(ports)
    ]
    for end in (signal.SIGKILL, signal.SIGTERM):
        for daemon in daemons:
            await daemon.start()
        for port in ports:
            client = Client(reactor, f"http://127.0.0.1:{port}")
            assert (await client.ask("/v2/")).status == 200
            await client.close()
        for daemon in daemons:
            daemon.signal(end)
            assert await daemon.ended() == -end
            assert await daemon.ended() is None
    assert "regproxy has ended" in daemons[1].output


async def test_nothing_lives_on_after_the_server(tmp_path: Path) -> None:
    server = ForkServer(reactor, limit_s=60)
    daemon = ForkedDaemon(server, settings(tmp_path / "a", free_port()))
    await daemon.start()
    assert daemon.pid is not None
    pid, waiting = daemon.pid, daemon.heard("what it never says")
    assert lives(pid)
    await server.close()
    assert not lives(pid)
    with pytest.raises(ProcessFailed):
        await waiting


async def test_a_start_that_is_refused_says_why(server: ForkServer, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text('{"nonsense": 1}')
    daemon = ForkedDaemon(server, path)
    await daemon.spawn()
    assert await daemon.ended() == 1
    await daemon.heard("nonsense")
