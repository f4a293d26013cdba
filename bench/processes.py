"""Child processes: bounded in time, ended by their own pid, gone when the bench is gone; what they cost."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.errors import BenchFailed

_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
_PR_SET_PDEATHSIG = 1
_RESET_PEAK = "5"
_LIBC = ctypes.CDLL(None)


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """One process whose output goes to the file ``log``, as a service's goes to a journal."""

    def __init__(
        self, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self.log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                preexec_fn=_die_with_parent,
            )
        self.pid = self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def code(self) -> int | None:
        """What it ended with; None while it runs."""
        return self._process.poll()

    def last_words(self) -> str:
        """The end of its output, for a message."""
        return self.log.read_text("utf-8", "replace")[-2000:]

    def stop(self, patience_s: float = 8.0) -> None:
        """TERM, then KILL; nothing when it has ended."""
        if self.alive:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
        if self.alive:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """At once, as ``kill -9``."""
        self._process.kill()
        self._process.wait()

    def cpu_s(self) -> float:
        """User and system seconds of all its threads so far, in ticks of 10 ms."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_S

    def settled_cpu_s(self, quiet_s: float = 0.1, limit_s: float = 5.0) -> float:
        """The same, once it has done nothing for ``quiet_s``: what is left to do after an answer counts."""
        end = time.monotonic() + limit_s
        before = self.cpu_s()
        while time.monotonic() < end:
            time.sleep(quiet_s)
            now = self.cpu_s()
            if now - before <= _TICK_S:
                return now
            before = now
        return before

    def waited_s(self) -> float:
        """For how long its first thread has waited for a core so far, in seconds; 0 where nothing says so."""
        return waited_s(f"/proc/{self.pid}/schedstat")

    def forget_peak(self) -> None:
        """Let the peak of its memory start anew from what it holds now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text(_RESET_PEAK)

    def peak_mib(self) -> float:
        """The most memory that it had resident, in MiB (VmHWM)."""
        return self._status("VmHWM") / 1024

    def memory_mib(self) -> float:
        """What it has resident now, in MiB (VmRSS)."""
        return self._status("VmRSS") / 1024

    def threads(self) -> int:
        """How many it has."""
        return self._status("Threads")

    def open_files(self) -> int:
        """How many it has, sockets too."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def unlinked(self, under: Path) -> dict[int, int]:
        """The files that were below a folder, and are open but have no name any more: inode and bytes."""
        found = {}
        for each in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                name = os.readlink(each)
                if name.startswith(f"{under}/") and name.endswith(" (deleted)"):
                    status = each.stat()
                    found[status.st_ino] = status.st_blocks * 512
        return found

    def _status(self, name: str) -> int:
        for line in self._proc("status").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
        raise BenchFailed(f"/proc/{self.pid}/status has no {name}")

    def _proc(self, name: str) -> str:
        try:
            return Path(f"/proc/{self.pid}/{name}").read_text()
        except (FileNotFoundError, ProcessLookupError):
            raise BenchFailed(f"process {self.pid} ended: {self.last_words()}") from None


def waited_s(path: str = "/proc/thread-self/schedstat") -> float:
    """For how long a thread has waited for a core so far, in seconds; 0 where nothing says so."""
    try:
        return int(Path(path).read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def busy_share(seconds: float = 1.0) -> float:
    """The share of this machine's cores that was busy during the next ``seconds``."""
    before, idle_before = _jiffies()
    time.sleep(seconds)
    total, idle = _jiffies()
    return 1.0 - (idle - idle_before) / max(1, total - before)


def _jiffies() -> tuple[int, int]:
    """All and idle ticks of all cores so far; waiting for the disk is idle."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields), fields[3] + fields[4]
