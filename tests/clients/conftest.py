"""Registries and daemon for one test, and a look at what it left on the machine."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_twisted

from tests.clients.containerd import Containerd
from tests.clients.requirements import require_root
from tests.clients.world import World, mounts_below, processes_below, remove_cgroups
from tests.conftest import require_program

PATIENCE_S = 5.0


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a short name, for sockets; processes and mounts that stay in it are a failure."""
    folder = Path(tempfile.mkdtemp(prefix="rp-"))
    try:
        yield folder
    finally:
        processes = [pid for pid in processes_below(folder) if not ends(pid)]
        mounts = mounts_below(folder)
        for pid in processes:
            os.kill(pid, signal.SIGKILL)
            ends(pid)
        for point in mounts:
            subprocess.run(["umount", "--lazy", point], check=False, timeout=20)
        remove_cgroups(folder.name)
        shutil.rmtree(folder)
    assert not processes, "processes were left behind"
    assert not mounts, "mounts were left behind"


def ends(pid: int) -> bool:
    """Whether a process that is no child of ours ends within PATIENCE_S."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], PATIENCE_S)[0])
    finally:
        os.close(handle)


@pytest_twisted.async_yield_fixture
async def world(place: Path) -> AsyncIterator[World]:
    for program in ("docker-registry", "busybox"):
        require_program(program)
    made = World(place)
    try:
        await made.start()
        yield made
    finally:
        await made.close()


@pytest_twisted.async_yield_fixture
async def containerd(place: Path) -> AsyncIterator[Containerd]:
    for program in ("containerd", "ctr", "runc"):
        require_program(program)
    require_root()
    made = Containerd(place / "cd")
    try:
        await made.start()
        yield made
    finally:
        await made.stop()
