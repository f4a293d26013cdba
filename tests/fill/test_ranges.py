"""Several connections for one blob: each byte once, whatever becomes of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from unittest.mock import patch

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from regproxy.errors import (
    ContentMismatch,
    NotFound,
    RangeIgnored,
    StorageFailed,
    Throttled,
    TransferStopped,
    UpstreamUnreachable,
)
from regproxy.extents import Extents
from regproxy.fill import lines, pieces
from regproxy.interfaces import IBlob
from regproxy.oci.digest import Digest
from regproxy.settings import FillSettings
from regproxy.testing.bodies import Feed
from regproxy.testing.remotes import MemoryRemote
from tests.proxy.world import NAME, Seen, World, drain

SIZE = 20_000
CONTENT = random.Random(3).randbytes(SIZE)
SMALL = {
    "regproxy.fill.plan.HOLD_BACK_BYTES": 100,
    "regproxy.fill.transfer.BATCH_BYTES": 200,
    "regproxy.fill.pieces.RANGES_ABOVE_BYTES": 1000,
    "regproxy.fill.pieces.MIN_PIECE_BYTES": 300,
    "regproxy.fill.pieces.USUAL_PIECE_BYTES": 1500,
    "regproxy.fill.pieces.MAX_PIECE_BYTES": 4000,
    "regproxy.fill.relay.AHEAD_BYTES": 300,
    "regproxy.fill.pokes.SLICE_S": 1e9,  # how fast this machine is does not matter
}


@pytest.fixture(autouse=True)
def small() -> Iterator[None]:
    with Small():
        yield


class Small:
    """Sizes that a test can look at."""

    def __enter__(self) -> None:
        self._patches = [patch(name, value) for name, value in SMALL.items()]
        for one in self._patches:
            one.start()

    def __exit__(self, *_: object) -> None:
        for one in self._patches:
            one.stop()


@attrs.define(eq=False)
class Line:
    """One connection to the upstream: the bytes ``start`` to ``stop``, given by hand."""

    start: int
    stop: int
    feed: Feed
    content: bytes = CONTENT

    @property
    def given(self) -> int:
        return max(0, len(self.feed.content) - self.start)

    @property
    def open(self) -> bool:
        return self.feed.open_count > 0 and self.feed.error is None and not self.feed.ended

    def give(self, count: int) -> None:
        at = self.start + self.given
        self.feed.give(self.content[at : min(self.stop, at + count)])


class Scene:
    """A large blob of an upstream that serves ranges, and all connections to it."""

    def __init__(
        self,
        content: bytes = CONTENT,
        ranged: bool = True,
        world: World | None = None,
        path: str = "team/app",
        salt: bytes = b"",
    ) -> None:
        self.world = world or World()
        self.remote = self.world.remote
        self.remote.ranged = ranged
        self.repository = self.world.repository(path)
        self.right = salt + CONTENT[len(salt) :]
        self.digest = Digest.of(self.right)
        self.content = salt + content[len(salt) :]
        self.lines: list[Line] = []
        self.waiting: list[IBlob] = []
        self.begin_anew()
        self.remote.piece_from = self.piece

    def begin_anew(self) -> None:
        """The next GET of the whole is a line of its own."""
        feed = self.remote.feed(self.repository, self.digest, Feed(SIZE))
        self.lines.append(Line(0, SIZE, feed, self.content))

    def piece(self, _: Feed, start: int, stop: int) -> Feed:
        feed = Feed(SIZE)
        feed.give(bytes(start))
        self.lines.append(Line(start, stop, feed, self.content))
        return feed

    def open(self) -> Seen:
        return self.world.open(self.repository, self.digest)

    def wait(self) -> None:
        """Somebody waits for all of it, to the end."""
        self.waiting.append(self.open().result)

    @property
    def running(self) -> list[Line]:
        return [line for line in self.lines if line.open]

    def flow(self, seconds: float = 1000.0, speed: int = 1000) -> None:
        """Everything comes, each line at the same speed a second, until nothing is left to do."""
        while seconds > 0 and (self.running or len(self.world.proxy.fills)):
            for line in self.running:
                line.give(speed // 10)
            self.world.clock.advance(0.1)
            seconds -= 0.1

    def brought(self) -> Extents:
        return Extents((line.start, line.start + line.given) for line in self.lines)


class Part:
    """A client that asked for a range."""

    def __init__(self, scene: Scene, start: int, stop: int) -> None:
        self.start, self.stop = start, stop
        self.body = scene.open().result.body(start, stop)
        self.got = b""
        self.read()

    def read(self) -> None:
        """All that is there; it waits for the rest as a sender does."""
        self.got += drain(self.body)
        if len(self.got) < self.stop - self.start:
            self.body.ready().addErrback(lambda failure: failure.trap(TransferStopped))


def check_all_is_well(scene: Scene, opened: int = 1) -> None:
    for blob in scene.waiting:
        blob.close()
    assert scene.world.store.contents[scene.digest] == scene.right
    assert scene.world.store.link(scene.repository, scene.digest) is not None
    assert len(scene.world.proxy.fills) == 0
    assert scene.remote.script.count("blobs.open") == opened
    assert not scene.running


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
    with patch.object(pieces, "RANGES_ABOVE_BYTES", SIZE):
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


@pytest.mark.parametrize(
    "error", [RangeIgnored(NAME, "sent all of it"), UpstreamUnreachable(NAME, "no more connections")]
)
def test_where_no_ranges_are_to_be_had_the_first_goes_on(error):
    scene = Scene()
    scene.remote.script.fail("blobs.piece", error)
    body = scene.open().result.body()
    scene.flow()
    assert drain(body) == CONTENT
    body.close()
    assert len(scene.lines) == 1
    assert scene.remote.script.count("blobs.piece") == 1
    check_all_is_well(scene)
    ignored = isinstance(error, RangeIgnored)
    assert scene.world.proxy.fills.lines.most(NAME) == (1 if ignored else 4), "it is remembered"


def test_a_piece_that_breaks_is_finished_by_the_others():
    scene = Scene()
    body = scene.open().result.body()
    scene.flow(0.6)
    second = scene.lines[1]
    second.feed.fail(UpstreamUnreachable(NAME, "reset"))
    scene.flow()
    assert drain(body) == CONTENT
    body.close()
    check_all_is_well(scene)


def test_a_first_connection_that_breaks_is_asked_on_from_there():
    scene = Scene(ranged=False)
    body = scene.open().result.body()
    scene.flow(5)
    front = scene.lines[0].given
    scene.remote.feed(scene.repository, scene.digest, Feed.whole(CONTENT))
    scene.lines[0].feed.fail(UpstreamUnreachable(NAME, "reset"))
    scene.flow()
    assert drain(body) == CONTENT
    body.close()
    check_all_is_well(scene)
    assert 0 < front < SIZE
    assert scene.remote.script.count("blobs.resume") == 1


def test_it_is_not_asked_on_for_ever():
    scene = Scene(ranged=False)
    body = scene.open().result.body()
    scene.flow(5)
    scene.world.break_for_good(scene.lines[0].feed)
    with pytest.raises(UpstreamUnreachable):
        drain(body)
    body.close()
    assert scene.remote.script.count("blobs.resume") == pieces.MAX_FAILURES + 1
    assert scene.world.store.spools[-1].state == "discarded"


def test_wrong_bytes_of_several_are_fetched_once_more_over_one():
    """Before anyone is blamed; who has been given nothing yet follows."""
    scene = Scene()
    body = scene.open().result.body()
    scene.flow(0.4)
    scene.lines[1].content = bytes(SIZE)
    scene.begin_anew()
    scene.flow()
    assert drain(body) == CONTENT
    body.close()
    assert scene.world.store.contents[scene.digest] == CONTENT
    whole = scene.lines[2:]
    assert scene.remote.script.count("blobs.open") == 2
    assert [line.given for line in whole if line.start == 0] == [SIZE]


def test_wrong_bytes_over_one_are_the_upstreams():
    scene = Scene(content=CONTENT[:-1] + b"!")
    scene.begin_anew()
    body = scene.open().result.body()
    scene.flow()
    with pytest.raises(ContentMismatch):
        drain(body)
    body.close()
    assert scene.remote.script.count("blobs.open") == 2
    assert scene.digest not in scene.world.store.contents


def test_a_disk_that_refuses_a_piece_costs_the_copy():
    scene = Scene()
    body = scene.open().result.body()
    scene.flow(0.6)
    scene.world.store.script.fail("spool.place", StorageFailed("the disk is full"))
    scene.world.store.script.fail("spool.append", StorageFailed("the disk is full"))
    scene.flow(0.5)
    scene.remote.feed(scene.repository, scene.digest, Feed.whole(CONTENT))
    for line in scene.running:
        line.give(SIZE)
    got = b""
    for _ in range(200):
        got += drain(body)
        scene.world.clock.advance(0.1)
    assert got == CONTENT
    body.close()
    scene.world.clock.advance(100)
    assert scene.digest not in scene.world.store.contents
    assert all(line.feed.open_count == 0 for line in scene.lines)


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


def test_another_repositorys_upstream_goes_on_where_the_first_fails_for_good():
    scene = Scene(ranged=False)
    world = scene.world
    body = scene.open().result.body()
    other = world.remotes["other.test"] = MemoryRemote("other.test")
    there = world.repository("team/app", "other.test")
    other.holding(there).blobs[scene.digest] = CONTENT
    world.proxy.blobs._remotes = world.proxy.blobs._permission._remotes = world.remotes
    joined = world.open(there, scene.digest).result.body()
    scene.flow(3)
    world.break_for_good(scene.lines[0].feed)
    assert drain(body) == drain(joined) == CONTENT
    body.close()
    joined.close()
    assert world.store.contents[scene.digest] == CONTENT
    assert world.store.link(there, scene.digest) is not None
    assert (world.asked("blobs.open", "other.test"), world.asked("blobs.resume", "other.test")) == (0, 1)


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


def test_wrong_bytes_and_breaks_are_no_reason_to_fetch_for_ever():
    """An upstream that cuts each transfer once, and then goes on with wrong bytes."""
    scene = Scene(content=CONTENT[:-1] + b"!", ranged=False)
    asked = scene.remote.script

    def find(*_: object) -> Feed:
        feed = Feed.whole(scene.content)
        if asked.calls[-1].operation == "blobs.open":
            if asked.count("blobs.open") > 10:
                raise NotFound(NAME, "enough")
            feed = Feed(SIZE)
            feed.give(scene.content[:5000])
            feed.fail(UpstreamUnreachable(NAME, "reset"))
        return feed

    with patch.object(scene.remote, "find_feed", find):
        body = scene.open().result.body()
        scene.flow(10)
    with pytest.raises(ContentMismatch):
        drain(body)
    body.close()
    assert asked.count("blobs.open") == 2


def test_a_piece_that_fails_while_the_firsts_last_bytes_go_to_the_disk():
    """What it gives back to the first is brought by the first."""
    scene = Scene()
    body = scene.open().result.body()
    scene.flow(0.35)
    first, second = scene.lines
    first.give(second.start - first.given - 600)
    scene.world.tick()
    disk = scene.world.store.script.hold("spool.append")
    first.give(600)
    scene.world.tick()
    scene.remote.script.fail("blobs.piece", UpstreamUnreachable(NAME, "no more"))
    second.feed.fail(UpstreamUnreachable(NAME, "reset"))
    scene.world.tick()
    disk.open()
    scene.flow()
    assert drain(body) == CONTENT
    body.close()
    assert scene.remote.script.count("blobs.open") == 1
    check_all_is_well(scene)


def test_too_many_requests_for_now_are_no_end():
    """One GET would have brought all of it: who asked for more connections waits until it is let in."""
    scene = Scene()
    body = scene.open().result.body()
    scene.flow(0.6)
    scene.remote.script.fail("blobs.piece", Throttled(NAME, "429", 3), times=4)
    while scene.remote.script.count("blobs.piece") < 3:
        scene.flow(0.1)
    other = Scene(world=scene.world, path="team/other", salt=b"another ")
    scene.remote.piece_from = scene.piece
    before = scene.remote.script.count("blobs.piece")
    other.wait()
    other.flow(1)
    assert scene.remote.script.count("blobs.piece") == before, "no other blob asks for what it can do without"
    other.lines[0].give(SIZE)
    scene.flow()
    assert drain(body) == CONTENT
    body.close()
    check_all_is_well(other, opened=2)
    check_all_is_well(scene, opened=2)


def test_one_connection_that_is_left_asks_for_all_that_is_left_at_once():
    scene = Scene()
    scene.wait()
    scene.flow(1.2)
    scene.remote.script.fail("blobs.piece", UpstreamUnreachable(NAME, "no"), times=1)
    for line in scene.running[1:]:
        line.feed.fail(UpstreamUnreachable(NAME, "reset"))
    before = scene.remote.script.count("blobs.piece")
    scene.flow()
    assert scene.remote.script.count("blobs.piece") - before <= 4, "one for each gap"
    check_all_is_well(scene)


def test_one_who_wants_an_hour_of_quiet_has_failed():
    scene = Scene()
    body = scene.open().result.body()
    scene.flow(0.6)
    scene.remote.script.fail("blobs.piece", Throttled(NAME, "429", 3600))
    scene.flow()
    with pytest.raises(Throttled):
        drain(body)
    body.close()
    assert scene.remote.script.count("blobs.piece") < 5


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
        assert len(fill._ranges._urgent) <= pieces.MAX_URGENT
        scene.flow()
    check_all_is_well(scene)


def test_where_the_disk_refuses_after_the_source_failed_the_other_one_goes_on():
    scene = Scene(ranged=False)
    world = scene.world
    body = scene.open().result.body()
    other = world.remotes["other.test"] = MemoryRemote("other.test")
    there = world.repository("team/app", "other.test")
    feed = other.feed(there, scene.digest, Feed(SIZE))
    feed.give(CONTENT[:15_000])
    other.holding(there).blobs[scene.digest] = CONTENT
    world.proxy.blobs._remotes = world.proxy.blobs._permission._remotes = world.remotes
    joined = world.open(there, scene.digest).result.body()
    scene.flow(3)
    world.break_for_good(scene.lines[0].feed)
    world.store.script.fail("spool.place", StorageFailed("the disk is full"))
    world.store.script.fail("spool.append", StorageFailed("the disk is full"))
    other.feed(there, scene.digest, Feed.whole(CONTENT))
    feed.give(CONTENT[15_000:])
    got = drain(joined)
    for _ in range(100):
        world.clock.advance(0.1)
        got += drain(joined)
        drain(body)
    assert got == CONTENT
    body.close()
    joined.close()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("give"), st.integers(0, 5), st.integers(1, 3000)),
        st.tuples(st.just("wait"), st.sampled_from([0.02, 0.3, 0.5, 2.0]), st.just(0)),
        st.tuples(st.just("cut"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("refuse"), st.just(0), st.just(0)),
        st.tuples(st.just("part"), st.integers(0, SIZE - 1), st.integers(1, 3000)),
    ),
    max_size=40,
)


@given(steps)
@example([("give", 0, 1501), ("wait", 0.5, 0), ("refuse", 0, 0), ("give", 0, 1801)])
@settings(deadline=None, max_examples=150)
def test_in_any_order_readers_get_the_blob_or_an_error_and_the_disk_the_blob_or_nothing(taken):
    with Small():
        scene = Scene()
        story = Story(scene)
        for step in taken:
            story.take(*step)
        scene.remote.feed(scene.repository, scene.digest, Feed.whole(CONTENT))
        scene.flow()
        story.end()
        check_all_is_well(scene)
        if not story.troubled:
            overlap = sum(line.given for line in scene.lines) - SIZE
            assert overlap <= 3000, "only what was on its way to the first when it was closed"


class Story:
    """What happens to one blob, and the clients that read it meanwhile."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        scene.remote.resumed_from = self.resumed
        self.parts = [Part(scene, 0, SIZE)]
        self.troubled = False

    def take(self, what: str, which: float, count: int) -> None:
        getattr(self, what)(which, count)
        for part in self.parts:
            part.read()

    def give(self, which: float, count: int) -> None:
        running = self.scene.running
        if running:
            running[int(which) % len(running)].give(count)

    def wait(self, seconds: float, _: int) -> None:
        self.scene.world.clock.advance(seconds)

    def cut(self, which: float, _: int) -> None:
        running = self.scene.running
        if running:
            self.troubled = True
            scene = self.scene  # which answers again at once
            scene.remote.feed(scene.repository, scene.digest, Feed.whole(CONTENT))
            running[int(which) % len(running)].feed.fail(UpstreamUnreachable(NAME, "reset"))

    def refuse(self, *_: float) -> None:
        self.scene.remote.script.fail("blobs.piece", RangeIgnored(NAME, "no"), times=1)

    def resumed(self, feed: Feed, start: int) -> Feed:
        """What one connection asks for after the others is a line as theirs are: its bytes count."""
        return feed if self.troubled else self.scene.piece(feed, start, SIZE)

    def part(self, start: float, count: int) -> None:
        if len(self.scene.world.proxy.fills):
            self.parts.append(Part(self.scene, int(start), min(SIZE, int(start) + count)))

    def end(self) -> None:
        for part in self.parts:
            part.read()
            assert part.got == CONTENT[part.start : part.stop]
            part.body.close()
