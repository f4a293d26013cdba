"""Who leaves and who comes while a blob passes."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError

from regproxy.errors import (
    NotFound,
    TransferStopped,
    UpstreamUnreachable,
)
from regproxy.fill.relay import LINGER_S, PIECE_BYTES
from regproxy.interfaces import How
from regproxy.testing.bodies import Feed
from tests.fill.refusing import CONTENT, FRONT, FULL, LARGE, MIB, Pull, fallen_behind
from tests.proxy.world import KIB, NAME, Seen, World, content_of, drain


class TestLeaving:
    def test_at_the_moment_of_the_refusal(self):
        pull = Pull()
        one, other = pull.first.result.body(), pull.open().result.body()
        drain(one), drain(other)
        one.ready().addCallback(lambda _: (one.close(), other.close()))
        other.ready().addErrback(lambda failure: failure.trap(TransferStopped) and None)
        pull.refuse()
        pull.assert_clean()

    def test_a_reader_that_leaves_stops_nothing(self):
        pull = Pull()
        one, other = pull.first.result.body(), pull.open().result.body()
        pull.refuse()
        drain(one), drain(other)
        one.close()
        pull.end()
        assert drain(other) == CONTENT[FRONT + 100 * KIB :]
        pull.assert_clean(other)

    def test_when_all_have_left_the_transfer_pauses(self):
        pull = Pull(LARGE)
        body = pull.first.result.body()
        pull.refuse()
        drain(body)
        body.close()
        [source] = [each for each in pull.feed.bodies if not each.closed]
        before = source._position
        pull.give_to(2 * MIB)
        assert source._position <= before + PIECE_BYTES, "one piece may be under way"
        pull.assert_clean()

    def test_when_all_have_left_the_transfer_ends(self):
        pull = Pull()
        body = pull.first.result.body()
        pull.refuse()
        body.close()
        pull.world.clock.advance(LINGER_S - 0.1)
        assert pull.feed.open_count == 1
        pull.assert_clean()

    def test_a_stop_tells_everyone(self):
        pull = Pull()
        bodies = [pull.first.result.body(), pull.open().result.body()]
        drain(bodies[0])
        waiting = Seen(bodies[0].ready())
        pull.refuse()
        assert waiting.result is None
        drain(bodies[0])
        waiting = Seen(bodies[0].ready())
        assert Seen(pull.world.proxy.stop()).result is None
        assert not waiting.waiting
        for body in bodies:
            with pytest.raises(TransferStopped):
                drain(body)
        for body in bodies:
            body.close()
        assert pull.feed.open_count == 0
        assert pull.world.clock.getDelayedCalls() == []

    def test_a_stop_at_the_moment_of_the_refusal(self):
        pull = Pull()
        body = pull.first.result.body()
        gate = pull.world.store.script.hold("spool.append")
        pull.world.store.script.fail("spool.append", FULL)
        pull.give_to(len(CONTENT))
        stopping = Seen(pull.world.proxy.stop())
        gate.open()
        assert stopping.result is None
        with pytest.raises(TransferStopped):
            drain(body)
        body.close()
        assert pull.feed.open_count == 0
        assert pull.world.clock.getDelayedCalls() == []

    def test_a_stop_while_a_transfer_is_asked_for(self):
        pull, fast, slow = fallen_behind()
        pull.world.remote.script.hold("blobs.resume")
        slow.read(MIB)
        assert slow.read(MIB) is None
        waiting = Seen(slow.ready())
        Seen(pull.world.proxy.stop())
        assert not waiting.waiting
        with pytest.raises(TransferStopped):
            slow.read(1)
        fast.close(), slow.close()
        assert pull.world.clock.getDelayedCalls() == []

    def test_closing_fails_a_pending_ready(self):
        pull = Pull()
        body = pull.first.result.body()
        pull.refuse()
        drain(body)
        waiting = Seen(body.ready())
        body.close()
        assert waiting.failed_with(TransferStopped)
        with pytest.raises(TransferStopped):
            body.read(1)
        pull.assert_clean()

    def test_a_pending_ready_may_be_cancelled(self):
        pull = Pull()
        body = pull.first.result.body()
        pull.refuse()
        drain(body)
        waiting = Seen(body.ready())
        waiting.deferred.cancel()
        assert waiting.failed_with(CancelledError)
        pull.end()
        assert drain(body) == CONTENT[FRONT + 100 * KIB :]
        pull.assert_clean(body)


class TestLateComers:
    def test_share_while_the_beginning_is_at_hand(self):
        world = World()
        repository = world.repository()
        digest, feed = world.feed(LARGE, repository)
        world.store.script.fail("spool.expect", FULL)
        first = world.open(repository, digest).result.body()
        feed.give(LARGE[: 2 * MIB])
        drain(first)
        late = world.open(repository, digest).result
        assert late.how is How.JOINED
        body = late.body()
        assert drain(body) == LARGE[: 2 * MIB]
        assert world.asked("blobs.open") == 1
        feed.fail(UpstreamUnreachable(NAME, "reset"))
        first.close(), body.close()

    def test_begin_anew_when_it_is_not_and_the_disk_is_tried_again(self):
        pull, fast, slow = fallen_behind()
        pull.world.store.script.heal()
        pull.world.remote.feed(pull.repository, pull.digest, Feed.whole(LARGE))
        assert content_of(pull.open().result) == LARGE
        assert pull.world.store.contents[pull.digest] == LARGE
        assert pull.asked() == (2, 0)
        fast.close(), slow.close()

    def test_another_repository_needs_its_own_right(self):
        pull = Pull()
        other = pull.world.repository("other")
        pull.refuse()
        body = pull.first.result.body()
        assert pull.world.open(other, pull.digest).failed_with(NotFound)
        body.close()

    def test_many_that_wait_share_one_transfer(self):
        world = World()
        repository = world.repository()
        gate = world.remote.script.hold("blobs.open")
        digest, feed = world.feed(CONTENT, repository)
        world.store.script.fail("spool", FULL)
        asking = [world.open(repository, digest) for _ in range(50)]
        gate.open()
        bodies = [seen.result.body() for seen in asking]
        feed.give(CONTENT)
        feed.end()
        assert all(drain(body) == CONTENT for body in bodies)
        assert (world.asked("blobs.open"), world.asked("blobs.resume")) == (1, 0)
        for body in bodies:
            body.close()
