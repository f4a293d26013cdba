"""A wall clock that was set while the daemon was down, and a kill before the next clean stop."""

from __future__ import annotations

import pytest

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
