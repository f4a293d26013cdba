"""A silent source holds up nobody who has another: whoever answers first is used."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import Denied, NotFound, StorageFailed, TransferStopped, UpstreamTimeout
from regproxy.fill.opening import MOST_ASKED, PATIENCE_S, ask_in_s
from regproxy.interfaces import How
from regproxy.testing.bodies import Feed
from tests.proxy.world import KIB, NAME, Seen, World, content_of, drain

CONTENT = os.urandom(300 * KIB)
OTHER, THIRD, FOURTH = "other.test", "third.test", "fourth.test"


@given(
    st.dictionaries(st.sampled_from("abcde"), st.floats(0, 100)), st.sampled_from("abcdef"), st.floats(0, 200)
)
def test_another_upstream_after_a_while(asked_s, upstream, now_s):
    found = ask_in_s(asked_s, upstream, now_s)
    if not asked_s:
        assert found == 0.0
    elif upstream in asked_s or len(asked_s) >= MOST_ASKED:
        assert found is None
    else:
        assert found is not None
        assert 0 <= found <= max(0.0, max(asked_s.values()) + PATIENCE_S - now_s)
        assert (found == 0) == (now_s >= max(asked_s.values()) + PATIENCE_S)


class Silent:
    """The first source's upstream says nothing; readers of another have joined by a right of their own."""

    def __init__(self, *more: str, error: BaseException | None = None) -> None:
        """``error`` is what it says in the end."""
        self.world = World(OTHER, *more)
        self.here, self.there = self.world.repository(), self.world.repository("team/app", OTHER)
        self.digest, self.feed = self.world.feed(CONTENT, self.here)
        self.other_feed = self.world.remotes[OTHER].feed(self.there, self.digest, Feed(len(CONTENT)))
        self.gate = self.world.remote.script.hold("blobs.open")
        if error is not None:
            self.world.remote.script.fail("blobs.open", error)
        self.first = self.open_here()
        self.second = self.world.open(self.there, self.digest)
        assert self.first.waiting
        assert self.second.waiting

    def open_here(self) -> Seen:
        return self.world.open(self.here, self.digest)

    def asked(self) -> tuple[int, int]:
        return self.world.asked("blobs.open"), self.world.asked("blobs.open", OTHER)

    def come(self) -> None:
        self.other_feed.give(CONTENT)
        self.other_feed.end()
        self.world.tick()

    def check_end(self) -> None:
        assert len(self.world.proxy.fills) == 0
        assert self.world.clock.getDelayedCalls() == []
        assert self.feed.open_count == self.other_feed.open_count == 0
        assert all(blob.closed or blob.opened for blob in self.world.remote.opened)
        assert {spool.state for spool in self.world.store.spools} <= {"committed", "discarded"}
        assert all(file.closed for spool in self.world.store.spools for file in spool.files)


def test_the_others_source_is_asked_after_a_short_time():
    scene = Silent()
    scene.world.clock.advance(PATIENCE_S - 0.1)
    assert scene.asked() == (1, 0)
    scene.world.clock.advance(0.1)
    assert scene.asked() == (1, 1)
    assert scene.second.result.how is How.MISS
    assert scene.first.waiting, "what another's upstream sends is not for them"
    late = scene.open_here()
    assert late.waiting
    assert not scene.world.open(scene.there, scene.digest).waiting
    scene.gate.open()
    assert content_is_read_once(scene, [scene.first, late, scene.second])
    for repository in (scene.here, scene.there):
        assert scene.world.store.link(repository, scene.digest) is not None


def content_is_read_once(scene: Silent, waiting: list[Seen]) -> bool:
    bodies = [seen.result.body() for seen in waiting]
    scene.come()
    for body in bodies:
        assert drain(body) == CONTENT
        body.close()
    assert scene.feed.bodies == [], "nothing is read of who answers later"
    scene.world.proxy.stop()
    return scene.asked() == (1, 1)


def test_who_answers_in_time_is_not_helped():
    scene = Silent()
    scene.world.clock.advance(PATIENCE_S - 0.1)
    scene.gate.open()
    scene.world.clock.advance(5)
    assert scene.asked() == (1, 0)
    scene.feed.give(CONTENT)
    scene.feed.end()
    for seen in (scene.first, scene.second):
        assert content_of(seen.result) == CONTENT
    scene.check_end()


def test_the_silent_one_may_be_the_first_after_all():
    scene = Silent()
    scene.world.remotes[OTHER].script.hold("blobs.open")
    scene.world.clock.advance(PATIENCE_S)
    assert scene.asked() == (1, 1)
    scene.gate.open()
    bodies = [scene.first.result.body(), scene.second.result.body()]
    scene.feed.give(CONTENT)
    scene.feed.end()
    scene.world.tick()
    for body in bodies:
        assert drain(body) == CONTENT, "a proof of their own is enough for the others"
        body.close()
    scene.check_end()


@pytest.mark.parametrize("error", [NotFound(NAME, "404"), Denied(NAME, "403"), UpstreamTimeout(NAME, "12 s")])
@pytest.mark.parametrize("ended", [False, True])
def test_what_it_answers_later_is_its_own_readers(error, ended):
    """Also when all has come from the other meanwhile."""
    scene = Silent(error=error)
    scene.world.clock.advance(PATIENCE_S)
    body = scene.second.result.body()
    if ended:
        scene.come()
    scene.gate.open()
    assert scene.first.failed_with(type(error))
    if not ended:
        scene.come()
    assert drain(body) == CONTENT
    body.close()
    assert scene.world.store.link(scene.here, scene.digest) is None
    assert scene.world.store.link(scene.there, scene.digest) is not None
    scene.check_end()


def test_when_all_has_come_its_readers_still_wait_for_its_word():
    scene = Silent()
    scene.world.clock.advance(PATIENCE_S)
    scene.come()
    assert content_of(scene.second.result) == CONTENT
    assert scene.first.waiting
    assert scene.world.store.contents[scene.digest] == CONTENT
    scene.gate.open()
    assert content_of(scene.first.result) == CONTENT
    assert scene.world.store.link(scene.here, scene.digest) is not None
    scene.check_end()


def test_where_both_fail_each_hears_of_its_own():
    scene = Silent(error=UpstreamTimeout(NAME, "12 s"))
    scene.world.remotes[OTHER].script.fail("blobs.open", NotFound(OTHER, "404"))
    scene.world.clock.advance(PATIENCE_S)
    assert scene.second.failed_with(NotFound)
    assert scene.first.waiting
    scene.gate.open()
    assert scene.first.failed_with(UpstreamTimeout)
    scene.check_end()


def test_another_repository_of_the_silent_upstream_is_no_help():
    scene = Silent()
    beside = scene.world.repository("team/beside")
    scene.world.remote.holding(beside).blobs[scene.digest] = CONTENT
    third = scene.world.open(beside, scene.digest)
    scene.world.clock.advance(PATIENCE_S * 3)
    assert scene.asked() == (1, 1)
    assert not third.waiting, "it has shown its right, so the other's bytes will do"
    scene.world.proxy.stop()
    scene.world.tick()
    third.result.close()
    scene.second.result.close()
    scene.check_end()


def test_no_more_than_a_few_are_asked_at_once():
    scene = Silent(THIRD, FOURTH)
    for name in (OTHER, THIRD, FOURTH):
        scene.world.remotes[name].script.hold("blobs.open")
    for name in (THIRD, FOURTH):
        there = scene.world.repository("team/app", name)
        scene.world.remotes[name].holding(there).blobs[scene.digest] = CONTENT
        scene.world.open(there, scene.digest)
    for _ in range(10):
        scene.world.clock.advance(PATIENCE_S)
    asked = [scene.world.asked("blobs.open", name) for name in (NAME, OTHER, THIRD, FOURTH)]
    assert asked == [1, 1, 1, 0]
    scene.world.proxy.stop()
    assert scene.first.failed_with(TransferStopped)
    scene.check_end()


@pytest.mark.parametrize("ended", [False, True])
def test_stopping_tells_who_waits_for_the_silent_one(ended):
    scene = Silent()
    scene.world.clock.advance(PATIENCE_S)
    body = scene.second.result.body()
    if ended:
        scene.come()
    assert Seen(scene.world.proxy.stop()).result is None
    assert scene.first.failed_with(TransferStopped)
    body.close()
    scene.check_end()


def test_a_disk_that_refuses_meanwhile():
    """Who answers later gets what passes, too."""
    scene = Silent()
    scene.world.clock.advance(PATIENCE_S)
    scene.world.store.script.fail("spool.append", StorageFailed("the disk is full"))
    body = scene.second.result.body()
    scene.other_feed.give(CONTENT[: 100 * KIB])
    scene.world.tick()
    scene.gate.open()
    late = scene.first.result.body()
    scene.other_feed.give(CONTENT[100 * KIB :])
    scene.other_feed.end()
    scene.world.tick()
    for one in (body, late):
        assert drain(one) == CONTENT
        one.close()
    scene.world.clock.advance(10)
    scene.check_end()


def test_a_client_that_leaves_takes_nothing_with_it():
    scene = Silent()
    scene.first.deferred.cancel()
    scene.world.clock.advance(PATIENCE_S)
    scene.come()
    assert content_of(scene.second.result) == CONTENT
    scene.gate.open()
    scene.check_end()
