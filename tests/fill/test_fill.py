"""One transfer, many readers: who gets which bytes, and who is told what."""

from __future__ import annotations

import os
from itertools import count

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from regproxy.errors import (
    ContentMismatch,
    TransferStopped,
    UpstreamUnreachable,
)
from regproxy.fill.plan import HOLD_BACK_BYTES
from regproxy.fill.pokes import Pokes
from regproxy.interfaces import How
from regproxy.oci.digest import Digest
from regproxy.testing.bodies import Feed
from tests.fill.begun import CONTENT, SMALL, begun
from tests.proxy.world import KIB, Seen, World, content_of, drain


class TestOneTransfer:
    def test_everyone_who_asks_at_once_shares_one_get(self):
        world = World()
        repository, digest = world.repository(), None
        gate = world.remote.script.hold("blobs.open")
        digest, feed = world.feed(CONTENT, repository)
        asking = [world.open(repository, digest) for _ in range(50)]
        assert all(seen.waiting for seen in asking)
        gate.open()
        blobs = [seen.result for seen in asking]
        assert [blob.how for blob in blobs] == [How.MISS] + [How.JOINED] * 49
        bodies = [blob.body() for blob in blobs]
        feed.give(CONTENT)
        feed.end()
        assert all(drain(body) == CONTENT for body in bodies)
        assert world.asked("blobs.open") == 1
        assert world.asked("blobs.stat") == 0
        for body in bodies:
            body.close()

    def test_a_late_reader_begins_at_the_beginning(self):
        world = World()
        repository, digest, feed, first = begun(world)
        early = first.result.body()
        feed.give(CONTENT[: 200 * KIB])
        world.tick()
        assert drain(early) == CONTENT[: 200 * KIB]
        late = world.open(repository, digest).result.body()
        assert drain(late) == CONTENT[: 200 * KIB]
        feed.give(CONTENT[200 * KIB :])
        feed.end()
        assert drain(early) + b"" == CONTENT[200 * KIB :]
        assert drain(late) == CONTENT[200 * KIB :]
        assert world.asked("blobs.open") == 1
        early.close()
        late.close()

    def test_after_the_end_the_disk_answers(self):
        world = World()
        repository, digest, feed, first = begun(world)
        feed.give(CONTENT)
        feed.end()
        assert content_of(first.result) == CONTENT
        assert len(world.proxy.fills) == 0
        again = world.open(repository, digest).result
        assert again.how is How.HIT
        assert content_of(again) == CONTENT
        assert world.asked("blobs.open") == 1

    def test_a_reader_that_leaves_stops_nothing(self):
        world = World()
        repository, digest, feed, first = begun(world)
        body = first.result.body()
        feed.give(CONTENT[:KIB])
        body.close()
        feed.give(CONTENT[KIB:])
        feed.end()
        assert content_of(world.open(repository, digest).result) == CONTENT
        assert world.asked("blobs.open") == 1

    def test_a_waiter_that_cancels_leaves_alone(self):
        world = World()
        gate = world.remote.script.hold("blobs.open")
        repository = world.repository()
        digest, feed = world.feed(SMALL, repository)
        first, second = world.open(repository, digest), world.open(repository, digest)
        first.deferred.cancel()
        assert first.failed_with(CancelledError)
        gate.open()
        feed.give(SMALL)
        feed.end()
        assert content_of(second.result) == SMALL

    def test_the_fill_goes_on_when_all_who_waited_have_left(self):
        world = World()
        gate = world.remote.script.hold("blobs.open")
        repository = world.repository()
        digest, feed = world.feed(SMALL, repository)
        only = world.open(repository, digest)
        only.deferred.cancel()
        assert only.failed_with(CancelledError)
        gate.open()
        feed.give(SMALL)
        feed.end()
        assert world.store.contents[digest] == SMALL

    def test_an_empty_blob(self):
        world = World()
        _repository, digest, feed, first = begun(world, b"")
        feed.end()
        assert content_of(first.result) == b""
        assert world.store.contents[digest] == b""

    def test_a_blob_whose_length_nobody_tells(self):
        world = World()
        repository, digest, feed, first = begun(world, size=None)
        blob = first.result
        assert blob.size is None
        body = blob.body()
        feed.give(CONTENT)
        world.tick()
        assert drain(body) == CONTENT[: len(CONTENT) - HOLD_BACK_BYTES]
        assert body.read(1) is None
        feed.end()
        assert drain(body) == CONTENT[-HOLD_BACK_BYTES:]
        assert body.read(1) == b""
        body.close()
        assert world.open(repository, digest).result.size == len(CONTENT)


class TestHoldBack:
    def test_the_last_bytes_of_a_whole_answer_wait_for_the_hash(self):
        world = World()
        _, _, feed, first = begun(world)
        body = first.result.body()
        feed.give(CONTENT[:-1])
        world.tick()
        assert drain(body) == CONTENT[:-HOLD_BACK_BYTES]
        waiting = Seen(body.ready())
        assert waiting.waiting
        feed.give(CONTENT[-1:])
        assert waiting.result is None
        assert drain(body) == CONTENT[-HOLD_BACK_BYTES:]
        body.close()

    def test_a_range_of_everything_is_held_back_too(self):
        world = World()
        _, _, feed, first = begun(world)
        body = first.result.body(0, len(CONTENT))
        feed.give(CONTENT[:-1])
        world.tick()
        assert drain(body) == CONTENT[:-HOLD_BACK_BYTES]
        feed.give(CONTENT[-1:])
        assert drain(body) == CONTENT[-HOLD_BACK_BYTES:]
        body.close()

    def test_a_partial_range_comes_as_it_lands_and_ends_at_its_stop(self):
        world = World()
        _, _, feed, first = begun(world)
        body = first.result.body(100 * KIB, 101 * KIB)
        feed.give(CONTENT[: 100 * KIB + 10])
        world.tick()
        assert drain(body) == CONTENT[100 * KIB : 100 * KIB + 10]
        feed.give(CONTENT[100 * KIB + 10 : 150 * KIB])
        world.tick()
        assert drain(body) == CONTENT[100 * KIB + 10 : 101 * KIB]
        assert body.read(1) == b""
        body.close()
        feed.give(CONTENT[150 * KIB :])
        feed.end()

    def test_wrong_bytes_never_make_a_complete_answer(self):
        world = World()
        repository = world.repository()
        digest, feed = world.feed(CONTENT, repository)
        body = world.open(repository, digest).result.body()
        feed.give(CONTENT[:-1] + b"!")
        feed.end()
        world.tick()
        with pytest.raises(ContentMismatch):
            drain(body)
        body.close()
        assert digest not in world.store.contents
        assert world.store.link(repository, digest) is None
        assert world.store.spools[-1].state == "rejected"

    def test_a_partial_reader_is_cut_when_the_bytes_turn_out_wrong(self):
        world = World()
        repository = world.repository()
        digest, feed = world.feed(CONTENT, repository)
        body = world.open(repository, digest).result.body(0, 200 * KIB)
        feed.give(CONTENT[: 100 * KIB])
        world.tick()
        assert len(drain(body)) == 100 * KIB
        waiting = Seen(body.ready())
        feed.give(bytes(200 * KIB))
        feed.end()
        assert waiting.result is None
        with pytest.raises(ContentMismatch):
            drain(body)
        body.close()

    def test_another_length_than_announced_is_a_mismatch(self):
        world = World()
        repository = world.repository()
        digest = Digest.of(CONTENT[:-1])
        feed = world.remote.feed(repository, digest, Feed(len(CONTENT)))
        body = world.open(repository, digest).result.body()
        feed.give(CONTENT[:-1])
        feed.end()
        world.tick()
        with pytest.raises(ContentMismatch):
            drain(body)
        body.close()
        assert digest not in world.store.contents


class TestPace:
    def test_a_stop_is_heard_while_a_batch_lingers(self):
        world = World()
        _, _, feed, first = begun(world)
        body = first.result.body()
        feed.give(CONTENT[:10])
        stopping = Seen(world.proxy.stop())
        assert stopping.result is None
        with pytest.raises(TransferStopped):
            body.read(1)
        body.close()
        assert feed.open_count == 0
        assert world.clock.getDelayedCalls() == []

    def test_who_is_told_after_the_end_still_goes_over(self, monkeypatch):
        """With many readers a good second transfer may be over before the last of them hears of it."""
        monkeypatch.setattr("regproxy.fill.pokes.SLICE_S", -1.0)
        world = World("other.test")
        here, there = world.repository(), world.repository("x", "other.test")
        digest = Digest.of(CONTENT)
        bad = world.remote.feed(here, digest, Feed(len(CONTENT)))
        world.remotes["other.test"].feed(there, digest, Feed.whole(CONTENT))
        quiet = [world.open(here, digest).result.body() for _ in range(3)]
        unread = world.open(there, digest).result
        bad.give(bytes(len(CONTENT)))
        assert world.store.contents[digest] == CONTENT
        assert len(world.proxy.fills) == 0
        assert [drain(body) for body in quiet] == [CONTENT] * 3
        for body in quiet:
            body.close()
        assert content_of(unread) == CONTENT
        assert all(file.closed for spool in world.store.spools for file in spool.files)

    def test_a_fault_of_one_reader_is_not_the_silence_of_all(self):
        clock, told = Clock(), []

        class Reader:
            def poke(self):
                told.append(self)
                if len(told) == 1:
                    raise ZeroDivisionError

        pokes, readers = Pokes(clock), [Reader() for _ in range(3)]
        with pytest.raises(ZeroDivisionError):
            pokes.add(*readers)
        pokes.add(*readers[:1])
        clock.advance(0)
        assert told == [*readers, readers[0]]

    def test_readers_are_told_in_turns(self):
        """Each look at the time is 3 ms after the last: a turn of 5 ms tells one reader."""
        clock, told, looks = Clock(), [], count()

        class Reader:
            def poke(self):
                told.append(self)

        pokes, readers = Pokes(clock, lambda: next(looks) * 0.003), [Reader() for _ in range(3)]
        pokes.add(*readers)
        assert told == readers[:1]
        pokes.add(*readers)
        assert (len(told), len(clock.getDelayedCalls())) == (1, 1)
        clock.advance(0)
        assert told == [*readers, readers[0]], "who waits for its turn is told once"
        assert clock.getDelayedCalls() == []

    def test_bytes_wait_for_the_disk_and_only_for_it(self):
        world = World()
        _, _, feed, first = begun(world, os.urandom(8 * 1024 * KIB))
        body = first.result.body()
        gate = world.store.script.hold("spool.append")
        feed.give(b"x" * (4 * 1024 * KIB))
        assert world.store.script.count("spool.append") == 1, "one batch at a time"
        assert body.read(1) is None
        gate.open()
        body.close()
        feed.fail(UpstreamUnreachable("registry.test", "the test ends it"))

    def test_a_small_piece_lingers_for_more_and_then_goes(self):
        world = World()
        _, _, feed, first = begun(world)
        body = first.result.body(0, 10)
        feed.give(CONTENT[:5])
        assert body.read(10) is None
        world.clock.advance(0.009)
        assert body.read(10) is None
        world.clock.advance(0.002)
        assert body.read(10) == CONTENT[:5]
        body.close()
        feed.give(CONTENT[5:])
        feed.end()

    def test_a_file_that_left_the_memory_is_brought_back(self):
        world = World()
        world.store.cold = True
        _, _, feed, first = begun(world, SMALL)
        body = first.result.body()
        feed.give(SMALL)
        feed.end()
        assert body.read(100) is None
        assert Seen(body.ready()).result is None
        assert body.read(100) == SMALL
        assert body.read(100) == b""
        body.close()
