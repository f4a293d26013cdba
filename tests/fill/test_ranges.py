"""Several connections for one blob: when there are more of them, and each byte once."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from regproxy.errors import TransferStopped
from regproxy.fill import lines, pieces
from regproxy.settings import FillSettings
from tests.fill.ranged import CONTENT, SIZE, Scene, check_all_is_well
from tests.proxy.world import NAME, Seen, drain

pytestmark = pytest.mark.usefixtures("small")


def test_a_slow_line_gets_more_connections_and_each_byte_comes_once():
    scene = Scene()
    body = scene.open().result.body()
    scene.flow(0.4)
    assert len(scene.lines) == 2
    scene.flow(1.3)
    assert len(scene.running) == 4
    scene.flow()
    assert drain(body) == CONTENT
    body.close()
    check_all_is_well(scene)
    first, *others = scene.lines
    assert sum(line.given for line in others) + others[0].start == SIZE
    assert 0 <= first.given - others[0].start <= 2 * 100, "what was on its way when it was closed"
    assert all(line.given == line.stop - line.start for line in others)


def test_readers_get_the_bytes_in_order_as_they_come():
    scene = Scene()
    body = scene.open().result.body()
    got = b""
    while len(got) < SIZE - 100:
        before = len(got)
        scene.flow(0.5)
        got += drain(body)
        assert len(got) > before
        assert CONTENT.startswith(got)
    scene.flow()
    assert got + drain(body) == CONTENT
    body.close()


def test_the_next_blob_begins_with_as_many_as_were_worth_it():
    scene = Scene()
    scene.wait()
    scene.flow()
    next_one = Scene(world=scene.world, path="team/other", salt=b"another ")
    next_one.wait()
    assert len(next_one.running) == 4
    next_one.flow()
    scene.world.clock.advance(lines.REMEMBER_S)
    third = Scene(world=scene.world, path="team/third", salt=b"a third ")
    third.wait()
    assert len(third.running) == 1
    third.flow()
    for one in (next_one, third):
        check_all_is_well(one, opened=3)


def test_a_fast_line_is_left_alone():
    with patch.object(pieces, "FAST_BYTES_S", 1000):
        scene = Scene()
        scene.wait()
        scene.flow()
    assert len(scene.lines) == 1
    check_all_is_well(scene)


def test_a_small_blob_too():
    with patch.object(lines.Lines, "ranges_above_bytes", SIZE):
        scene = Scene()
        scene.wait()
        scene.flow()
    assert len(scene.lines) == 1
    check_all_is_well(scene)


def test_connections_that_bring_nothing_are_not_added():
    scene = Scene()
    scene.wait()
    while scene.running or len(scene.world.proxy.fills):
        for line in scene.running:
            line.give(100 // len(scene.running))
        scene.world.clock.advance(0.1)
        assert len(scene.running) <= 2
    check_all_is_well(scene)
    assert scene.world.proxy.fills.lines.worth(NAME)[0] == 1


def test_an_upstream_without_ranges_is_asked_once():
    scene = Scene(ranged=False)
    scene.wait()
    scene.flow()
    assert len(scene.lines) == 1
    check_all_is_well(scene)


def test_stopping_closes_every_connection():
    scene = Scene()
    body = scene.open().result.body()
    scene.flow(1.5)
    assert len(scene.running) >= 3
    assert Seen(scene.world.proxy.stop()).result is None
    with pytest.raises(TransferStopped):
        drain(body) and body.read(1)
    body.close()
    assert all(line.feed.open_count == 0 for line in scene.lines)
    assert scene.world.store.spools[-1].state == "discarded"


def test_the_limit_of_an_upstream_is_for_those_beside():
    scene = Scene()
    most = 0
    with patch.object(scene.world.proxy.fills.lines, "_limits", FillSettings(4, 2)):
        scene.wait()
        while scene.running:
            scene.flow(0.1)
            most = max(most, len(scene.running))
    assert most == 2
    check_all_is_well(scene)


def test_where_no_more_are_allowed_the_first_gives_nothing_up():
    """What it gave up would be asked for again, piece by piece."""
    scene = Scene()
    with patch.object(scene.world.proxy.fills.lines, "_limits", FillSettings(4, 1)):
        scene.wait()
        scene.flow()
    assert len(scene.lines) == 1
    check_all_is_well(scene)


def test_nobody_waits_so_one_connection_will_do():
    """A client that joins brings the others; one that leaves takes none, and adds none."""
    scene = Scene()
    scene.open().result.close()
    scene.flow(3)
    assert len(scene.lines) == 1
    body = scene.open().result.body()
    scene.flow(1.5)
    assert len(scene.running) >= 2
    body.close()
    before = len(scene.running)
    scene.flow(2)
    assert len(scene.running) <= before
    scene.flow()
    check_all_is_well(scene)
