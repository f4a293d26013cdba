"""The daemon as a child process: started by ``twistd``, waited for, killed, started again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regproxy.testing.processes import Child, Finished

LIMIT_S = 600.0

_RUN = "from twisted.scripts.twistd import run; run()"


class Daemon:
    """One ``twistd regproxy`` with the settings file ``settings``, which listens on ``port``.

    It is killed ``limit_s`` seconds after its start, None: never. ``prefix`` is a command that runs
    the one after it, such as ``nice``.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Path,
        port: int,
        limit_s: float = LIMIT_S,
        prefix: Sequence[str] = (),
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._port = port
        self._limit_s = limit_s
        self._prefix = prefix
        self._child: Child | None = None

    @property
    def netloc(self) -> str:
        """``127.0.0.1:port``, as a client names it."""
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{self.netloc}"

    @property
    def pid(self) -> int:
        """Its process id; only after a start."""
        assert self._child is not None
        return self._child.pid

    @property
    def output(self) -> str:
        """What it printed since its last start."""
        return "" if self._child is None else (self._child.out + self._child.err).decode("utf-8", "replace")

    async def start(self) -> None:
        """Start it; returns when it serves. ProcessFailed with its output when it ends first."""
        argv = [*self._prefix, sys.executable, "-c", _RUN, "--nodaemon", "--pidfile=", "regproxy"]
        self._child = Child(self._reactor, [*argv, "--config", str(self._settings)], {}, self._limit_s)
        await self._child.said(b" serves on ")

    async def kill(self) -> None:
        """``kill -9``."""
        if self._child is not None:
            self._child.kill()
            await self._child.ended()

    async def stop(self) -> Finished | None:
        """SIGTERM, then KILL; how it ended, None when it was not started. Idempotent."""
        return None if self._child is None else await self._child.stop()
