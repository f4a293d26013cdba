"""What becomes of a fill when its readers have left: ``fill.abandon``."""

from __future__ import annotations

import random
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import UpstreamTrouble
from regproxy.fill.abandon import AHEAD_GRACE_S, GRACE_S, LOOK_S, Attendance, pause_in_s
from regproxy.interfaces import Leftover
from regproxy.oci.digest import Digest
from regproxy.settings import FillSettings
from regproxy.testing.bodies import Feed
from regproxy.testing.images import file_layer, make_image
from tests.fill.ranged import CONTENT, SIZE, Line, Scene, check_all_is_well
from tests.proxy.world import Seen, World, drain

pytestmark = pytest.mark.usefixtures("small")

PAUSE = FillSettings(abandon="pause")


@pytest.fixture(autouse=True)
def worth_keeping() -> Iterator[None]:
    with patch("regproxy.fill.plan.KEEP_BYTES", 500):
        yield


@given(st.booleans(), st.booleans(), st.booleans(), st.floats(0, 1e6))
def test_the_rule(followed: bool, asked_for: bool, attended: bool, alone_s: float) -> None:
    """Nobody's blob pauses after its grace; one begun ahead only while its repository is left alone too."""
    wait_s = pause_in_s(Attendance(followed, asked_for, attended, alone_s))
    grace_s = GRACE_S if asked_for else AHEAD_GRACE_S
    if followed:
        assert wait_s is None
    elif attended and not asked_for:
        assert wait_s == LOOK_S
    else:
        assert wait_s == max(0.0, grace_s - alone_s)
        assert (wait_s == 0) is (alone_s >= grace_s)


class Pausing(Scene):
    """A blob of which ``count`` bytes have come for one reader."""

    def __init__(self, count: int = 5000, fill: FillSettings = PAUSE) -> None:
        super().__init__(world=World(fill=fill), ranged=False)
        self.body = self.open().result.body()
        self.lines[0].give(count)
        self.world.tick()
        self.remote.ranged = True

    @property
    def left(self) -> Leftover | None:
        return self.world.store.left(self.digest)

    @property
    def fills(self) -> int:
        return len(self.world.proxy.fills)

    def wait(self, seconds: float = GRACE_S) -> None:
        self.world.clock.advance(seconds)

    def go_on(self, start: int = 5000) -> None:
        """The next question gets the rest."""
        feed = self.remote.feed(self.repository, self.digest, Feed(SIZE))
        feed.give(bytes(start))
        self.lines.append(Line(start, SIZE, feed, CONTENT))

    def check_it_ends_well(self, asking: Seen) -> None:
        body = asking.result.body()
        self.flow()
        assert drain(body) == CONTENT
        body.close()
        self.wait()
        assert sum(line.given for line in self.lines) == SIZE, "a byte came twice"
        check_all_is_well(self)
        assert self.world.clock.getDelayedCalls() == []


class TestPause:
    def test_after_the_last_reader_has_left(self):
        scene = Pausing()
        other = scene.open().result.body()
        scene.body.close()
        scene.wait(60)
        assert scene.fills == 1, "somebody reads it"
        other.close()
        scene.wait(GRACE_S - 0.1)
        assert scene.fills == 1
        scene.wait(0.1)
        assert (scene.fills, scene.running) == (0, [])
        assert scene.left == Leftover(SIZE, ((0, 5000),))
        assert scene.world.clock.getDelayedCalls() == []

    def test_the_next_request_goes_on_from_there(self):
        scene = Pausing()
        scene.body.close()
        scene.wait()
        scene.go_on()
        scene.check_it_ends_well(scene.open())

    def test_a_client_that_comes_back_in_time_finds_it_running(self):
        scene = Pausing()
        scene.body.close()
        scene.wait(GRACE_S - 1)
        again = scene.open()
        scene.wait(60)
        assert scene.fills == 1
        scene.check_it_ends_well(again)

    def test_a_blob_that_is_opened_and_not_yet_read_is_followed(self):
        scene = Pausing()
        blob = scene.open().result
        scene.body.close()
        scene.wait(60)
        assert scene.fills == 1
        blob.close()
        scene.wait()
        assert scene.fills == 0

    def test_who_asked_has_left_before_it_began(self):
        world = World(fill=PAUSE)
        gate = world.remote.script.hold("blobs.open")
        repository = world.repository()
        digest, feed = world.feed(CONTENT, repository)
        waiting = world.open(repository, digest)
        waiting.deferred.cancel()
        gate.open()
        feed.give(CONTENT[:1000])
        world.tick()
        assert len(world.proxy.fills) == 1
        world.clock.advance(GRACE_S)
        assert len(world.proxy.fills) == 0
        assert world.store.left(digest) == Leftover(SIZE, ((0, 1000),))

    def test_by_default_it_goes_on(self):
        scene = Pausing(fill=FillSettings())
        scene.body.close()
        scene.wait(3600)
        assert scene.fills == 1
        scene.flow()
        check_all_is_well(scene)


class TestRaces:
    def test_a_reader_comes_while_it_pauses(self):
        """It waits until what is there is on the disk, and goes on from that."""
        scene = Pausing()
        gate = scene.world.store.script.hold("spool.keep")
        scene.body.close()
        scene.wait()
        asking = scene.open()
        assert asking.waiting
        scene.go_on()
        gate.open()
        scene.check_it_ends_well(asking)

    def test_a_reader_comes_while_the_last_bytes_are_written(self):
        """The transfer is cancelled, and its last write is under way."""
        scene = Pausing()
        gate = scene.world.store.script.hold("spool.append")
        scene.lines[0].give(300)
        scene.world.tick()
        scene.body.close()
        scene.wait()
        asking = scene.open()
        assert asking.waiting
        scene.go_on()
        gate.open()
        assert asking.result.size == SIZE
        assert scene.world.asked("blobs.open_from") == 1
        scene.world.proxy.stop()

    def test_a_stop_while_it_pauses(self):
        scene = Pausing()
        gate = scene.world.store.script.hold("spool.keep")
        scene.body.close()
        scene.wait()
        stopping = Seen(scene.world.proxy.stop())
        assert stopping.waiting
        gate.open()
        assert stopping.result is None
        assert scene.left == Leftover(SIZE, ((0, 5000),))
        assert scene.world.clock.getDelayedCalls() == []

    @pytest.mark.parametrize("first", ["stop", "pause"])
    def test_both_while_a_write_is_under_way(self, first):
        """The second word does not cut short what waits for that write."""
        scene = Pausing()
        append = scene.world.store.script.hold("spool.append")
        scene.lines[0].give(300)
        scene.world.tick()
        scene.body.close()
        fill = scene.world.proxy.fills.running(scene.digest)
        scene.world.proxy.stop() if first == "stop" else fill.pause()
        stopping = Seen(scene.world.proxy.stop())
        fill.pause()
        assert stopping.waiting
        append.open()
        assert stopping.result is None
        assert scene.left == Leftover(SIZE, ((0, 5300),))
        assert scene.world.clock.getDelayedCalls() == []

    def test_a_stop_before_it_pauses(self):
        scene = Pausing()
        scene.body.close()
        scene.wait(1)
        assert Seen(scene.world.proxy.stop()).result is None
        assert scene.world.clock.getDelayedCalls() == []
        assert scene.left is not None

    def test_a_commit_is_under_way(self):
        """It comes to its end."""
        scene = Pausing()
        gate = scene.world.store.script.hold("spool.commit")
        scene.lines[0].give(SIZE)
        scene.world.tick()
        scene.body.close()
        scene.wait(60)
        gate.open()
        check_all_is_well(scene)
        assert scene.world.clock.getDelayedCalls() == []

    def test_its_last_bytes_come_in_the_grace(self):
        scene = Pausing()
        scene.body.close()
        scene.wait(1)
        scene.lines[0].give(SIZE)
        scene.wait(60)
        check_all_is_well(scene)
        assert scene.world.clock.getDelayedCalls() == []


class TestAhead:
    """Layers 1 to 4; the first is asked for, and the others are begun beside it."""

    def image(self) -> tuple[World, list[Feed], list[Seen]]:
        world = World(fill=FillSettings(ahead=2, abandon="pause"))
        repository = world.repository()
        chance = random.Random(5)
        image = make_image(*(file_layer({"name": chance.randbytes(3000)}) for _ in range(4)))
        world.remote.put_image(repository, "latest", image)
        Seen(world.proxy.manifests.get(repository, image.digest))
        layers = list(image.manifest.layers())
        digests = [layer.digest for layer in layers]
        feeds = [world.remote.feed(repository, each.digest, Feed(each.size_bytes)) for each in layers]
        self.contents = [image.blobs[digest] for digest in digests]
        for feed, content in zip(feeds, self.contents, strict=True):
            feed.give(content[:1000])
        opened = [world.open(repository, digests[0])]
        world.tick()
        return world, feeds, opened

    def test_goes_on_while_a_client_reads_the_image(self):
        world, _, opened = self.image()
        assert len(world.proxy.fills) == 3
        world.clock.advance(10 * AHEAD_GRACE_S)
        assert len(world.proxy.fills) == 3
        opened[0].result.close()
        world.proxy.stop()

    def test_pauses_later_than_what_was_asked_for_when_the_client_has_left(self):
        world, feeds, opened = self.image()
        world.clock.pump([1] * 100)
        opened[0].result.close()
        world.clock.pump([1] * int(GRACE_S))
        assert len(world.proxy.fills) == 2
        world.clock.pump([1] * int(AHEAD_GRACE_S - LOOK_S - GRACE_S))
        assert len(world.proxy.fills) == 2
        world.clock.pump([1] * int(LOOK_S + GRACE_S))
        assert len(world.proxy.fills) == 0
        assert sum(feed.open_count for feed in feeds) == 0
        assert len(world.store.leftovers) == 3
        assert world.clock.getDelayedCalls() == []

    def test_begins_nothing_for_a_client_who_has_left(self):
        world, feeds, opened = self.image()
        opened[0].result.close()
        world.clock.advance(GRACE_S)
        feeds[1].give(self.contents[1][1000:])
        world.tick()
        assert feeds[3].bodies == [], "the last layer of four"
        world.proxy.stop()


class TestAwaited:
    """Nobody reads it, and somebody waits until the disk has it."""

    def begun(self) -> tuple[World, Feed, Seen, Digest]:
        world = World(fill=PAUSE)
        repository = world.repository()
        digest, feed = world.feed(CONTENT, repository)
        bringing = Seen(world.proxy.blobs.bring(repository, digest))
        feed.give(CONTENT[:1000])
        world.clock.pump([LOOK_S] * int(3 * AHEAD_GRACE_S / LOOK_S))
        assert len(world.proxy.fills) == 1
        assert bringing.waiting
        return world, feed, bringing, digest

    def test_it_goes_on_to_its_end(self):
        world, feed, bringing, digest = self.begun()
        feed.give(CONTENT[1000:])
        world.tick()
        assert bringing.result is None
        assert world.store.holds(digest) == SIZE
        assert world.clock.getDelayedCalls() == []

    def test_it_pauses_when_that_waits_no_more(self):
        world, feed, bringing, digest = self.begun()
        bringing.deferred.cancel()
        world.clock.advance(AHEAD_GRACE_S)
        assert (len(world.proxy.fills), feed.open_count) == (0, 0)
        assert world.store.left(digest) == Leftover(SIZE, ((0, 1000),))
        assert world.clock.getDelayedCalls() == []

    def test_it_is_told_what_ended_it(self):
        world, feed, bringing, _ = self.begun()
        for _ in range(30):
            feed.fail(UpstreamTrouble("registry.test", "it cut the connection"))
            world.clock.pump([1.0] * 60)
        assert bringing.failed_with(UpstreamTrouble)
        assert world.clock.getDelayedCalls() == []
