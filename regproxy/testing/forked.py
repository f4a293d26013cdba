"""Many lives of the daemon, quickly: twistd is imported once, each start is a fork of that.

A start takes a tenth of a second instead of one, so that a test can afford to kill a real daemon dozens of
times. What is imported before the fork has no reactor and no name of its own process in it.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from regproxy.testing.processes import ProcessFailed

ANSWERS_FD = 3
BEFORE = (
    "twisted.scripts.twistd",
    "twisted.internet.epollreactor",
    "twisted.internet.endpoints",
    "twisted.internet.tcp",
    "twisted.web.client",
    "twisted.web.server",
    "werkzeug.routing",
    "werkzeug.wrappers",
    "prometheus_client",
    "hyperlink",
    "treq",
    "yaml",
    "regproxy.tap",
)
"""What takes time to import, and may be before the fork."""


class ForkServer(ProcessProtocol):
    """One process whose forks are daemons, one after the other or at once.

    It is ended by :meth:`close`, at the latest ``limit_s`` seconds after its start, and its forks with it.
    """

    def __init__(self, reactor: Any, limit_s: float = 600.0) -> None:
        self.said = bytearray()
        """What it and its forks printed."""
        self._answers = bytearray()
        self._asked: list[Deferred[list[str]]] = []
        self._listening: list[tuple[int, bytes, Deferred[None]]] = []
        self._ended: Deferred[None] = Deferred()
        self._limit = cast(IReactorTime, reactor).callLater(limit_s, self._kill)
        self._process = cast(IReactorProcess, reactor).spawnProcess(
            self,
            sys.executable,
            [sys.executable, "-m", __name__],
            dict(os.environ),
            childFDs={0: "w", 1: "r", 2: "r", ANSWERS_FD: "r"},
        )

    def ask(self, *words: str) -> Deferred[list[str]]:
        """Send a command, one line; the words of its answer."""
        answer: Deferred[list[str]] = Deferred()
        self._asked.append(answer)
        self._process.writeToChild(0, " ".join(words).encode() + b"\n")
        return answer

    def hear(self, text: bytes, since: int) -> Deferred[None]:
        """Fires when ``text`` is in what was said from byte ``since`` on."""
        heard: Deferred[None] = Deferred(
            lambda heard: self._listening.remove(next(one for one in self._listening if one[2] is heard))
        )
        self._listening.append((since, text, heard))
        self._tell()
        return heard

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """An answer, or something that was printed."""
        if childFD != ANSWERS_FD:
            self.said += data
            self._tell()
            return
        self._answers += data
        while b"\n" in self._answers:
            line, _, rest = bytes(self._answers).partition(b"\n")
            self._answers = bytearray(rest)
            self._asked.pop(0).callback(line.decode().split())

    def _tell(self) -> None:
        waiting, self._listening = self._listening, []
        for since, text, heard in waiting:
            if self.said.find(text, since) >= 0:
                heard.callback(None)
            else:
                self._listening.append((since, text, heard))

    def processEnded(self, reason: Failure) -> None:
        """Nobody answers any more."""
        if self._limit.active():
            self._limit.cancel()
        ended = ProcessFailed(f"the fork server has ended: {self.said[-4000:].decode('utf-8', 'replace')}")
        asked, self._asked = self._asked, []
        for answer in asked:
            answer.errback(Failure(ended))
        listening, self._listening = self._listening, []
        for _, _, heard in listening:
            heard.errback(Failure(ended))
        self._ended.callback(None)

    def close(self) -> Deferred[None]:
        """End it and all its forks; idempotent."""
        self._process.closeChildFD(0)
        return self._ended

    def _kill(self) -> None:
        try:
            self._process.signalProcess("KILL")
        except ProcessExitedAlready:
            return


class ForkedDaemon:
    """``twistd regproxy`` with one settings file, started, killed and started again."""

    def __init__(self, server: ForkServer, settings: Path) -> None:
        self._server = server
        self._settings = settings
        self._since = 0
        self.pid: int | None = None
        """The process that lives, if one does."""

    @property
    def output(self) -> str:
        """What was printed since its last start."""
        return self._server.said[self._since :].decode("utf-8", "replace")

    async def spawn(self) -> None:
        """Start it; returns as soon as there is a process."""
        assert self.pid is None, "it runs"
        self._since = len(self._server.said)
        self.pid = int((await self._server.ask("start", str(self._settings)))[0])

    def heard(self, text: str) -> Deferred[None]:
        """Fires when it has printed ``text`` since its last start."""
        return self._server.hear(text.encode(), self._since)

    async def start(self) -> None:
        """Start it; returns when it serves."""
        await self.spawn()
        await self.heard(" serves on ")

    def signal(self, number: int) -> None:
        """Send it a signal, if it lives."""
        if self.pid is not None:
            os.kill(self.pid, number)

    async def kill(self) -> None:
        """``kill -9``; returns when it is gone."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def ended(self) -> int | None:
        """Wait for its end: its exit code, or minus the signal that ended it; None when none lives."""
        if self.pid is None:
            return None
        pid, self.pid = self.pid, None
        return int((await self._server.ask("reap", str(pid)))[0])


def main() -> None:
    """``start FILE`` answers with a process id, ``reap PID`` with how that one ended."""
    for name in BEFORE:
        importlib.import_module(name)
    assert "twisted.internet.reactor" not in sys.modules, "each fork has a reactor of its own"
    living: set[int] = set()
    for line in sys.stdin:
        command, argument = line.rstrip("\n").split(" ", 1)
        if command == "start":
            answer = _fork(argument)
            living.add(answer)
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(int(argument), 0)[1])
            living.discard(int(argument))
        os.write(ANSWERS_FD, b"%d\n" % answer)
    for pid in living:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _fork(settings: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = _live(settings)
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _live(settings: str) -> int:
    """What ``twistd`` does, in the fork; its exit code."""
    os.close(ANSWERS_FD)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = ["twistd", "--nodaemon", "--pidfile=", "regproxy", "--config", settings]
    from twisted.scripts.twistd import run

    try:
        run()
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    main()
