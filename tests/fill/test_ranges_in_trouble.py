"""Several connections for one blob, whatever becomes of them: the others go on, or one does."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from regproxy.errors import (
    ContentMismatch,
    Denied,
    NotFound,
    RangeIgnored,
    StorageFailed,
    Throttled,
    UpstreamDown,
    UpstreamUnreachable,
)
from regproxy.fill import retries
from regproxy.interfaces import How
from regproxy.testing.bodies import Feed
from regproxy.testing.remotes import MemoryRemote
from tests.fill.ranged import CONTENT, SIZE, Part, Scene, check_all_is_well
from tests.proxy.world import NAME, drain

pytestmark = pytest.mark.usefixtures("small")


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


def test_a_reset_in_the_middle_of_a_piece_costs_no_connection():
    """As many as before go on, and every byte is brought once."""
    scene = Scene()
    scene.wait()
    scene.flow(1.7)
    assert len(scene.running) == 4
    for _ in range(2):
        scene.running[2].feed.fail(UpstreamUnreachable(NAME, "reset"))
        scene.flow(0.1)
        assert len(scene.running) == 4
        scene.flow(0.5)
    assert not scene.world.proxy.fills.running(scene.digest)._ranges._enough
    scene.flow()
    check_all_is_well(scene)
    assert 0 <= sum(line.given for line in scene.lines) - SIZE <= 100


def test_a_piece_that_breaks_again_and_again_is_asked_for_later_and_then_not():
    scene = Scene()
    scene.wait()
    scene.flow(0.4)
    asked = scene.remote.script
    at_s, before = scene.world.clock.seconds(), asked.count("blobs.piece")
    waits = []
    for _ in range(40):
        for line in scene.running[1:]:
            line.give(20)
            scene.world.tick()
            line.feed.fail(UpstreamUnreachable(NAME, "reset"))
        scene.world.clock.advance(0.05)
        if asked.count("blobs.piece") > before:
            waits.append(scene.world.clock.seconds() - at_s)
            at_s, before = scene.world.clock.seconds(), asked.count("blobs.piece")
        if len(waits) > retries.MAX_FAILURES:
            break
    assert waits[0] < 0.1, "at once the first time"
    assert waits[1] > 0.1 > waits[0]
    assert asked.count("blobs.piece") <= 1 + retries.MAX_FAILURES
    scene.flow()
    check_all_is_well(scene)


def test_what_a_reader_waits_for_is_asked_on_first():
    """The connection that was opened for it broke; the rest of the blob can wait."""
    scene = Scene()
    scene.wait()
    scene.flow(0.1)
    part = Part(scene, 15_000, 16_000)
    own = scene.lines[-1]
    assert own.start == 15_000
    lower = Part(scene, 8_000, 8_500)
    lower.body.close()
    own.give(100)
    scene.world.tick()
    own.feed.fail(UpstreamUnreachable(NAME, "reset"))
    scene.world.tick()
    again = scene.lines[-1]
    assert again.start == 15_100
    again.give(900)
    scene.world.tick()
    part.read()
    assert part.got == CONTENT[15_000:16_000]
    part.body.close()
    scene.flow()
    check_all_is_well(scene)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_piece_takes_its_repositorys_right_back(status):
    """The answer counts for its source: what it sends already is used, but by it the repository has no
    right, nor by an older link. Who reads goes on; who comes is asked for anew."""
    scene = Scene()
    world = scene.world
    body = scene.open().result.body()
    scene.flow(0.2)
    error = NotFound(NAME, "gone") if status == 404 else Denied(NAME, "no")
    scene.remote.script.fail("blobs.piece", error)
    scene.flow(1)
    assert scene.remote.script.count("blobs.piece") == 1
    assert not world.proxy.fills.running(scene.digest).serves(scene.repository)
    before = world.asked("blobs.stat")
    scene.remote.script.fail("blobs.stat", error)
    late = scene.open()
    assert late.failed_with(NotFound, Denied)
    assert world.asked("blobs.stat") == before + 1
    scene.flow()
    assert drain(body) == CONTENT
    body.close()
    assert world.store.contents[scene.digest] == CONTENT
    assert world.store.link(scene.repository, scene.digest) is None
    scene.remote.script.heal()
    again = scene.open().result
    assert again.how is How.HIT
    again.close()
    assert world.asked("blobs.open") == 1, "one HEAD gives the right back, the bytes are here"


def test_a_refused_piece_voids_an_older_link():
    """As the answer to the whole would: nobody is served by it when the bytes are here."""
    scene = Scene()
    store = scene.world.store
    store.put_blob(scene.repository, CONTENT)
    store.remove(scene.digest)
    assert store.link(scene.repository, scene.digest) is not None
    body = scene.open().result.body()
    scene.remote.script.fail("blobs.piece", NotFound(NAME, "gone"))
    scene.flow()
    assert drain(body) == CONTENT
    body.close()
    assert store.contents[scene.digest] == CONTENT
    assert store.link(scene.repository, scene.digest) is None
    scene.remote.script.fail("blobs.stat", NotFound(NAME, "gone"))
    assert scene.open().failed_with(NotFound)


def test_a_refused_piece_concerns_no_other_repository():
    scene = Scene()
    world = scene.world
    other = world.repository("team/other")
    scene.remote.holding(other).blobs[scene.digest] = CONTENT
    bodies = [scene.open().result.body(), world.open(other, scene.digest).result.body()]
    scene.flow(0.2)
    scene.remote.script.fail("blobs.piece", Denied(NAME, "no"))
    scene.flow()
    for body in bodies:
        assert drain(body) == CONTENT
        body.close()
    assert world.store.link(other, scene.digest) is not None
    assert world.store.link(scene.repository, scene.digest) is None


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
    assert scene.remote.script.count("blobs.resume") == retries.MAX_FAILURES + 1
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
    beside = scene.running[1:]
    scene.remote.script.fail("blobs.piece", UpstreamUnreachable(NAME, "no"), times=len(beside))
    for line in beside:
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


def test_one_whose_upstream_is_down_waits_until_it_is_tried_again():
    """A transfer that runs outlasts a short outage, and does not use up its tries on a closed door."""
    scene = Scene(ranged=False)
    body = scene.open().result.body()
    scene.flow(5)
    scene.remote.script.fail("blobs.resume", UpstreamDown(NAME, "not asked now", None, 9), times=4)
    scene.remote.feed(scene.repository, scene.digest, Feed.whole(CONTENT))
    scene.lines[0].feed.fail(UpstreamUnreachable(NAME, "reset"))
    for second in range(1, 60):
        scene.world.clock.advance(1)
        assert scene.remote.script.count("blobs.resume") <= 1 + second / 8
    assert drain(body) == CONTENT
    body.close()
    check_all_is_well(scene)


def test_one_whose_upstream_is_offline_has_failed():
    scene = Scene(ranged=False)
    body = scene.open().result.body()
    scene.flow(5)
    scene.remote.script.fail("blobs.resume", UpstreamDown(NAME, "offline"))
    scene.lines[0].feed.fail(UpstreamUnreachable(NAME, "reset"))
    scene.flow()
    with pytest.raises(UpstreamDown):
        drain(body)
    body.close()
    assert scene.remote.script.count("blobs.resume") == 1


def test_from_an_upstream_that_is_down_it_goes_over_to_another_source_at_once():
    scene = Scene(ranged=False)
    world = scene.world
    body = scene.open().result.body()
    other = world.remotes["other.test"] = MemoryRemote("other.test")
    there = world.repository("team/app", "other.test")
    other.holding(there).blobs[scene.digest] = CONTENT
    world.proxy.blobs._remotes = world.proxy.blobs._permission._remotes = world.remotes
    joined = world.open(there, scene.digest).result.body()
    scene.flow(3)
    scene.remote.script.fail("blobs.resume", UpstreamDown(NAME, "not asked now", None, 14))
    scene.lines[0].feed.fail(UpstreamUnreachable(NAME, "reset"))
    world.clock.advance(1)
    world.tick()
    assert drain(joined) == CONTENT
    assert drain(body) == CONTENT
    joined.close()
    body.close()
    assert scene.remote.script.count("blobs.resume") == 1
