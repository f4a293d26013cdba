"""A hundred thousand entries: nothing holds the reactor for long, whatever is done to all of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from regproxy.expiry.freezing import freeze
from regproxy.expiry.lines import FOOTER, state_header
from regproxy.interfaces import Held, Kind
from tests.expiry.world import DAY_S, NGINX, TTL_S, WALL_S, World, digest

COUNT = 100_000
HELD_S = 0.020
KEY = f"{NGINX}@sha256:"


class Watched(World):
    """Notes how long each turn takes, in CPU seconds of this thread."""

    longest_s = 0.0

    def turn(self, work: Callable[[], object]) -> None:
        began = time.thread_time()
        work()
        took_s = time.thread_time() - began
        if took_s > self.longest_s:
            self.longest_s = took_s

    def run_until(self, done: Callable[[], bool]) -> None:
        """Run what is due, a delayed call a turn."""
        for _ in range(1_000_000):
            if done():
                return
            self.turn(self.one_call)
        raise AssertionError("it does not come to an end")


def lines(uses: Iterator[int]) -> bytes:
    return b",".join(
        b'\n"%s%064x":{"type":"blob","used":%d,"size":10,"pulls":1}' % (KEY.encode(), number, used)
        for number, used in enumerate(uses)
    )


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Watched]:
    """A state of 100,000 entries, 10,000 of them due at once a day from now."""
    world = Watched(tmp_path, freeze=freeze)
    wall = int(WALL_S)
    uses = (
        wall - int(TTL_S - DAY_S) if number % 10 == 0 else wall - number % 500_000 for number in range(COUNT)
    )
    content = state_header(0, WALL_S) + lines(uses) + FOOTER
    (tmp_path / "scheduler-state.json").write_bytes(content)
    world.make()
    yield world
    world.close_files()
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def test_no_turn_is_long(full: Watched) -> None:
    """Loading, a survey, uses, saving, the expiry of 10,000 at once, a clean stop."""
    world = full
    loading = world.scheduler.start()
    world.run_until(lambda: loading.called)
    assert len(world.scheduler) == COUNT
    for begin in range(0, COUNT, 128):
        held = [Held(NGINX, digest(number), Kind.BLOB, 10) for number in range(begin, begin + 128)]
        world.turn(lambda held=held: world.scheduler.found(held))  # type: ignore[misc]
    for number in range(1, 20_000, 10):
        world.turn(lambda number=number: world.scheduler.used(NGINX, digest(number)))  # type: ignore[misc]
    world.scheduler._saver.want_fold()
    world.run_until(lambda: world.clock.seconds() > DAY_S + 60)
    world.run_until(lambda: not world.scheduler._works)
    assert len(world.shelf.expired) >= COUNT // 10
    stopping = world.scheduler.stop()
    world.run_until(lambda: stopping.called)
    assert world.longest_s < HELD_S


def test_a_use_costs_little(full: Watched) -> None:
    """A few microseconds: it is on the way of every hit."""
    loading = full.scheduler.start()
    full.run_until(lambda: loading.called)
    some = [digest(number) for number in range(2000)]
    began = time.thread_time()
    for one in some:
        full.scheduler.used(NGINX, one)
    assert (time.thread_time() - began) / len(some) < 50e-6


def test_timers_are_few(full: Watched) -> None:
    """One for each slot in use, not one for each entry."""
    loading = full.scheduler.start()
    full.run_until(lambda: loading.called)
    assert len(full.clock.getDelayedCalls()) < TTL_S / 60 + 10
