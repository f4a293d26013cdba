"""What is measured: the upstream itself, docker-registry as its mirror, regproxy of some source tree."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from bench.errors import BenchFailed
from bench.processes import Child

DOCKER_REGISTRY = Path("/usr/bin/docker-registry")
START_LIMIT_S = 30.0
_TWISTD = "from twisted.scripts.twistd import run; run()"


@attrs.frozen
class Start:
    """A command line, with what it needs around it."""

    argv: Sequence[str]
    env: Mapping[str, str] = attrs.field(factory=dict)
    cwd: Path | None = None


class Target(ABC):
    """One server with its files in ``folder``; it starts with empty hands each time after :meth:`remove`."""

    name: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._child: Child | None = None

    @abstractmethod
    def prepare(self) -> Start:
        """Write its settings; how it is started."""

    @property
    def netloc(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def process(self) -> Child:
        """Its process; only while it runs."""
        if self._child is None:
            raise BenchFailed(f"{self.name} does not run")
        return self._child

    def start(self) -> None:
        """Start it; returns when it answers ``/v2/``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        start = self.prepare()
        self._child = Child(start.argv, self.folder / "output.log", start.env, start.cwd)
        end = time.monotonic() + START_LIMIT_S
        while not self._answers():
            if not self._child.alive or time.monotonic() > end:
                raise BenchFailed(f"{self.name} does not serve: {self._child.last_words()}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(self.netloc, timeout=5)
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """End it. Idempotent."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def remove(self) -> None:
        """End it and remove its files, so that the next one gets their memory back. Idempotent."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class DockerRegistry(Target):
    """Debian's docker-registry with the settings that the package brings, without its password file."""

    name = "docker-registry"

    def __init__(self, folder: Path, remote_url: str | None = None) -> None:
        super().__init__(folder)
        self._remote_url = remote_url

    @property
    def data(self) -> Path:
        """Where its content lies."""
        return self.folder / "data"

    def prepare(self) -> Start:
        """One JSON file, which is YAML too."""
        if not DOCKER_REGISTRY.is_file():
            raise BenchFailed(f"{DOCKER_REGISTRY} is not there: install Debian's package docker-registry")
        settings = self.folder / "config.yml"
        settings.write_text(json.dumps(self._settings()))
        return Start([str(DOCKER_REGISTRY), "serve", str(settings)])

    def _settings(self) -> dict[str, Any]:
        proxy = {} if self._remote_url is None else {"proxy": {"remoteurl": self._remote_url}}
        return {
            "version": "0.1",
            "log": {"fields": {"service": "registry"}},
            "storage": {
                "cache": {"blobdescriptor": "inmemory"},
                "filesystem": {"rootdirectory": str(self.data)},
                "delete": {"enabled": True},
            },
            "http": {
                "addr": self.netloc,
                "secret": "bench",
                "headers": {"X-Content-Type-Options": ["nosniff"]},
            },
            **proxy,
        }


class Upstream(DockerRegistry):
    """The registry behind the mirrors, and the first target; it counts what it is asked."""

    name = "upstream"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._markers = 0

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{self.netloc}"

    def count(self, request: str) -> int:
        """How often its log has ``request`` (method and path), once it has caught up."""
        self._markers += 1
        marker = f"/v2/?marker={self._markers}".encode()
        connection = http.client.HTTPConnection(self.netloc, timeout=5)
        connection.request("GET", marker.decode())
        connection.getresponse().read()
        connection.close()
        end = time.monotonic() + 5.0
        while marker not in (text := self.process.log.read_bytes()):
            if time.monotonic() > end:
                raise BenchFailed("the upstream's log does not catch up")
            time.sleep(0.01)
        return text.count(f'"{request} HTTP/'.encode())


class Line(Target):
    """The upstream as one has it far away: over a line of :mod:`bench.wan`."""

    name = "upstream"

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        super().__init__(folder)
        self._upstream = upstream

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{self.netloc}"

    def prepare(self) -> Start:
        """Nothing to write."""
        return Start(
            [sys.executable, "-m", "bench.wan", str(self.port), str(self._upstream.port)],
            cwd=Path(__file__).resolve().parent.parent,
        )


class Regproxy(Target):
    """``twistd regproxy`` from a source tree."""

    def __init__(self, folder: Path, upstream_url: str, source: Path, name: str = "regproxy") -> None:
        super().__init__(folder)
        self.name = name
        self._upstream_url = upstream_url
        self._source = source

    def prepare(self) -> Start:
        """One upstream, its defaults otherwise."""
        settings = self.folder / "regproxy.json"
        settings.write_text(json.dumps(self._settings()))
        command = [
            sys.executable,
            "-c",
            _TWISTD,
            "--nodaemon",
            "--pidfile=",
            "regproxy",
            "--config",
            str(settings),
        ]
        return Start(command, {"PYTHONPATH": str(self._source)}, self._source)

    def _settings(self) -> dict[str, Any]:
        name = self._upstream_url.partition("//")[2]
        return {
            "listen": [f"tcp:{self.port}:interface=127.0.0.1"],
            "admin": [],
            "storage": {"root": str(self.folder / "data")},
            "upstreams": {name: {"endpoints": [self._upstream_url], "insecure": True}},
        }


def free_port() -> int:
    """A port of 127.0.0.1 that nobody had a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
