"""What happens while the state is being read."""

from __future__ import annotations

import os

import pytest
from twisted.internet.defer import Deferred

from regproxy.expiry.files import StateFiles
from regproxy.expiry.slices import Slices
from regproxy.interfaces import Held, Kind
from regproxy.oci.tag import Tag
from tests.expiry.world import (
    CORP,
    DAY_S,
    NGINX,
    ONE,
    TAG,
    TWO,
    WALL_S,
    World,
    digest,
    populate,
    uses,
)


def test_uses_and_changes_while_the_state_is_read(world: World) -> None:
    """The daemon serves meanwhile: what happens then counts more than what is read."""
    populate(world)
    world.end()
    world.pass_s(DAY_S)
    made = world.make()
    made.used(NGINX, ONE)
    made.gone(CORP, TWO)
    made.added(Held(NGINX, TWO, Kind.BLOB, 4))
    made.used(NGINX, Tag("unknown"))
    made.start()
    world.settle()
    assert uses(world) == {
        f"{NGINX}@{ONE}": ("blob", WALL_S + 2 * DAY_S, 10, 3),
        f"{NGINX}@{TWO}": ("blob", WALL_S + 2 * DAY_S, 4, 1),
        f"{CORP}:{TAG}": ("tag", WALL_S, 0, 0),
    }
    world.pass_s(6)
    world.kill()
    world.begin(survey=False)
    assert len(uses(world)) == 3


def test_a_stop_while_the_state_is_read_writes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the entries would be lost."""
    populate(world)
    world.end()
    before = {path.name: path.read_bytes() for path in world.folder.iterdir()}
    monkeypatch.setattr("tests.expiry.world.at_once", lambda job, *args: Deferred())
    world.make()
    loading = world.scheduler.start()
    world.scheduler.used(NGINX, ONE)
    world.shelf.put(NGINX, digest(5))
    assert not loading.called
    world.end()
    assert loading.called
    assert {path.name: path.read_bytes() for path in world.folder.iterdir()} == before


def test_nothing_is_due_before_the_state_is_read(world: World) -> None:
    """Not begun, it does nothing, and leaves nothing behind."""
    world.make()
    world.shelf.put(NGINX, ONE)
    world.scheduler.used(NGINX, ONE)
    assert not world.clock.getDelayedCalls()
    assert not world.scheduler.loaded
    world.end()
    assert os.listdir(world.folder) == []


def test_a_use_while_entries_are_put_in_order_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was used before: the first use comes while what was read is moved onto the time line."""
    held = [(NGINX, digest(number)) for number in range(5)]
    world.begin()
    for one in held:
        world.shelf.put(*one)
    world.pass_s(6 * DAY_S)
    world.end()
    world.files = StateFiles(world.folder)
    made = world.make()
    with monkeypatch.context() as patched:
        patched.setattr(Slices, "over", property(lambda self: True))
        loading = made.start()
        while not made._adopting.filing:
            world.one_call()
        assert not loading.called
        for one in held:
            made.used(*one)
        world.settle()
    world.shelf.survey()
    world.pass_s(2 * DAY_S)
    assert world.shelf.expired == []
