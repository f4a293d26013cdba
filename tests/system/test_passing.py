"""A disk that fills while clients pull at their own pace, over real sockets: each gets its bytes."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import AsyncIterator
from threading import Event

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread

from regproxy.oci.digest import Digest
from regproxy.storage import durable
from regproxy.testing import actions
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.rules import Match
from tests.system.mirror import Mirror, World, upstream

pytestmark = pytest.mark.system

MIB = 1 << 20
CONTENT = os.urandom(32 * MIB)
TAKEN = 5 * MIB
PATH = f"/v2/team/app/blobs/{Digest.of(CONTENT)}"


@pytest_twisted.async_yield_fixture
async def world(tmp_path, monkeypatch) -> AsyncIterator[World]:
    """A mirror whose disk takes the first bytes of a blob only."""
    real = durable.write_all

    def write_all(descriptor: int, content: bytes, offset: int) -> None:
        if offset + len(content) > TAKEN:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor, content, offset)

    monkeypatch.setattr(durable, "write_all", write_all)
    registry = ScriptableRegistry(reactor)
    await registry.start()
    registry.put_blob("team/app", CONTENT)
    mirror = Mirror(tmp_path / "content", upstream(registry))
    await mirror.start()
    yield World(registry, mirror)
    await mirror.stop()
    await registry.stop()
    assert mirror.files("fills") == mirror.files("blobs") == []


def pull(port: int, pause_at: int, go_on: Event, wanted: bytes = CONTENT, span: str = "") -> bool:
    """Pull, with a rest after some bytes; whether what came is what was asked for."""
    asked = f"Range: bytes={span}\r\n" if span else ""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        client.settimeout(60)
        client.connect(("127.0.0.1", port))
        client.sendall(f"GET {PATH} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n{asked}\r\n".encode())
        stream = client.makefile("rb")
        while stream.readline() not in (b"\r\n", b""):
            pass
        got = bytearray(stream.read(pause_at))
        go_on.wait(60)
        got += stream.read()
    return got == wanted


@pytest.mark.parametrize("ignores", [False, True])
async def test_fast_and_slow_ones_at_different_offsets(world, ignores):
    if ignores:
        world.registry.script(Match(kind="blob"), actions.ignore_range())
    port, go_on, at_once = int(world.mirror.netloc.rpartition(":")[2]), Event(), Event()
    at_once.set()
    slow = [deferToThread(pull, port, nth * 700_000, go_on) for nth in range(1, 5)]
    slow.append(deferToThread(pull, port, 1, go_on, CONTENT[10:-10], f"10-{len(CONTENT) - 11}"))
    slow.append(deferToThread(pull, port, 1, go_on, CONTENT[20 * MIB :], f"{20 * MIB}-"))
    try:
        fast = await gatherResults([deferToThread(pull, port, 0, at_once) for _ in range(3)])
    finally:
        go_on.set()
    assert fast == [True] * 3
    assert await gatherResults(slow) == [True] * len(slow)
    asked = [record for record in world.registry.requests if record.method == "GET"]
    assert len(asked) < 3 + len(slow), "those who are near each other share"


async def test_wrong_bytes_behind_what_the_disk_took_make_no_whole_answer(world):
    world.registry.script(Match(kind="blob"), actions.wrong_bytes(at=len(CONTENT) - 1))
    answer = await world.client.ask(PATH)
    assert (answer.status, answer.complete) == (200, False)
    assert len(answer.body) <= len(CONTENT) - 64 * 1024


async def test_a_connection_that_breaks_is_asked_on_and_nobody_notices(world):
    world.registry.script(Match(kind="blob", times=1), actions.cut(20 * MIB))
    answer = await world.client.ask(PATH)
    assert (answer.status, answer.complete) == (200, True)
    assert answer.body == CONTENT
    asked = [record for record in world.registry.requests if record.method == "GET"]
    assert len(asked) == 2
