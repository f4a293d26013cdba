"""Saving: a kill at any step, disks that refuse, journals that grow, a stop without time."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from regproxy.expiry import saving
from regproxy.expiry import scheduler as scheduler_module
from regproxy.expiry.files import StateFiles
from regproxy.expiry.slices import Slices
from regproxy.removal import Expiry
from regproxy.storage.thread import DiskThread
from tests.expiry.world import (
    DAY_S,
    NGINX,
    ONE,
    STATE,
    TWO,
    World,
    digest,
    document,
    populate,
    uses,
)


class MortalFiles(StateFiles):
    """Dies at its ``last`` step, perhaps in the middle of writing."""

    STEPS = (
        "begin_journal", "append", "begin_state", "write_state", "sync_state", "name_state", "remove_journal",
        "abandon_state", "close_journal",
    )  # fmt: skip

    def __init__(self, folder: Path, last: int, torn: bool) -> None:
        super().__init__(folder)
        self.steps = 0
        self.last = last
        self.torn = torn
        self.cutting = False

    def _write(self, descriptor: int, content: bytes) -> None:
        if self.cutting:
            self.cutting = False
            super()._write(descriptor, content[: len(content) // 2])
            raise OSError("killed")
        super()._write(descriptor, content)

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in MortalFiles.STEPS:
            return found

        def step(*args: Any) -> Any:
            if self.steps >= self.last:
                if not self.torn or self.steps > self.last or name not in ("append", "write_state"):
                    raise OSError("killed")
                self.cutting = True
            self.steps += 1
            return found(*args)

        return step


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("last", range(1, 30))
def test_a_kill_at_any_step_of_a_fold(
    world: World, monkeypatch: pytest.MonkeyPatch, last: int, torn: bool
) -> None:
    """Before and after it the same entries, but for what the last five seconds brought."""
    monkeypatch.setattr(saving, "_WRITE_BYTES", 200)
    world.begin()
    for number in range(8):
        world.shelf.put(NGINX, digest(number))
    world.pass_s(3600)
    world.end()
    world.files = files = MortalFiles(world.folder, 10_000, torn)
    world.begin(survey=False)
    world.scheduler.used(NGINX, ONE)
    world.shelf.expire(NGINX, TWO, lambda: True)
    world.shelf.put(NGINX, digest(99))
    world.pass_s(6)
    before = uses(world)
    files.steps, files.last = 0, last
    world.scheduler._saver.want_fold()
    world.scheduler.used(NGINX, digest(3))
    world.pass_s(6)
    after = uses(world)
    world.kill()
    world.begin(survey=False)
    changed = f"{NGINX}@{digest(3)}"
    found = uses(world)
    assert found.pop(changed) in (before.pop(changed), after.pop(changed))
    assert found == before == after
    assert len(list(world.folder.glob("scheduler-state.journal.*"))) <= 4
    world.end()
    assert len(document(world)["entries"]) == 8
    assert len(list(world.folder.glob("scheduler-state.journal.*"))) == 1


def test_a_disk_that_refuses_for_a_while_loses_nothing(world: World) -> None:
    """The changes wait; lines that it cut harm no later ones."""
    world.files = files = MortalFiles(world.folder, 10_000, True)
    world.begin()
    files.steps, files.last = 0, 0
    world.shelf.put(NGINX, ONE)
    world.pass_s(60)
    files.last = 10_000
    world.shelf.put(NGINX, TWO)
    world.pass_s(12)
    before = uses(world)
    world.kill()
    world.begin(survey=False)
    assert uses(world) == before


class FullAtFirst(StateFiles):
    """A disk without room for the first bytes of the first journal, and with room after that."""

    refusals = 1

    def _write(self, descriptor: int, content: bytes) -> None:
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.ENOSPC, "full")
        super()._write(descriptor, content)


def test_a_disk_that_was_full_at_the_start_is_written_later(world: World) -> None:
    """A journal that could not be begun is no reason never to begin one."""
    world.files = FullAtFirst(world.folder)
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(60)
    before = uses(world)
    world.kill()
    world.begin(survey=False)
    assert uses(world) == before
    assert f"{NGINX}@{ONE}" in before


def test_a_read_only_folder(world: World) -> None:
    """It starts, and expires nothing that it cannot remove."""
    world.files = MortalFiles(world.folder, 0, False)
    world.shelf.put(NGINX, ONE)
    world.begin()
    assert list(uses(world)) == [f"{NGINX}@{ONE}"]
    world.pass_s(60)
    world.end()
    assert os.listdir(world.folder) == []


def test_long_journals_are_folded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither many uses nor a long time make them grow without end."""
    monkeypatch.setattr(saving, "FOLD_LINES", 50)
    world.begin()
    world.shelf.put(NGINX, ONE)
    sizes = []
    for _ in range(300):
        world.scheduler.used(NGINX, ONE)
        world.pass_s(6)
        sizes.append(sum(path.stat().st_size for path in world.folder.glob("*.journal.*")))
    assert max(sizes) < 60 * 150
    assert len(list(world.folder.glob("*.journal.*"))) == 1


def test_a_day_old_journal_is_folded(world: World) -> None:
    """So that `saved` is never much older than the last use."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(DAY_S + 60)
    world.scheduler.used(NGINX, ONE)
    world.pass_s(6)
    assert document(world)["saved"] == "2027-01-16T08:01:05Z"


def test_a_stop_without_time_for_the_whole_state(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal has it all, the old state stays, and no half of a new one."""
    monkeypatch.setattr(saving, "_BATCH", 1)
    monkeypatch.setattr(scheduler_module, "END_S", -1.0)
    monkeypatch.setattr(scheduler_module, "Slices", partial(Slices, slice_s=0.0))
    populate(world)
    before, known = (world.folder / STATE).read_bytes(), uses(world)
    world.end()
    assert (world.folder / STATE).read_bytes() == before
    assert not [path for path in os.listdir(world.folder) if path.endswith(".tmp")]
    monkeypatch.undo()
    world.begin(survey=False)
    assert uses(world) == known


def test_a_stop_ends_a_fold_under_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of a million entries would take longer than a stop may."""
    monkeypatch.setattr(saving, "_BATCH", 1)
    monkeypatch.setattr(scheduler_module, "Slices", partial(Slices, slice_s=0.0))
    world.begin()
    for number in range(200):
        world.shelf.put(NGINX, digest(number))
    world.pass_s(6)
    monkeypatch.setattr(scheduler_module, "END_S", -1.0)
    known = uses(world)
    world.scheduler._saver.want_fold()
    world.scheduler._flushing.now()
    for _ in range(40):
        world.one_call()
    assert "saving" in world.scheduler._works
    stopping = world.scheduler.stop()
    for _ in range(60):
        if not stopping.called:
            world.one_call()
    assert stopping.called
    world.begin(survey=False)
    assert uses(world) == known


async def test_the_thread_ends_also_when_the_end_is_given_up() -> None:
    """A state that cannot be written in time keeps no thread alive."""
    thread = DiskThread(reactor, "test-state")
    await thread.run(int)
    never = Stuck()
    expiry = Expiry(never, None, thread, None)  # type: ignore[arg-type]
    ending = Deferred.fromCoroutine(expiry.end())
    ending.addErrback(lambda failure: failure.trap(CancelledError))
    ending.cancel()
    assert "stopping" in repr(thread)
    await thread.stop()


class Stuck:
    """A scheduler that does not come to its end."""

    def stop(self) -> Deferred[None]:
        return Deferred()
