"""More connections than the process may have files: fewer are let in, and operators get in all the same."""

from __future__ import annotations

import re
import resource
import socket
import sys
from pathlib import Path

import pytest

from regproxy.file_limit import connections_that_fit
from tests.door.daemon import TWISTD, Daemon, get, running, settings

FILES = 300
ASK = b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    ("files", "fit"), [(1024, 512), (65_536, 32_768), (1, 1), (resource.RLIM_INFINITY, 2**31)]
)
def test_each_connection_may_need_two(files: int, fit: int) -> None:
    assert connections_that_fit(files) == fit


def test_half_of_the_limit_is_let_in_with_a_warning(tmp_path: Path) -> None:
    """The next one is told so; health and figures are there for operators."""
    lowered = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES}, {FILES}))"
    script = f"{lowered}; os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", script, *TWISTD, "--config", str(settings(tmp_path))]
    with running(command, tmp_path) as daemon:
        daemon.wait_for("limits.connections: 20000 do not fit into 300 open files.*: 150 are let in")
        crowd(daemon, tmp_path, FILES // 2, "connections")


def test_what_fits_is_said_nothing_of(tmp_path: Path) -> None:
    file = settings(tmp_path, limits={"connections": 3})
    with running([*TWISTD, "--config", str(file)], tmp_path) as daemon:
        crowd(daemon, tmp_path, 3, "connections")
        assert "do not fit" not in daemon.said


def crowd(daemon: Daemon, folder: Path, count: int, limit: str) -> None:
    port = int(daemon.wait_for(r"serves on 127\.0\.0\.1:(\d+)")[1])
    held = []
    for _ in range(count):
        held.append(socket.create_connection(("127.0.0.1", port), 10))
        held[-1].sendall(ASK)
        assert held[-1].recv(1000).startswith(b"HTTP/1.1 200")
    with socket.create_connection(("127.0.0.1", port), 10) as late:
        late.sendall(ASK)
        assert late.recv(1000).startswith(b"HTTP/1.1 503")
    assert get(folder / "admin.sock", "/healthz")[0] == 200
    status, page = get(folder / "admin.sock", "/metrics")
    assert status == 200
    figures = dict(re.findall(rb"^(regproxy_\S*connections\S*) (\S+)$", page, re.MULTILINE))
    assert float(figures[b"regproxy_connections"]) == count
    assert float(figures[b'regproxy_refused_connections_total{limit="%s"}' % limit.encode()]) == 1
    for one in held:
        one.close()
