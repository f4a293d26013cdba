"""Readers of a part that is far ahead of what comes."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from regproxy.errors import StorageFailed, UpstreamUnreachable
from regproxy.fill import pieces
from regproxy.settings import FillSettings
from regproxy.testing.bodies import Feed
from tests.fill.ranged import CONTENT, SIZE, Part, Scene, check_all_is_well
from tests.proxy.world import NAME, Seen, drain

pytestmark = pytest.mark.usefixtures("small")


def test_a_part_far_ahead_gets_a_connection_of_its_own():
    scene = Scene()
    whole = scene.open().result.body()
    part = scene.open().result.body(18_000, 18_500)
    assert part.read(1) is None
    waiting = Seen(part.ready())
    [_, line] = scene.lines
    assert (line.start, line.stop) == (18_000, 18_500)
    line.give(200)
    scene.world.tick()
    assert waiting.result is None
    assert drain(part) == CONTENT[18_000:18_200]
    line.give(300)
    scene.world.tick()
    assert drain(part) == CONTENT[18_200:18_500]
    assert part.read(1) == b""
    part.close()
    scene.flow()
    assert drain(whole) == CONTENT
    whole.close()
    check_all_is_well(scene)
    assert line.given == 500
    assert sum(line.given for line in scene.lines) - SIZE <= 200, "each byte once"


def test_a_part_that_comes_soon_is_waited_for():
    scene = Scene()
    part = scene.open().result.body(900, 1000)
    assert part.read(1) is None
    waiting = Seen(part.ready())
    assert len(scene.lines) == 1
    scene.lines[0].give(1000)
    scene.world.tick()
    assert waiting.result is None
    assert drain(part) == CONTENT[900:1000]
    part.close()
    scene.flow()
    check_all_is_well(scene)


def test_a_part_of_what_another_connection_brought_already():
    scene = Scene()
    scene.wait()
    scene.flow(1.6)
    line = scene.lines[1]
    assert line.given > 100
    part = scene.open().result.body(line.start + 10, line.start + 100)
    assert drain(part) == CONTENT[line.start + 10 : line.start + 100]
    part.close()
    scene.flow()
    check_all_is_well(scene)


def test_a_part_goes_on_by_a_relay_where_the_disk_refuses():
    scene = Scene()
    part = scene.open().result.body(18_000, 19_000)
    waiting = Seen(part.ready())
    scene.lines[1].give(300)
    scene.world.tick()
    assert waiting.result is None
    got = part.read(300)
    assert got == CONTENT[18_000:18_300]
    for operation in ("spool.place", "spool.append"):
        scene.world.store.script.fail(operation, StorageFailed("the disk is full"))
    scene.remote.feed(scene.repository, scene.digest, Feed.whole(CONTENT))
    for line in scene.running:
        line.give(300)
    for _ in range(50):
        scene.world.clock.advance(0.1)
        got += drain(part)
    assert got == CONTENT[18_000:19_000]
    part.close()
    scene.world.clock.advance(100)
    assert scene.digest not in scene.world.store.contents


def test_a_readers_connection_goes_on_within_the_limits_only():
    scene = Scene()
    with patch.object(scene.world.proxy.fills.lines, "_limits", FillSettings(1, 16)):
        parts = [Part(scene, start, start + 50) for start in range(6000, 18_000, 3000)]
        assert len(scene.running) == 5
        for line in scene.lines[1:]:
            line.give(50)
        scene.world.tick()
        for part in parts:
            part.read()
            assert part.got == CONTENT[part.start : part.stop]
            part.body.close()
        assert len(scene.running) == 1
        scene.flow()
    check_all_is_well(scene)


def test_a_part_asks_no_upstream_for_a_range_that_is_known_to_serve_none():
    scene = Scene()
    scene.world.proxy.fills.lines.refuse(NAME)
    part = Part(scene, 18_000, 18_500)
    scene.flow()
    part.read()
    assert part.got == CONTENT[18_000:18_500]
    part.body.close()
    assert scene.remote.script.count("blobs.piece") == 0
    check_all_is_well(scene)


def test_a_part_takes_nothing_from_the_first_where_no_more_connections_are_to_be_had():
    scene = Scene()
    scene.remote.script.fail("blobs.piece", UpstreamUnreachable(NAME, "no more connections"))
    parts = [Part(scene, start, start + 500) for start in (18_000, 15_000, 9000)]
    scene.flow()
    for part in parts:
        part.read()
        assert part.got == CONTENT[part.start : part.stop]
        part.body.close()
    assert scene.remote.script.count("blobs.piece") == 1
    assert scene.remote.script.count("blobs.resume") == 0
    check_all_is_well(scene)


def test_wishes_of_readers_are_bounded():
    scene = Scene()
    scene.wait()
    with patch.object(pieces, "MAX_BESIDE", 2):
        for count in range(500):
            Part(scene, 5000 + 10 * count, 5100 + 10 * count).body.close()
        fill = scene.world.proxy.fills.running(scene.digest)
        assert len(fill._ranges._shares._urgent) <= pieces.MAX_URGENT
        scene.flow()
    check_all_is_well(scene)
