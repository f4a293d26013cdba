"""A wall clock that was set, while the daemon was up or down: nothing goes early by it."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from regproxy.expiry.files import StateFiles
from regproxy.interfaces import Kind
from tests.expiry.world import (
    DAY_S,
    NGINX,
    ONE,
    STATE,
    TTL_S,
    TWO,
    World,
    digest,
)


def test_after_a_very_long_time_nothing_goes_at_once(world: World) -> None:
    """More than 30 days: a wrong clock is likelier; the time that was left counts from now."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(DAY_S)
    world.end()
    world.clock.advance(31 * DAY_S)
    world.begin()
    world.pass_s(TTL_S - DAY_S - 1)
    assert world.shelf.expired == []
    world.pass_s(61)
    assert world.shelf.expired == [(NGINX, ONE)]


def test_a_clock_before_the_state(world: World) -> None:
    """The time that was left counts, and a later right clock is no jump into expiry."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(DAY_S)
    world.end()
    world.wall.ahead_s -= 400 * DAY_S
    world.begin()
    world.pass_s(TTL_S - DAY_S - 1)
    assert world.shelf.expired == []
    world.pass_s(61)
    assert world.shelf.expired == [(NGINX, ONE)]


@pytest.mark.parametrize("header", [b"rubbish", b'{"version":1,"saved":"yesterday","entries":{', b""])
@pytest.mark.parametrize("ahead_s", [365 * DAY_S, 31 * DAY_S + TTL_S])
def test_a_clock_far_ahead_and_a_damaged_first_line(world: World, header: bytes, ahead_s: float) -> None:
    """When it was saved is not known then; the uses in it tell the time as well."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(DAY_S)
    world.shelf.put(NGINX, TWO)
    world.end()
    path = world.folder / STATE
    _, *lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([header + b"\n", *lines]))
    world.wall.ahead_s += ahead_s
    world.begin()
    world.pass_s(TTL_S - DAY_S - 1)
    assert world.shelf.expired == []
    world.pass_s(61)
    assert world.shelf.expired == [(NGINX, ONE)]
    world.pass_s(DAY_S)
    assert world.shelf.expired == [(NGINX, ONE), (NGINX, TWO)]


@pytest.mark.parametrize("days", [10, -10, 365, -365])
def test_a_clock_that_is_set_just_before_a_stop(world: World, days: float) -> None:
    """Nobody looked at the clocks in between."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(DAY_S)
    world.wall.ahead_s += days * DAY_S
    world.end()
    world.files = StateFiles(world.folder)
    world.begin()
    world.pass_s(60)
    assert world.shelf.expired == []


@pytest.mark.parametrize("days", [10, -10, 365, -365])
def test_a_clock_that_is_set_while_nothing_happens(world: World, days: float) -> None:
    """It is noticed within a minute, and a kill after that changes nothing."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(DAY_S)
    world.wall.ahead_s += days * DAY_S
    world.pass_s(70)
    world.kill()
    world.begin()
    world.pass_s(60)
    assert world.shelf.expired == []


STEPS = (
    "begin_journal",
    "append",
    "begin_state",
    "write_state",
    "sync_state",
    "name_state",
    "remove_journal",
)


@pytest.mark.parametrize("days", [-10, 365, -365])
@pytest.mark.parametrize("last", STEPS)
def test_a_kill_while_a_jump_is_written_down(
    world: World, days: float, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal speaks of the clock of its state until a new state is there."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.shelf.put(NGINX, TWO)
    world.pass_s(DAY_S)
    world.wall.ahead_s += days * DAY_S
    world.scheduler.used(NGINX, TWO)
    dead = []

    def mortal(step: str, todo: Any) -> Any:
        def run(*args: Any) -> Any:
            if step == last or dead:
                dead.append(step)
                raise OSError(errno.EIO, "killed")
            return todo(*args)

        return run

    with monkeypatch.context() as patched:
        for step in STEPS:
            patched.setattr(world.files, step, mortal(step, getattr(world.files, step)))
        world.pass_s(6)
    assert dead
    world.kill()
    world.begin()
    world.pass_s(60)
    assert world.shelf.expired == []
    world.pass_s(8 * DAY_S)
    assert len(world.shelf.expired) == 2


@pytest.mark.parametrize("days", [-400, 400])
def test_what_came_after_it_is_not_moved_again(world: World, days: int) -> None:
    """State and journal are of one clock: a start that moves what it reads writes it down at once."""
    world.begin()
    world.shelf.put(NGINX, digest(1), Kind.BLOB)
    world.pass_s(3600)
    world.end()
    world.wall.ahead_s += days * DAY_S
    world.begin()
    world.shelf.put(NGINX, digest(2), Kind.BLOB)
    world.pass_s(60)
    world.kill()
    world.begin()
    world.pass_s(TTL_S - 3600 - 120)
    assert world.shelf.expired == []
    world.pass_s(3600)
    assert world.shelf.expired == [(NGINX, digest(1))]
    world.pass_s(120)
    assert world.shelf.expired == [(NGINX, digest(1)), (NGINX, digest(2))]
