"""A real ``twistd regproxy`` in a process of its own, bounded in time, for the tests of the door."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.overheard import overhear

ROOT = Path(__file__).resolve().parents[2]
TWISTD = (str(Path(sys.executable).parent / "twistd"), "--nodaemon", "--pidfile=", "regproxy")
TWIST = (sys.executable, "-m", "twisted", "regproxy")
START_S = 30.0
END_S = 12.0


def environment(**more: str) -> dict[str, str]:
    """Ours, without what would reach the daemon from outside."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("REGPROXY", "PYTHON"))}
    return kept | {"PYTHONPATH": str(ROOT)} | more


def settings(folder: Path, **changed: Any) -> Path:
    """A settings file (YAML takes JSON) with ports of its own and an upstream that nobody answers for."""
    content: dict[str, Any] = {
        "listen": ["tcp:0:interface=127.0.0.1"],
        "admin": [f"unix:{folder}/admin.sock", "tcp:0:interface=127.0.0.1"],
        "storage": {"root": str(folder / "root")},
        "upstreams": {"registry.example": {"endpoints": ["http://127.0.0.1:1"], "insecure": True}},
    }
    path = folder / "regproxy.yml"
    path.write_text(json.dumps(content | changed))
    return path


def refused(command: Sequence[str], folder: Path, environ: Mapping[str, str] | None = None) -> str:
    """What a start that must fail says; it ends by itself, with a code that is not 0."""
    ended = subprocess.run(
        command,
        cwd=folder,
        env=environ or environment(),
        timeout=START_S,
        capture_output=True,
        text=True,
        check=False,
    )
    overhear("a daemon that may not start", ended.stdout + ended.stderr)
    assert ended.returncode not in {0, -signal.SIGTERM}, ended
    assert "Traceback" not in ended.stdout + ended.stderr, ended
    return ended.stderr


class Daemon:
    """A running daemon and what it says."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.said = ""

    def wait_for(self, pattern: str, timeout_s: float = START_S) -> re.Match[str]:
        """The first place in what it said, or says within the time, that matches."""
        deadline = time.monotonic() + timeout_s
        while (found := re.search(pattern, self.said)) is None:
            left = deadline - time.monotonic()
            assert left > 0, f"nothing like {pattern!r} in:\n{self.said}"
            self._read(left)
        return found

    def _read(self, timeout_s: float) -> None:
        out = self.process.stdout
        assert out is not None
        if select.select([out], [], [], timeout_s)[0]:
            more = os.read(out.fileno(), 65536)
            assert more, f"it ended with {self.process.wait(END_S)}:\n{self.said}"
            self.said += more.decode()

    def end(self, number: int = signal.SIGTERM) -> float:
        """Seconds that it took to end after the signal."""
        began = time.monotonic()
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=END_S)
        self.said += out.decode()
        return time.monotonic() - began


@contextmanager
def running(
    command: Sequence[str], folder: Path, environ: Mapping[str, str] | None = None
) -> Iterator[Daemon]:
    """A daemon that has announced itself; killed at the end if it still runs."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environ or environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    daemon = Daemon(process)
    try:
        daemon.wait_for("serves on .*")
        yield daemon
    finally:
        if process.poll() is None:
            process.kill()
        rest, _ = process.communicate(timeout=END_S)
        overhear("a daemon", daemon.said + (rest or b"").decode("utf-8", "replace"))


def get(address: int | Path, path: str, method: str = "GET") -> tuple[int, bytes]:
    """Status and body of an answer from a local port or a unix socket."""
    connection = http.client.HTTPConnection("127.0.0.1", timeout=10)
    if isinstance(address, Path):
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(10)
        connection.sock.connect(str(address))
    else:
        connection.port = address
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        overhear(path, body)
        return answer.status, body
    finally:
        connection.close()
