"""A source that is slow, another at hand: the rest comes from there, no byte twice, and no reader notices."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from regproxy.errors import UpstreamUnreachable
from regproxy.fill import lines as lines_of
from regproxy.fill import slowness
from regproxy.interfaces import IBody
from regproxy.oci.repository import Repository
from regproxy.testing.bodies import Feed
from tests.fill.ranged import CONTENT, SIZE, Line, Scene, check_all_is_well
from tests.logged import logging
from tests.proxy.world import NAME, World, drain

pytestmark = pytest.mark.usefixtures("small")
OTHER = "other.test"
SLOW = 300
"""Bytes a second that are too few here."""


@pytest.fixture(autouse=True)
def _slow() -> Iterator[None]:
    with patch.object(slowness, "SLOW_BYTES_S", SLOW):
        yield


class Two(Scene):
    """The same blob in a repository of another upstream, whose readers have joined."""

    def __init__(self, ranged: bool = False, joined: bool = True, salt: bytes = b"") -> None:
        super().__init__(ranged=ranged, world=World(OTHER), salt=salt)
        self.other = self.world.remotes[OTHER]
        self.there: Repository = self.world.repository("team/app", OTHER)
        self.other.holding(self.there).blobs[self.digest] = self.right
        self.asked_from: list[int] = []
        self.there_is = Feed.whole(self.right)
        self.other.resumed_from = self.resumed
        self.bodies: list[IBody] = [self.open().result.body()]
        if joined:
            self.join()

    def join(self) -> None:
        self.bodies.append(self.world.open(self.there, self.digest).result.body())

    def resumed(self, _: Feed, start: int) -> Feed:
        self.asked_from.append(start)
        return self.there_is

    def check_rest(self, asked_from: list[int]) -> None:
        """It was asked for once, from the first byte that had not come when the slow one was left."""
        [start] = asked_from
        assert 0 <= self.lines[0].given - start <= 10, "what was given while the last batch lingered"

    def check_readers(self) -> None:
        for body in self.bodies:
            assert drain(body) == self.right
            body.close()
        assert self.world.store.contents[self.digest] == self.right
        assert len(self.world.proxy.fills) == 0
        assert self.world.clock.getDelayedCalls() == []
        assert all(line.feed.open_count == 0 for line in self.lines)


def test_the_rest_comes_from_the_other():
    scene = Two()
    scene.flow(slowness.SLOW_FOR_S - 1, speed=100)
    assert scene.asked_from == []
    scene.flow(3, speed=100)
    scene.check_rest(scene.asked_from)
    scene.check_readers()
    assert scene.world.asked("blobs.open") == 1
    for repository in (scene.repository, scene.there):
        assert scene.world.store.link(repository, scene.digest) is not None
    assert scene.world.proxy.fills.lines.is_slow(NAME)


def test_the_log_says_whose_transfer_goes_on_from_where():
    scene = Two()
    with logging() as logged:
        scene.flow(slowness.SLOW_FOR_S + 2, speed=100)
    [line] = [each for each in logged.lines("info") if "is asked for anew" in each]
    assert f"what {NAME} began to send of {scene.repository} " in line
    assert line.endswith(f"from byte {scene.asked_from[0]} on")
    scene.check_readers()


def test_one_that_sends_nothing_at_all_is_no_different():
    scene = Two()
    scene.flow(2, speed=1000)
    scene.flow(11, speed=0)
    scene.check_rest(scene.asked_from)
    scene.check_readers()


def test_a_burst_now_and_then_is_not_slow():
    scene = Two()
    while scene.running:
        scene.flow(8, speed=0)
        scene.flow(1, speed=5000)
    assert scene.asked_from == []
    scene.check_readers()


def test_without_another_it_goes_on():
    scene = Two(joined=False)
    scene.flow(60, speed=100)
    assert scene.running == scene.lines
    scene.join()
    scene.flow(1.5, speed=100)
    scene.check_rest(scene.asked_from)
    scene.check_readers()


def test_another_repository_of_the_same_upstream_is_no_other_line():
    scene = Two(joined=False)
    beside = scene.world.repository("team/beside")
    scene.remote.feed(beside, scene.digest, Feed.whole(CONTENT))
    scene.bodies.append(scene.world.open(beside, scene.digest).result.body())
    scene.flow(30, speed=100)
    assert scene.running == scene.lines
    scene.flow()
    scene.check_readers()


def test_what_we_hold_back_ourselves_is_not_slow():
    """A disk or a limit of ours would make the other as slow."""
    scene = Two()
    scene.lines[0].feed.held = True
    scene.flow(60, speed=100)
    assert scene.running == scene.lines
    scene.lines[0].feed.held = False
    scene.flow(12, speed=100)
    assert len(scene.asked_from) == 1
    scene.check_readers()


def test_where_the_other_fails_it_goes_back():
    scene = Two()
    scene.other.script.fail("blobs.resume", UpstreamUnreachable(OTHER, "no"))
    scene.remote.resumed_from = lambda feed, start: Feed.whole(CONTENT)
    scene.flow(40, speed=100)
    assert scene.world.asked("blobs.resume", OTHER) > 1
    assert scene.world.asked("blobs.resume") == 1
    scene.check_readers()


def test_where_the_other_is_slow_as_well_it_stays_there():
    scene = Two()
    scene.there_is = feed = Feed(SIZE)
    scene.flow(12, speed=100)
    start = scene.asked_from[0]
    line = Line(start, SIZE, feed)
    feed.give(bytes(start))
    for _ in range(100):
        line.give(100)
        scene.world.clock.advance(1)
    assert scene.asked_from == [start]
    assert scene.world.asked("blobs.resume") == 0
    line.give(SIZE)
    scene.world.clock.advance(1)
    scene.check_readers()


def test_it_is_remembered_for_a_while():
    """The next fill that may choose begins with the other."""
    scene = Two()
    scene.flow(12, speed=100)
    scene.check_readers()
    known = scene.world.proxy.fills.lines
    scene.world.clock.advance(lines_of.SLOW_S - 5)
    assert known.is_slow(NAME)
    scene.world.clock.advance(5)
    assert not known.is_slow(NAME)


def test_another_endpoint_of_the_same_upstream():
    """It is asked for the rest, and the slow one is told of."""
    scene = Two(joined=False)
    slow = scene.lines[0].feed
    slow.elsewhere = lambda: slow.found_slow == 0
    from_there: list[int] = []

    def resumed(_: Feed, start: int) -> Feed:
        from_there.append(start)
        return Feed.whole(CONTENT)

    scene.remote.resumed_from = resumed
    scene.flow(12, speed=100)
    scene.check_rest(from_there)
    assert slow.found_slow == 1
    assert not scene.world.proxy.fills.lines.is_slow(NAME), "only that endpoint is"
    scene.check_readers()


def test_all_connections_of_a_slow_source_are_left():
    """Their sum is what counts; what they have brought is used."""
    scene = Two(ranged=True)
    scene.flow(2, speed=1000)
    assert len(scene.running) > 2
    before = sum(line.given for line in scene.lines)
    scene.flow(14, speed=10)
    scene.check_readers()
    assert scene.asked_from
    given = sum(line.given for line in scene.lines)
    assert given - before < 600
    asked = SIZE - scene.brought().total
    assert asked > 0
    assert scene.world.asked("blobs.piece") == len(scene.lines) - 1


def test_one_slow_piece_among_fast_ones():
    """Its rest is given to the others, none of its bytes is fetched twice."""
    scene = Scene()
    body = scene.open().result.body()
    scene.flow(1.6, speed=200)
    lame = scene.running[1]
    at_s = scene.world.clock.seconds()
    while scene.running or len(scene.world.proxy.fills):
        for line in scene.running:
            line.give(1 if line is lame else 20)
        scene.world.clock.advance(0.1)
    assert drain(body) == CONTENT
    body.close()
    assert lame.given < lame.stop - lame.start, "it was left"
    fast_s = SIZE / (3 * 200)
    assert scene.world.clock.seconds() - at_s < fast_s + slowness.LAGS_FOR_S + 5
    first = scene.lines[0]
    overlap = sum(line.given for line in scene.lines) - SIZE
    assert 0 <= overlap <= 2 * 20, "what was on its way when the first was closed"
    assert first.given < SIZE
    check_all_is_well(scene)


def test_stopping_while_it_is_looked_at():
    scene = Two()
    scene.flow(5, speed=100)
    scene.world.proxy.stop()
    for body in scene.bodies:
        body.close()
    assert scene.world.clock.getDelayedCalls() == []
