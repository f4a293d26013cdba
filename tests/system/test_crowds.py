"""Thousands of connections that ask nothing, to a daemon of its own: cheap, and nobody else notices."""

from __future__ import annotations

import os
import re
import resource
import statistics
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from regproxy.oci.digest import Digest
from regproxy.testing.daemon import Daemon
from regproxy.testing.docker_registry import free_port
from regproxy.testing.registry import ScriptableRegistry
from tests.conftest import lacks
from tests.system.hostile import get
from tests.system.sockets import Talk, Transfer

pytestmark = pytest.mark.system

CROWD = 10_000
SILENT, SLOW = 2000, 100
HEADER_S = 3.0
CONTENT = os.urandom(16 << 20)
PATH = f"/v2/team/app/blobs/{Digest.of(CONTENT)}"
MIB = 1 << 20
SETTINGS = """\
listen: ["tcp:{port}:interface=127.0.0.1"]
admin: ["tcp:{admin}:interface=127.0.0.1"]
storage: {{root: "{root}", min_free: 0 B}}
log: {{access: "{access}"}}
limits: {{connections: {connections}, header: {header}}}
upstreams: {{registry.test: {{endpoints: ["{upstream}"], insecure: true, default: true, public: true}}}}
"""


@attrs.define
class World:
    daemon: Daemon
    admin: int
    log: Path

    def figure(self, name: str) -> float:
        """One of the daemon's own."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=10) as page:
            return float(re.search(rf"^{name} (\S+)$", page.read().decode(), re.MULTILINE)[1])

    def rss_bytes(self) -> int:
        text = Path(f"/proc/{self.daemon.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) * 1024

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.daemon.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def files() -> Iterator[int]:
    """How many files this process may have open; as many as it can have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest_twisted.async_yield_fixture
async def world(tmp_path, files) -> AsyncIterator[World]:
    registry = ScriptableRegistry(reactor)
    await registry.start()
    registry.put_blob("team/app", CONTENT)
    port, admin = free_port(), free_port()
    settings = tmp_path / "regproxy.yml"
    settings.write_text(
        SETTINGS.format(
            port=port,
            admin=admin,
            root=tmp_path / "content",
            access=tmp_path / "access.log",
            connections=min(CROWD, files // 2),
            header=f"{int(HEADER_S)}s",
            upstream=registry.url,
        )
    )
    daemon = Daemon(reactor, settings, port, limit_s=200)
    await daemon.start()
    yield World(daemon, admin, tmp_path / "access.log")
    ended = await daemon.stop()
    await registry.stop()
    assert b"Traceback" not in ended.out + ended.err, ended.text


def pace(talk: Talk, count: int = 400) -> tuple[float, float]:
    """Seconds of an answer to ``/v2/``: the median, and the worst but a hundredth."""
    took_s = []
    for _ in range(count):
        began_s = time.perf_counter()
        talk.send(get(b"/v2/"))
        answer = talk.answer()
        took_s.append(time.perf_counter() - began_s)
        assert answer is not None
        assert answer.status == 200
    return statistics.median(took_s), sorted(took_s)[-count // 100]


async def test_ten_thousand_idle_connections(world, files):
    """Below 300 MiB; whoever asks meanwhile is answered as if they were not there."""
    count = min(CROWD, files // 2)

    def crowd() -> None:
        first = Talk(world.daemon.netloc)
        before_s, before = pace(first)[0], world.rss_bytes()
        others = []
        for number in range(count - 1):
            others.append(Talk(world.daemon.netloc))
            others[-1].send(get(b"/v2/"))
            if number % 100 == 99 or number == count - 2:  # in step: what is measured is a crowd, not a rush
                assert {one.answer().status for one in others[number - number % 100 :]} == {200}
        assert world.figure("regproxy_connections") == count
        cpu_s = world.cpu_s()
        time.sleep(2)
        assert world.cpu_s() - cpu_s < 0.2, "they cost something while they do nothing"
        median_s, worst_s = pace(first)
        held = world.rss_bytes()
        print(
            f"{count} connections: {held / MIB:.0f} MiB, {(held - before) / count:.0f} bytes each, ", end=""
        )
        print(f"{before_s * 1e3:.2f} -> {median_s * 1e3:.2f} ms, worst of 100 {worst_s * 1e3:.2f} ms")
        assert held < 300 * MIB
        assert median_s < 2 * before_s + 0.002
        assert worst_s < 0.05
        transfer_of(first)
        for one in (first, *others):
            one.socket.close()
        deadline_s = time.monotonic() + 20
        while world.figure("regproxy_connections"):
            assert time.monotonic() < deadline_s

    await deferToThread(crowd)
    if count < CROWD:
        lacks(f"held with {count} connections: {CROWD} need a limit of {2 * CROWD} open files, not {files}")


def transfer_of(talk: Talk) -> None:
    """A whole blob, byte by byte as it should be."""
    talk.send(get(PATH.encode()))
    answer = talk.answer()
    assert answer is not None
    assert answer.body == CONTENT


async def test_thousands_who_send_nothing_or_a_byte_at_a_time(world):
    """All are cut by the time that a request may take; others are served as ever."""

    def crowd() -> None:
        transfer = Transfer(world.daemon.netloc, PATH, Digest.of(CONTENT))
        transfer.start()
        began_s = time.monotonic()
        silent = [Talk(world.daemon.netloc) for _ in range(SILENT)]
        slow = [Talk(world.daemon.netloc) for _ in range(SLOW)]
        came_s = time.monotonic()
        with Talk(world.daemon.netloc) as other:
            for byte in get(b"/v2/", *[b"X: y"] * 300):
                for one in slow:
                    one.send(bytes([byte]))
                assert pace(other, 20)[1] < 0.5
                if time.monotonic() - came_s > HEADER_S + 1.5:
                    break
                time.sleep(0.1)
            assert world.figure("regproxy_connections") <= 2, "the one who asks, and the transfer"
            transfer.end()
        for one in (*silent, *slow):
            one.socket.settimeout(1)
            assert one.rest() == b""
            one.socket.close()
        assert time.monotonic() - began_s < 60

    await deferToThread(crowd)
    lines = world.log.read_text().splitlines()
    assert sum(" silent " in line for line in lines) == SILENT
    assert sum(" late " in line for line in lines) == SLOW
