"""A wall clock that was set while the daemon was down, and a kill before the next clean stop."""

from __future__ import annotations

from typing import Any

import pytest

from regproxy.expiry.files import StateFiles
from regproxy.interfaces import Kind
from tests.expiry.world import DAY_S, NGINX, TTL_S, World, digest


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


def test_nothing_is_written_beside_what_is_of_another_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between the two would move it as well: the state comes first, then the journal."""
    world.begin()
    world.shelf.put(NGINX, digest(1), Kind.BLOB)
    world.end()
    world.wall.ahead_s += 400 * DAY_S
    steps: list[str] = []
    for name in ("append", "name_state"):
        real = getattr(StateFiles, name)

        def noted(files: StateFiles, *args: object, name: str = name, real: Any = real) -> Any:
            steps.append(name)
            return real(files, *args)

        monkeypatch.setattr(StateFiles, name, noted)
    made = world.make()
    loading = made.start()
    made.used(NGINX, digest(1))
    world.settle()
    assert loading.called
    assert steps == ["name_state"]
    world.shelf.put(NGINX, digest(2), Kind.BLOB)
    world.pass_s(60)
    assert steps == ["name_state", "append"]


def test_a_state_that_cannot_be_written_then_still_gets_a_journal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Better moved than lost; what came since is written when the disk takes the state."""
    world.begin()
    world.shelf.put(NGINX, digest(1), Kind.BLOB)
    world.wall.ahead_s += 400 * DAY_S
    with monkeypatch.context() as patch:
        patch.setattr(StateFiles, "begin_state", refuse)
        world.pass_s(60)
    world.kill()
    assert world.begin(survey=False).entry(NGINX, digest(1)) is not None


def refuse(*args: object) -> None:
    raise OSError(28, "no space left")
