"""What a turn of the reactor does is bounded, however many entries there are: counted, not timed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from regproxy.expiry import scheduler as scheduler_module
from regproxy.expiry.lines import FOOTER, state_header
from regproxy.expiry.slices import SLICE_S, Slices
from regproxy.interfaces import Held, Kind
from tests.expiry.test_scale import lines
from tests.expiry.world import DAY_S, NGINX, TTL_S, WALL_S, World, digest

CALL_S = 2e-6
"""A call of a function counts as so long, so that a slice is 2500 of them."""
MOST_CALLS = 2 * int(SLICE_S / CALL_S)


class Counted(World):
    """Counts the functions that each turn calls, in C or not, and takes that for the time."""

    calls = 0
    most = 0

    def measure(self) -> float:
        return self.calls * CALL_S

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            self.calls += 1

    def turn(self, work: Callable[[], object]) -> None:
        before = self.calls
        sys.setprofile(self._profile)
        try:
            work()
        finally:
            sys.setprofile(None)
        self.most = max(self.most, self.calls - before)

    def run_until(self, done: Callable[[], bool]) -> None:
        for _ in range(1_000_000):
            if done():
                return
            self.turn(self.one_call)
        raise AssertionError("it does not come to an end")

    def load(self) -> None:
        loading: list[Deferred[None]] = []
        self.turn(lambda: loading.append(self.scheduler.start()))
        self.run_until(lambda: loading[0].called)

    def worst(self) -> int:
        """The most calls in a turn since the last time this was asked."""
        most, self.most = self.most, 0
        return most


def crowd(folder: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> Counted:
    """``count`` entries, half of them due at once in a day."""
    world = Counted(folder)
    wall = int(WALL_S)
    uses = (
        wall - int(TTL_S - DAY_S) if number % 2 else wall - number % 20 * 3600  # few slots: Clock sorts them
        for number in range(count)
    )
    content = state_header(0, WALL_S) + lines(uses) + FOOTER
    (folder / "scheduler-state.json").write_bytes(content)
    monkeypatch.setattr(scheduler_module, "Slices", partial(Slices, measure=world.measure))
    world.make()
    return world


def worst_turns(world: Counted, count: int) -> dict[str, int]:
    """A whole life: the most calls in one turn of each of its parts."""
    found = {}
    world.load()
    found["loading"] = world.worst()
    assert len(world.scheduler) == count
    for begin in range(0, count, 128):
        held = [
            Held(NGINX, digest(number), Kind.BLOB, 10) for number in range(begin, min(count, begin + 128))
        ]
        world.turn(partial(world.scheduler.found, held))
    world.turn(world.scheduler.surveyed)
    found["survey"] = world.worst()
    for number in range(0, count, 2):
        world.turn(partial(world.scheduler.used, NGINX, digest(number)))
    found["a use"] = world.worst()
    world.scheduler._saver.want_fold()
    world.run_until(lambda: world.clock.seconds() > 60)
    found["saving"] = world.worst()
    world.run_until(lambda: world.clock.seconds() > DAY_S + 60 and not world.scheduler._works)
    found["removing"] = world.worst()
    assert len(world.shelf.expired) >= count // 2
    stopping: list[Deferred[None]] = []
    world.turn(lambda: stopping.append(world.scheduler.stop()))
    world.run_until(lambda: stopping[0].called)
    found["stopping"] = world.worst()
    world.close_files()
    return found


def test_no_turn_grows_with_the_number_of_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a slice and what one more step takes, with five thousand as with one."""
    for count in (1000, 5000):
        folder = tmp_path / str(count)
        folder.mkdir()
        found = worst_turns(crowd(folder, count, monkeypatch), count)
        assert found.pop("a use") < 60
        assert max(found.values()) < MOST_CALLS, found


def test_what_expired_while_it_was_down_goes_in_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it at once is due right after the start, and others get their turns."""
    count = 3000
    world = crowd(tmp_path, count, monkeypatch)
    world.clock.advance(TTL_S + DAY_S)
    world.make()
    world.load()
    world.run_until(lambda: len(world.shelf.expired) == count)
    assert world.clock.seconds() < TTL_S + DAY_S + 60
    assert world.worst() < MOST_CALLS
    assert world.calls > 10 * MOST_CALLS
    world.close_files()
