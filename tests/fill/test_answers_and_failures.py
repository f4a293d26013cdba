"""Whom an answer or a failure concerns, and what is left after it."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError

from regproxy.errors import (
    ContentMismatch,
    Denied,
    NotFound,
    StorageFailed,
    Throttled,
    TransferStopped,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from regproxy.oci.digest import Digest
from regproxy.testing.bodies import Feed
from regproxy.testing.spools import MemoryFile
from tests.fill.begun import CONTENT, SMALL, begun
from tests.proxy.world import KIB, Seen, World, content_of, drain


class TestAnswersBelongToTheirRepository:
    @pytest.mark.parametrize(
        "error",
        [
            NotFound("registry.test", "404"),
            Denied("registry.test", "403"),
            Throttled("registry.test", "429", 9),
        ],
    )
    def test_one_repositorys_answer_is_not_told_to_another(self, error):
        world = World()
        bad, good = world.repository("bad/app"), world.repository("good/app")
        digest, feed = world.feed(SMALL, bad, good)
        gate = world.remote.script.hold("blobs.open", repository=bad)
        world.remote.script.fail("blobs.open", error, repository=bad)
        first, second = world.open(bad, digest), world.open(good, digest)
        assert world.asked("blobs.stat") == 1, "the other repository's right is asked for"
        gate.open()
        assert first.failed_with(type(error))
        feed.give(SMALL)
        feed.end()
        assert content_of(second.result) == SMALL
        assert world.store.link(good, digest) is not None
        assert world.store.link(bad, digest) is None

    def test_without_a_proof_a_running_fill_cannot_be_joined(self):
        world = World()
        owner, thief = world.repository("owner/app"), world.repository("thief/app")
        digest, feed = world.feed(CONTENT, owner)
        first = world.open(owner, digest)
        assert world.open(thief, digest).failed_with(NotFound)
        feed.give(CONTENT)
        feed.end()
        assert content_of(first.result) == CONTENT
        assert world.store.link(thief, digest) is None
        assert world.open(thief, digest).failed_with(NotFound)

    def test_whoever_joins_with_a_proof_is_linked_at_the_commit(self):
        world = World("other.test")
        here, there = world.repository(), world.repository("team/app", "other.test")
        digest, feed = world.feed(CONTENT, here, there)
        first, second = world.open(here, digest), world.open(there, digest)
        feed.give(CONTENT)
        feed.end()
        assert content_of(first.result) == content_of(second.result) == CONTENT
        assert world.store.link(here, digest) is not None
        assert world.store.link(there, digest) is not None
        assert (world.asked("blobs.open"), world.asked("blobs.open", "other.test")) == (1, 0)

    def test_whoever_joins_while_the_commit_runs_is_linked_after_it(self):
        world = World()
        here, there = world.repository("a/app"), world.repository("b/app")
        digest, feed = world.feed(CONTENT, here, there)
        gate = world.store.script.hold("spool.commit")
        first = world.open(here, digest)
        feed.give(CONTENT)
        feed.end()
        second = world.open(there, digest)
        gate.open()
        assert content_of(first.result) == content_of(second.result) == CONTENT
        assert world.store.link(there, digest) is not None

    def test_a_proven_joiner_goes_on_when_the_first_source_is_in_trouble(self):
        world = World("other.test")
        here, there = world.repository(), world.repository("x", "other.test")
        digest, feed = world.feed(SMALL, here, there)
        gate = world.remote.script.hold("blobs.open")
        world.remote.script.fail("blobs.open", UpstreamUnreachable("registry.test", "reset"))
        first, second = world.open(here, digest), world.open(there, digest)
        gate.open()
        assert first.failed_with(UpstreamUnreachable)
        feed.give(SMALL)
        feed.end()
        assert content_of(second.result) == SMALL

    def test_when_every_source_has_failed_each_repository_hears_of_its_own(self):
        world = World("other.test")
        here, there = world.repository(), world.repository("x", "other.test")
        digest, _ = world.feed(SMALL, here, there)
        gate = world.remote.script.hold("blobs.open")
        world.remote.script.fail("blobs.open", NotFound("registry.test", "404"))
        world.remotes["other.test"].script.fail("blobs.open", UpstreamTimeout("other.test", "slow"))
        first, second = world.open(here, digest), world.open(there, digest)
        gate.open()
        assert first.failed_with(NotFound)
        assert second.failed_with(UpstreamTimeout)
        assert len(world.proxy.fills) == 0

    def test_wrong_bytes_are_tried_once_more_from_another_source(self):
        world = World("other.test")
        here, there = world.repository(), world.repository("x", "other.test")
        digest = Digest.of(CONTENT)
        bad = world.remote.feed(here, digest, Feed(len(CONTENT)))
        good = world.remotes["other.test"].feed(there, digest, Feed(len(CONTENT)))
        early = world.open(here, digest).result.body()
        quiet = world.open(there, digest).result.body()
        bad.give(bytes(len(CONTENT) - 1))
        world.tick()
        assert drain(early)
        bad.give(b"!")
        with pytest.raises(ContentMismatch):
            early.read(1)
        assert quiet.read(1) is None, "who has given out nothing follows the next source"
        good.give(CONTENT)
        good.end()
        assert drain(quiet) == CONTENT
        assert world.store.contents[digest] == CONTENT
        assert world.store.link(here, digest) is not None or world.store.link(there, digest) is not None
        early.close()
        quiet.close()

    def test_wrong_bytes_from_every_source_end_the_fill(self):
        world = World("other.test", "third.test")
        repositories = [world.repository("x", name) for name in world.remotes]
        digest = Digest.of(CONTENT)
        feeds = [world.remotes[r.upstream].feed(r, digest, Feed(len(CONTENT))) for r in repositories]
        bodies = [world.open(r, digest).result.body() for r in repositories]
        for feed in feeds:
            feed.give(bytes(len(CONTENT)))
        for body in bodies:
            with pytest.raises(ContentMismatch):
                drain(body)
            body.close()
        assert [world.asked("blobs.open", name) for name in world.remotes] == [1, 1, 1]
        assert digest not in world.store.contents


class TestFailures:
    def test_a_broken_transfer_is_told_to_all_readers_at_once(self):
        world = World()
        repository, digest, feed, first = begun(world)
        bodies = [first.result.body(), *(world.open(repository, digest).result.body() for _ in range(4))]
        feed.give(CONTENT[: 100 * KIB])
        world.tick()
        for body in bodies:
            drain(body)
        waiting = [Seen(body.ready()) for body in bodies]
        world.break_for_good(feed)
        assert [seen.result for seen in waiting] == [None] * 5
        for body in bodies:
            with pytest.raises(UpstreamUnreachable):
                body.read(1)
            body.close()
        assert world.store.spools[-1].state == "discarded"
        assert len(world.proxy.fills) == 0

    def test_after_a_failure_the_next_request_begins_anew(self):
        world = World()
        repository, digest, feed, first = begun(world)
        first.result.close()
        world.break_for_good(feed)
        world.remote.feed(repository, digest, Feed.whole(CONTENT))
        assert content_of(world.open(repository, digest).result) == CONTENT

    def test_a_request_while_a_failed_fill_still_lets_go_begins_anew(self):
        world = World()
        repository, digest, feed, first = begun(world)
        first.result.close()
        gate = world.store.script.hold("spool.discard", times=1)
        world.break_for_good(feed)
        world.remote.feed(repository, digest, Feed.whole(SMALL + CONTENT))
        world.remote.feed(repository, digest, Feed.whole(CONTENT))
        assert content_of(world.open(repository, digest).result) == CONTENT
        gate.open()
        assert len(world.proxy.fills) == 0

    def test_a_commit_that_fails_costs_the_copy_not_the_readers(self):
        world = World()
        repository, digest, feed, first = begun(world)
        world.store.script.fail("spool.commit", StorageFailed("the disk is full"))
        feed.give(CONTENT)
        feed.end()
        assert content_of(first.result) == CONTENT
        assert digest not in world.store.contents
        world.store.script.heal()
        world.remote.feed(repository, digest, Feed.whole(CONTENT))
        assert content_of(world.open(repository, digest).result) == CONTENT
        assert digest in world.store.contents

    def test_stopping_lets_go_of_everything(self):
        world = World()
        repository, digest, feed, first = begun(world)
        body = first.result.body()
        feed.give(CONTENT[:KIB])
        world.tick()
        drain(body)
        waiting = Seen(body.ready())
        assert Seen(world.proxy.stop()).result is None
        assert waiting.result is None
        with pytest.raises(TransferStopped):
            body.read(1)
        body.close()
        assert feed.open_count == 0
        assert world.store.spools[-1].state == "discarded"
        assert world.open(repository, digest).failed_with(TransferStopped)

    def test_stopping_while_a_broken_fill_lets_go_waits_for_it(self):
        world = World()
        _, _, feed, first = begun(world)
        first.result.close()
        gate = world.store.script.hold("spool.discard")
        world.break_for_good(feed)
        stopping = Seen(world.proxy.stop())
        assert stopping.waiting
        gate.open()
        assert stopping.result is None
        assert world.store.spools[-1].state == "discarded"

    def test_stopping_while_the_commit_runs_loses_nothing(self):
        world = World()
        _, _, feed, first = begun(world)
        body = first.result.body()
        gate = world.store.script.hold("spool.commit")
        feed.give(CONTENT)
        stopping = Seen(world.proxy.stop())
        gate.open()
        assert stopping.result is None
        assert drain(body) == CONTENT
        body.close()

    def test_stopping_before_the_headers_tells_those_who_wait(self):
        world = World()
        world.remote.script.hold("blobs.open")
        repository = world.repository()
        digest, _ = world.feed(SMALL, repository)
        waiting = world.open(repository, digest)
        assert Seen(world.proxy.stop()).result is None
        assert waiting.failed_with(TransferStopped)

    def test_closing_a_body_ends_its_pending_wait(self):
        world = World()
        _, _, feed, first = begun(world)
        body = first.result.body()
        waiting = Seen(body.ready())
        body.close()
        body.close()
        assert waiting.failed_with(TransferStopped)
        with pytest.raises(TransferStopped):
            body.read(1)
        feed.give(CONTENT)
        feed.end()

    def test_a_cancelled_wait_harms_nothing(self):
        world = World()
        _, _, feed, first = begun(world)
        body = first.result.body()
        waiting = Seen(body.ready())
        waiting.deferred.cancel()
        assert waiting.failed_with(CancelledError)
        feed.give(CONTENT)
        feed.end()
        assert drain(body) == CONTENT
        body.close()

    def test_no_file_stays_open(self):
        world = World()
        repository, digest, feed, first = begun(world)
        first.result.close()
        unread = world.open(repository, digest).result
        unread.close()
        body = world.open(repository, digest).result.body()
        feed.give(CONTENT)
        feed.end()
        body.close()
        assert all(file.closed for file in world.store.spools[-1].files)
        assert feed.open_count == 0


class TestDescriptorsThatRunOut:
    @pytest.fixture
    def third_fails(self, monkeypatch):
        """The third file that is opened for a reader is one too many."""
        real, opened = MemoryFile.duplicate, []

        def duplicate(file):
            opened.append(file)
            if len(opened) == 3:
                raise StorageFailed("too many open files (EMFILE)")
            return real(file)

        monkeypatch.setattr(MemoryFile, "duplicate", duplicate)

    def test_concern_one_waiter_and_nobody_else(self, third_fails):
        world = World()
        gate = world.remote.script.hold("blobs.open", times=1)
        repository = world.repository()
        digest, feed = world.feed(CONTENT, repository)
        asking = [world.open(repository, digest) for _ in range(5)]
        gate.open()
        feed.give(CONTENT)
        assert [content_of(seen.result) for seen in asking] == [CONTENT] * 5
        assert world.asked("blobs.open") == world.asked("blobs.resume") == 1, "who has no file: its own"

    def test_a_waiter_that_cancels_another_while_it_is_told(self):
        world = World()
        gate = world.remote.script.hold("blobs.open")
        repository = world.repository()
        digest, feed = world.feed(CONTENT, repository)
        first, second, third = (world.proxy.blobs.open(repository, digest) for _ in range(3))
        got = []
        first.addCallback(lambda blob: (got.append(blob), second.cancel()))
        second.addErrback(lambda failure: failure.trap(CancelledError) and None)
        third.addCallback(got.append)
        gate.open()
        feed.give(CONTENT)
        assert [content_of(blob) for blob in got] == [CONTENT] * 2
