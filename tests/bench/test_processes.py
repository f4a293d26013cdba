"""Children are bounded, metered, and gone when they are to be."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from bench.errors import BenchFailed
from bench.processes import Child, busy_share, waited_s

BUSY = """import time
held = bytearray(64 << 20)
while time.process_time() < 0.3:
    pass
print("done", flush=True)
time.sleep(60)
"""
STUBBORN = """import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("on", flush=True)
time.sleep(60)
"""
HOLDING = """import os, sys, threading, time
held = bytearray(64 << 20)
for name in ("gone", "here"):
    file = os.open(f"{sys.argv[1]}/{name}", os.O_CREAT | os.O_WRONLY)
    os.write(file, bytes(1 << 20))
    os.fsync(file)
os.unlink(f"{sys.argv[1]}/gone")
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print("on", flush=True)
time.sleep(60)
"""
PARENT = """import sys
from pathlib import Path
from bench.processes import Child
child = Child(["sleep", "60"], Path(sys.argv[1]))
print(child.pid, flush=True)
"""


def wait_for(child: Child, word: str) -> None:
    end = time.monotonic() + 20
    while word not in child.last_words():
        assert time.monotonic() < end, child.last_words()
        time.sleep(0.01)


def test_cpu_and_peak_memory(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", BUSY], tmp_path / "log")
    try:
        wait_for(child, "done")
        assert 0.27 <= child.settled_cpu_s(quiet_s=0.03) < 5
        assert child.peak_mib() > 64
    finally:
        child.stop()
    with pytest.raises(BenchFailed, match="ended: done"):
        child.cpu_s()


def test_what_it_holds_now(tmp_path: Path) -> None:
    """Of files only those without a name, below that folder, count as unlinked."""
    child = Child([sys.executable, "-c", HOLDING, str(tmp_path)], tmp_path / "log")
    try:
        wait_for(child, "on")
        assert 64 < child.memory_mib() < 200
        assert child.threads() == 2
        assert child.open_files() == 5
        (unlinked,) = child.unlinked(tmp_path).values()
        assert 1 << 20 <= unlinked < 2 << 20
        assert child.unlinked(tmp_path / "other") == {}
        assert child.code is None
    finally:
        child.kill()
    assert child.code == -9


def test_one_that_ignores_term_is_killed(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", STUBBORN], tmp_path / "log")
    wait_for(child, "on")
    child.stop(patience_s=0.05)
    assert not child.alive


def test_children_do_not_outlive_the_bench(tmp_path: Path) -> None:
    parent = Child([sys.executable, "-c", PARENT, str(tmp_path / "inner")], tmp_path / "log")
    wait_for(parent, "\n")
    pid = int(parent.last_words())
    parent.stop()
    end = time.monotonic() + 10
    while _lives(pid):
        assert time.monotonic() < end
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_busy_share_is_a_share() -> None:
    assert 0 <= busy_share(0.05) <= 1


def test_how_long_there_was_no_core(tmp_path: Path) -> None:
    """Nanoseconds in the second place; nothing where nothing says so."""
    said = tmp_path / "schedstat"
    said.write_text("502786 1500000000 1\n")
    assert waited_s(str(said)) == 1.5
    assert waited_s(str(tmp_path / "none")) == 0.0
