"""A fill that goes on from what an earlier one has left."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regproxy.errors import (
    ContentMismatch,
    Denied,
    RangeIgnored,
    StorageFailed,
    TransferStopped,
    UpstreamUnreachable,
)
from regproxy.extents import Extents
from regproxy.interfaces import How, Leftover, Validator
from regproxy.oci.repository import Repository
from regproxy.testing.bodies import Feed
from regproxy.testing.shelf import LeftFile
from tests.fill.ranged import CONTENT, SIZE, Line, Part, Scene, Small, check_all_is_well
from tests.proxy.world import NAME, Seen, World, drain

pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture(autouse=True)
def worth_keeping() -> Iterator[None]:
    with patch("regproxy.fill.plan.KEEP_BYTES", 500):
        yield


class Resuming(Scene):
    """A blob of which something was left: its rest comes over lines that begin where they were asked to."""

    def __init__(self, *there: tuple[int, int], wrong: bool = False, **more: object) -> None:
        super().__init__(**more)
        left = bytearray(SIZE)
        for start, stop in there:
            left[start:stop] = self.right[start:stop]
        if wrong:
            left[there[0][0]] ^= 1
        leftover = Leftover.of(SIZE, there)
        self.world.store.leftovers[self.digest] = LeftFile(left, leftover)
        self.lines.clear()
        self.begin_from(leftover.start)

    def begin_from(self, start: int) -> Line:
        """The next opening is a line from there, if the upstream serves ranges; else of all."""
        if not self.remote.ranged:
            start = 0
        feed = self.remote.feed(self.repository, self.digest, Feed(SIZE))
        feed.give(bytes(start))
        self.lines.append(Line(start, SIZE, feed, self.content))
        return self.lines[-1]

    @property
    def left(self) -> Leftover | None:
        return self.world.store.left(self.digest)

    def asked(self) -> tuple[int, int]:
        return self.world.asked("blobs.open"), self.world.asked("blobs.open_from")


class TestGoingOn:
    def test_only_what_is_missing_is_fetched(self):
        scene = Resuming((0, 12_000))
        body = scene.open().result.body()
        scene.flow()
        assert drain(body) == CONTENT
        assert list(scene.brought()) == [(12_000, SIZE)]
        assert scene.asked() == (0, 1)
        check_all_is_well(scene, opened=0)
        assert scene.left is None

    def test_islands_are_not_fetched_again(self):
        scene = Resuming((0, 4000), (6000, 9000), (15_000, SIZE))
        scene.wait()
        scene.flow()
        assert list(scene.brought()) == [(4000, 6000), (9000, 15_000)]
        assert sum(line.given for line in scene.lines) == 8000
        check_all_is_well(scene, opened=0)

    def test_nothing_at_the_front(self):
        scene = Resuming((6000, 9000))
        scene.wait()
        scene.flow()
        assert list(scene.brought()) == [(0, 6000), (9000, SIZE)]
        check_all_is_well(scene, opened=0)

    def test_all_was_there_but_the_last_byte_is_asked_for(self):
        """The right comes from an answer."""
        scene = Resuming((0, SIZE))
        scene.wait()
        scene.flow()
        assert list(scene.brought()) == [(SIZE - 1, SIZE)]
        check_all_is_well(scene, opened=0)

    def test_over_several_connections(self):
        scene = Resuming((0, 3000), (10_000, 11_000))
        scene.wait()
        scene.flow(speed=2000)
        assert len(scene.lines) > 2
        brought = Extents()
        for line in scene.lines:
            assert brought.reach(line.start) == line.start, "a byte came twice"
            brought.add(line.start, line.start + line.given)
        assert list(brought) == [(3000, 10_000), (11_000, SIZE)]
        check_all_is_well(scene, opened=0)

    def test_the_first_connection_breaks(self):
        scene = Resuming((0, 3000))
        scene.remote.resumed_from = lambda _, start: scene.piece(_, start, SIZE)
        scene.wait()
        scene.lines[0].give(4000)
        scene.world.tick()
        scene.lines[0].feed.fail(UpstreamUnreachable(NAME, "reset"))
        scene.flow()
        assert list(scene.brought()) == [(3000, SIZE)]
        assert sum(line.given for line in scene.lines) == SIZE - 3000
        check_all_is_well(scene, opened=0)

    def test_a_validator_goes_to_the_repository_that_gave_it_alone(self):
        for owner, etag, whole in (("team/app", '"old"', True), ("team/app", '"new"', False)):
            scene = Resuming((0, 12_000))
            scene.remote.etag = '"new"'
            file = scene.world.store.leftovers[scene.digest]
            validator = Validator(Repository.parse(NAME, owner), etag)
            file.left = Leftover(SIZE, file.left.there, validator)
            if whole:
                scene.lines.clear()
                scene.begin_anew()
            scene.wait()
            scene.flow()
            assert list(scene.brought()) == [(0 if whole else 12_000, SIZE)]
            check_all_is_well(scene, opened=0)

    def test_another_repository_does_not_send_it(self):
        scene = Resuming((0, 12_000))
        file = scene.world.store.leftovers[scene.digest]
        other = Validator(Repository.parse(NAME, "other/app"), '"theirs"')
        file.left = Leftover(SIZE, file.left.there, other)
        scene.wait()
        scene.flow()
        assert list(scene.brought()) == [(12_000, SIZE)]
        check_all_is_well(scene, opened=0)


islands = st.lists(st.integers(0, SIZE), min_size=2, max_size=8).map(
    lambda cuts: [(start, stop) for start, stop in zip(sorted(cuts)[::2], sorted(cuts)[1::2], strict=False)]
)


@settings(max_examples=60, deadline=None)
@given(islands.filter(lambda pairs: any(a < b for a, b in pairs)), st.integers(300, 4000), st.booleans())
def test_whatever_was_left(there: list[tuple[int, int]], speed: int, several: bool) -> None:
    """The blob is right, and what was there is not fetched again but for what was under way at a border."""
    with Small():
        scene = Resuming(*there)
        if not several:
            scene.remote.script.fail("blobs.piece", RangeIgnored(NAME, "200"))
            scene.remote.resumed_from = lambda _, start: scene.piece(_, start, SIZE)
        scene.wait()
        scene.flow(speed=speed)
        missing = SIZE - Extents(there).total
        lines, gaps = len(scene.lines), len(there) + 1
        assert sum(line.given for line in scene.lines) <= missing + 1 + (speed // 10) * (lines + gaps)
        assert scene.brought().total >= missing
        check_all_is_well(scene, opened=0)


class TestReaders:
    def test_get_what_is_hashed_while_the_rest_is_not_there(self):
        scene = Resuming((0, 12_000))
        blob = scene.open().result
        assert (blob.how, blob.size) == (How.MISS, SIZE)
        body = blob.body()
        assert drain(body) == CONTENT[:12_000], "no byte has come from upstream"
        scene.flow()
        assert drain(body) == CONTENT[12_000:]
        body.close()

    def test_of_a_part_need_not_wait_for_the_hash(self):
        scene = Resuming((0, 12_000))
        gate = scene.world.store.script.hold("spool.catch_up")
        part = Part(scene, 11_000, 11_500)
        assert part.got == CONTENT[11_000:11_500]
        part.body.close()
        gate.open()
        scene.flow()
        check_all_is_well(scene, opened=0)

    def test_the_rest_comes_while_it_is_hashed(self):
        """And is not kept in memory meanwhile."""
        scene = Resuming((0, 12_000))
        gate = scene.world.store.script.hold("spool.catch_up")
        body = scene.open().result.body()
        scene.lines[0].give(SIZE)
        scene.world.clock.advance(0.1)
        assert drain(body) == b""
        fill = scene.world.proxy.fills.running(scene.digest)
        assert not fill._ranges._tail._taken
        gate.open()
        scene.flow()
        assert drain(body) == CONTENT
        check_all_is_well(scene, opened=0)

    def test_a_whole_answer_waits_for_the_right_hash(self):
        scene = Resuming((0, SIZE))
        body = scene.open().result.body()
        assert drain(body) == CONTENT[: SIZE - 100]
        assert body.read(1) is None
        scene.flow()
        assert drain(body) == CONTENT[SIZE - 100 :]
        body.close()


class TestRights:
    def test_what_was_left_opens_nothing_by_itself(self):
        scene = Resuming((0, 12_000))
        scene.remote.answer(403)
        assert scene.open().failed_with(Denied)
        assert scene.left is not None, "it is there for who may"
        assert scene.world.store.contents == {}
        scene.remote.answer(None)
        scene.wait()
        scene.flow()
        check_all_is_well(scene, opened=0)

    def test_an_upstream_in_trouble_leaves_it(self):
        scene = Resuming((0, 12_000))
        scene.remote.script.fail("blobs.open_from", UpstreamUnreachable(NAME, "down"))
        assert scene.open().failed_with(UpstreamUnreachable)
        assert scene.left is not None

    def test_a_stop_while_it_is_asked_for_leaves_it(self):
        scene = Resuming((0, 12_000))
        scene.remote.script.hold("blobs.open_from")
        waiting = scene.open()
        assert Seen(scene.world.proxy.stop()).result is None
        assert waiting.failed_with(TransferStopped)
        assert scene.left is not None


class TestWhatDoesNotFit:
    def test_ranges_are_ignored(self):
        """One stream from the first byte on; no other question, and no error."""
        scene = Resuming((0, 12_000), ranged=False)
        scene.wait()
        scene.flow()
        assert list(scene.brought()) == [(0, SIZE)]
        assert scene.asked() == (0, 1)
        check_all_is_well(scene, opened=0)

    def test_other_bytes_are_sent(self):
        """It is opened as ever."""
        scene = Resuming((0, 12_000))
        scene.remote.script.fail("blobs.open_from", RangeIgnored(NAME, "416"))
        scene.lines.clear()
        scene.begin_anew()
        scene.wait()
        scene.flow()
        assert list(scene.brought()) == [(0, SIZE)]
        assert scene.asked() == (1, 1)
        check_all_is_well(scene)

    def test_another_size(self):
        scene = Resuming((0, 12_000))
        file = scene.world.store.leftovers[scene.digest]
        file.left = Leftover(SIZE + 1, ((0, 12_000),))
        opened = scene.lines[0].feed
        seen = scene.open()
        assert opened.open_count == 1, "opened anew: this feed is read from its first byte on"
        scene.world.proxy.stop()
        assert seen.result.size == SIZE
        assert scene.asked() == (1, 1)

    @pytest.mark.parametrize("operation", ["take", "spool.expect"])
    def test_a_disk_that_does_not_give_it_back_costs_no_pull(self, operation):
        scene = Resuming((0, 12_000))
        scene.world.store.script.fail(operation, StorageFailed("read-only"))
        scene.remote.resumed_from = lambda _, start: scene.piece(_, start, SIZE)
        if operation == "take":
            scene.lines.clear()
            scene.begin_anew()
        body = scene.open().result.body()
        got = b""
        for _ in range(400):
            for line in scene.running:
                line.give(200)
            scene.world.clock.advance(0.1)
            got += drain(body)
        assert got == CONTENT
        body.close()

    def test_it_cannot_be_read(self):
        """What is before it is served, the rest passes from upstream."""
        scene = Resuming((0, 12_000))
        scene.world.store.script.fail("spool.catch_up", StorageFailed("EIO"))
        scene.remote.resumed_from = lambda _, start: scene.piece(_, start, SIZE)
        body = scene.open().result.body()
        got = b""
        for _ in range(400):
            for line in scene.running:
                line.give(200)
            scene.world.clock.advance(0.1)
            got += drain(body)
        assert got == CONTENT
        body.close()
        assert scene.left is None


class TestWrongBytes:
    def test_of_the_leftover_are_nobodys_fault(self):
        """All of it comes once more, from the same source; who has sent nothing gets it."""
        scene = Resuming((0, 12_000), wrong=True)
        gate = scene.world.store.script.hold("spool.catch_up")
        waiting = scene.open()
        body = waiting.result.body()
        scene.lines[0].give(SIZE)
        scene.world.clock.advance(0.1)
        scene.begin_anew()
        gate.open()
        scene.flow()
        assert drain(body) == CONTENT
        body.close()
        assert list(scene.brought()) == [(0, SIZE)]
        assert scene.asked() == (1, 1)
        check_all_is_well(scene)
        assert scene.left is None

    def test_who_was_given_some_of_them_is_cut(self):
        scene = Resuming((0, 12_000), wrong=True)
        body = scene.open().result.body()
        assert len(drain(body)) == 12_000
        scene.lines[0].give(SIZE)
        scene.world.clock.advance(0.1)
        with pytest.raises(ContentMismatch):
            drain(body)
        body.close()

    def test_of_the_upstream_are_blamed_the_second_time(self):
        scene = Resuming((0, 12_000), content=bytes(SIZE))
        seen = scene.open()
        scene.lines[0].give(SIZE)
        scene.begin_anew()
        scene.world.clock.advance(0.1)
        scene.flow(20)
        assert scene.asked() == (1, 1)
        assert scene.world.store.contents == {}
        assert len(scene.world.proxy.fills) == 0
        assert scene.left is None
        seen.result.close()


class TestLeaving:
    def begun(self, count: int = 5000) -> Scene:
        scene = Scene(ranged=False)
        scene.wait()
        scene.lines[0].give(count)
        scene.world.tick()
        scene.remote.ranged = True
        return scene

    def go_on(self, scene: Scene) -> None:
        """The next question gets the rest."""
        feed = scene.remote.feed(scene.repository, scene.digest, Feed(SIZE))
        feed.give(bytes(5000))
        scene.lines.append(Line(5000, SIZE, feed, CONTENT))

    def left(self, scene: Scene) -> Leftover | None:
        return scene.world.store.left(scene.digest)

    def test_a_stop_leaves_what_has_come(self):
        scene = self.begun()
        assert Seen(scene.world.proxy.stop()).result is None
        assert self.left(scene) == Leftover(SIZE, ((0, 5000),))
        assert scene.world.store.spools[-1].state == "kept"

    def test_a_stop_with_pieces_under_way(self):
        scene = Scene()
        scene.wait()
        scene.flow(3)
        assert Seen(scene.world.proxy.stop()).result is None
        left = self.left(scene)
        assert left is not None
        assert len(left.there) > 1
        assert all(scene.brought().reach(start) >= stop for start, stop in left.there)

    def test_a_transfer_that_broke_for_good(self):
        scene = self.begun()
        scene.world.break_for_good(scene.lines[0].feed)
        assert self.left(scene) == Leftover(SIZE, ((0, 5000),))
        assert len(scene.world.proxy.fills) == 0

    def test_the_next_request_goes_on_from_there(self):
        scene = self.begun()
        scene.world.break_for_good(scene.lines[0].feed)
        self.go_on(scene)
        body = scene.open().result.body()
        scene.flow()
        assert drain(body) == CONTENT
        assert sum(line.given for line in scene.lines) == SIZE
        check_all_is_well(scene)

    def test_a_request_that_comes_while_it_is_brought_to_the_disk(self):
        scene = self.begun()
        gate = scene.world.store.script.hold("spool.keep")
        scene.world.break_for_good(scene.lines[0].feed)
        waiting = scene.open()
        assert waiting.waiting
        self.go_on(scene)
        gate.open()
        body = waiting.result.body()
        scene.flow()
        assert drain(body) == CONTENT
        check_all_is_well(scene)

    def test_a_few_bytes_are_not_worth_it(self):
        scene = self.begun(400)
        scene.world.proxy.stop()
        assert self.left(scene) is None
        assert scene.world.store.spools[-1].state == "discarded"

    def test_a_blob_that_is_gone_leaves_nothing(self):
        scene = self.begun()
        scene.remote.answer(404)
        scene.world.break_for_good(scene.lines[0].feed)
        assert self.left(scene) is None

    def test_a_disk_that_does_not_keep_it(self):
        scene = self.begun()
        scene.world.store.script.fail("spool.keep", StorageFailed("full"))
        assert Seen(scene.world.proxy.stop()).result is None

    def test_no_size_is_known(self):
        world = World()
        repository = world.repository()
        digest, feed = world.feed(CONTENT, repository, size=None)
        world.open(repository, digest)
        feed.give(CONTENT[:5000])
        world.tick()
        world.proxy.stop()
        assert world.store.left(digest) is None
