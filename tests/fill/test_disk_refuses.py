"""A disk that refuses in the middle of a transfer: nothing is kept, and every reader gets its bytes."""

from __future__ import annotations

import os
import socket

import pytest
from twisted.internet.defer import CancelledError

from regproxy.errors import (
    ContentMismatch,
    Denied,
    NotFound,
    StorageFailed,
    TransferStopped,
    UpstreamFailed,
    UpstreamUnreachable,
)
from regproxy.fill.plan import HOLD_BACK_BYTES
from regproxy.fill.relay import AHEAD_BYTES, LINGER_S, PATIENCE_S, PIECE_BYTES
from regproxy.fill.relays import GATHER_S, RELAYS_PER_BLOB
from regproxy.fill.window import WINDOW_BYTES
from regproxy.interfaces import How, IBody
from regproxy.oci.digest import Digest
from regproxy.testing.bodies import Feed
from regproxy.testing.spools import MemorySpool
from tests.proxy.world import KIB, NAME, Seen, World, content_of, drain

MIB = 1024 * KIB
CONTENT = os.urandom(900 * KIB)
FRONT = 300 * KIB
LARGE = os.urandom(12 * MIB - 1) + b"!"
FULL = StorageFailed("the disk is full (ENOSPC)")


class Pull:
    """A blob whose first bytes are on disk, of which the disk then takes no more."""

    def __init__(self, content: bytes = CONTENT, front: int = FRONT, size: int | None = -1) -> None:
        self.world = World()
        self.content = content
        self.front = front
        self.repository = self.world.repository()
        self.digest, self.feed = self.world.feed(content, self.repository, size=size)
        self.given = 0
        self.first = self.open()
        self.give_to(front)

    def open(self) -> Seen:
        return self.world.open(self.repository, self.digest)

    def give_to(self, offset: int) -> None:
        self.feed.give(self.content[self.given : offset])
        self.given = offset
        self.world.tick()

    def refuse(self, upto: int | None = None) -> None:
        """From now on the disk takes nothing; more bytes come."""
        self.world.store.script.fail("spool.append", FULL)
        self.give_to(self.front + 100 * KIB if upto is None else upto)

    def end(self) -> None:
        self.give_to(len(self.content))
        self.feed.end()

    def asked(self) -> tuple[int, int]:
        """GETs from the start, and by Range."""
        return self.world.asked("blobs.open"), self.world.asked("blobs.resume")

    def assert_clean(self, *bodies: IBody) -> None:
        """Once the readers are closed nothing is left, and nothing was kept."""
        for body in bodies:
            body.close()
        self.world.clock.advance(LINGER_S)
        assert self.world.store.contents == {}
        assert self.feed.open_count == 0
        assert len(self.world.proxy.fills) == 0
        assert self.world.clock.getDelayedCalls() == []


class TestInTheMiddle:
    def test_every_reader_goes_on_with_the_transfer_that_runs(self):
        pull = Pull()
        bodies = [seen.result.body() for seen in (pull.first, pull.open(), pull.open(), pull.open())]
        got = [bytearray() for _ in bodies]
        for nth, body in enumerate(bodies):
            while len(got[nth]) < nth * 90 * KIB:
                got[nth] += body.read(10 * KIB)
        pull.refuse()
        pull.end()
        for nth, body in enumerate(bodies):
            got[nth] += drain(body)
            assert got[nth] == CONTENT
            assert body.read(1) == b""
        assert pull.asked() == (1, 0)
        pull.assert_clean(*bodies)

    def test_a_reader_that_waits_is_woken(self):
        pull = Pull()
        body = pull.first.result.body()
        assert drain(body) == CONTENT[:FRONT]
        waiting = Seen(body.ready())
        assert waiting.waiting
        pull.refuse()
        assert waiting.result is None
        assert drain(body) == CONTENT[FRONT : FRONT + 100 * KIB]
        waiting = Seen(body.ready())
        assert waiting.waiting
        pull.end()
        assert waiting.result is None
        assert drain(body) == CONTENT[FRONT + 100 * KIB :]
        pull.assert_clean(body)

    def test_a_blob_that_was_opened_and_not_yet_read(self):
        pull = Pull()
        blob = pull.first.result
        pull.refuse()
        pull.end()
        body = blob.body()
        assert drain(body) == CONTENT
        pull.assert_clean(body)

    def test_a_blob_whose_length_nobody_tells(self):
        pull = Pull(size=None)
        body = pull.first.result.body()
        assert drain(body) == CONTENT[: FRONT - HOLD_BACK_BYTES]
        pull.refuse()
        assert drain(body) == CONTENT[FRONT - HOLD_BACK_BYTES : FRONT + 100 * KIB - HOLD_BACK_BYTES]
        pull.end()
        assert drain(body) == CONTENT[FRONT + 100 * KIB - HOLD_BACK_BYTES :]
        assert body.read(1) == b""
        pull.assert_clean(body)

    def test_a_disk_that_refuses_the_last_bytes(self):
        pull = Pull(front=len(CONTENT) - 10 * KIB)
        body = pull.first.result.body()
        pull.refuse(upto=len(CONTENT) - 1)
        assert drain(body) == CONTENT[:-HOLD_BACK_BYTES], "the end is held back until the hash is right"
        waiting = Seen(body.ready())
        assert waiting.waiting
        pull.end()
        assert waiting.result is None
        assert drain(body) == CONTENT[-HOLD_BACK_BYTES:]
        assert body.read(1) == b""
        pull.assert_clean(body)

    def test_a_wrong_end_is_held_back_in_the_file_too(self):
        pull = Pull(front=len(CONTENT) - 10 * KIB)
        body = pull.first.result.body()
        pull.refuse(upto=len(CONTENT) - 1)
        drain(body)
        waiting = Seen(body.ready())
        pull.feed.give(bytes([CONTENT[-1] ^ 1]))
        assert waiting.result is None
        with pytest.raises(ContentMismatch):
            body.read(1)
        pull.assert_clean(body)

    @pytest.mark.parametrize(
        ("start", "stop"),
        [(10, 20), (FRONT - 10, FRONT), (FRONT - 10, FRONT + 10), (FRONT, FRONT + 10), (0, FRONT + 1)],
    )
    def test_a_reader_of_a_part_gets_its_part(self, start, stop):
        pull = Pull()
        whole, part = pull.first.result.body(), pull.open().result.body(start, stop)
        pull.refuse()
        assert drain(whole) == CONTENT[: FRONT + 100 * KIB]
        assert drain(part) == CONTENT[start:stop]
        assert part.read(1) == b""
        pull.end()
        assert drain(whole) == CONTENT[FRONT + 100 * KIB :]
        assert pull.asked() == (1, 0)
        pull.assert_clean(whole, part)

    def test_a_part_far_behind_the_front_has_a_transfer_of_its_own(self):
        pull = Pull(LARGE)
        part = pull.open().result.body(10 * MIB, 10 * MIB + 5)
        pull.world.remote.feed(pull.repository, pull.digest, Feed.whole(LARGE))
        pull.refuse()
        assert drain(part) == LARGE[10 * MIB : 10 * MIB + 5]
        assert part.read(1) == b""
        assert pull.asked() == (1, 1)
        pull.first.result.close()
        pull.assert_clean(part)

    def test_such_a_transfer_that_ends_too_early_cuts_it(self):
        pull = Pull(LARGE)
        part = pull.open().result.body(10 * MIB, 10 * MIB + 5)
        rest = pull.world.remote.feed(pull.repository, pull.digest, Feed(len(LARGE)))
        pull.refuse()
        assert part.read(1) is None
        waiting = Seen(part.ready())
        rest.give(LARGE[: 10 * MIB + 2])
        rest.end()
        assert waiting.result is None
        with pytest.raises(ContentMismatch):
            drain(part)
        pull.first.result.close()
        pull.assert_clean(part)

    def test_a_file_that_left_the_memory(self):
        world = World()
        world.store.cold = True
        repository = world.repository()
        digest, feed = world.feed(CONTENT, repository)
        body = world.open(repository, digest).result.body()
        feed.give(CONTENT[:FRONT])
        world.tick()
        world.store.script.fail("spool.append", FULL)
        feed.give(CONTENT[FRONT:])
        feed.end()
        world.tick()
        got = bytearray()
        while chunk := body.read(16 * KIB) or (Seen(body.ready()).result or body.read(16 * KIB)):
            got += chunk
        assert got == CONTENT
        body.close()

    def test_files_go_on_to_a_socket(self):
        pull = Pull()
        bodies = [pull.first.result.body(), pull.open().result.body()]
        pull.refuse()
        pull.end()
        for body in bodies:
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            got = bytearray()
            while True:
                try:
                    if (sent := body.send_file(ours.fileno(), 70 * KIB)) == 0:
                        break
                    assert sent is not None
                except BlockingIOError:
                    got += theirs.recv(1 << 20)
            ours.close()
            while chunk := theirs.recv(1 << 20):
                got += chunk
            theirs.close()
            assert got == CONTENT
        pull.assert_clean(*bodies)


class TestWhatIsWrong:
    def test_a_wrong_rest_is_never_a_whole_answer(self):
        pull = Pull()
        body = pull.first.result.body()
        pull.refuse()
        pull.give_to(len(CONTENT) - 1)
        pull.feed.give(bytes([CONTENT[-1] ^ 1]))
        pull.feed.end()
        with pytest.raises(ContentMismatch):
            drain(body)
        pull.assert_clean(body)

    @pytest.mark.parametrize("less", [1, 200 * KIB])
    def test_an_end_that_comes_too_early(self, less):
        pull = Pull()
        body, part = pull.first.result.body(), pull.open().result.body(5, len(CONTENT))
        pull.refuse()
        pull.give_to(len(CONTENT) - less)
        pull.feed.end()
        for reader in (body, part):
            with pytest.raises(ContentMismatch):
                drain(reader)
        pull.assert_clean(body, part)

    def test_what_the_disk_had_may_be_wrong_as_well(self):
        wrong = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
        world = World()
        repository, digest = world.repository(), Digest.of(CONTENT)
        feed = world.remote.feed(repository, digest, Feed(len(CONTENT)))
        body = world.open(repository, digest).result.body()
        feed.give(wrong[:FRONT])
        world.tick()
        world.store.script.fail("spool.append", FULL)
        feed.give(wrong[FRONT:])
        feed.end()
        with pytest.raises(ContentMismatch):
            drain(body)
        body.close()

    def test_a_transfer_that_breaks_after_all_cuts_its_readers(self):
        pull = Pull()
        body = pull.first.result.body()
        pull.refuse()
        pull.feed.fail(UpstreamUnreachable(NAME, "reset"))
        with pytest.raises(UpstreamUnreachable):
            drain(body)
        pull.assert_clean(body)

    def test_one_that_comes_after_that_begins_anew_and_is_kept(self):
        pull = Pull()
        body = pull.first.result.body()
        pull.refuse()
        pull.feed.fail(UpstreamUnreachable(NAME, "reset"))
        body.close()
        pull.world.store.script.heal()
        pull.world.remote.feed(pull.repository, pull.digest, Feed.whole(CONTENT))
        assert content_of(pull.open().result) == CONTENT
        assert pull.world.store.contents[pull.digest] == CONTENT


class TestSlowReaders:
    def fallen_behind(self) -> tuple[Pull, IBody, IBody]:
        """A fast reader that is far ahead, and a slow one that has not left the file."""
        pull = Pull(LARGE)
        fast, slow = pull.first.result.body(), pull.open().result.body()
        pull.refuse()
        for offset in range(MIB, 9 * MIB, MIB // 2):
            pull.give_to(offset)
            drain(fast)
        return pull, fast, slow

    def test_goes_on_by_range_from_what_the_file_had(self):
        pull, fast, slow = self.fallen_behind()
        rest = pull.world.remote.feed(pull.repository, pull.digest, Feed.whole(LARGE))
        assert drain(slow) == LARGE
        assert slow.read(1) == b""
        assert pull.asked() == (1, 1)
        slow.close()
        pull.end()
        drain(fast)
        assert fast.read(1) == b""
        pull.assert_clean(fast)
        assert rest.open_count == 0

    def test_its_file_is_let_go_of_when_all_of_it_was_read(self):
        """The disk that refused has the room of these bytes again before the pull ends."""
        pull, fast, slow = self.fallen_behind()
        (spool,) = pull.world.store.spools
        rest = pull.world.remote.feed(pull.repository, pull.digest, Feed(len(LARGE)))
        assert slow.read(MIB) == LARGE[:FRONT]
        assert [file.closed for file in spool.files].count(False) == 1
        assert slow.read(1) is None
        assert all(file.closed for file in spool.files)
        rest.give(LARGE)
        assert drain(slow) == LARGE[FRONT:]
        pull.end()
        pull.assert_clean(fast, slow)

    def test_those_at_the_same_offset_share_it(self):
        pull, fast, slow = self.fallen_behind()
        others = [slow]
        pull.world.remote.feed(pull.repository, pull.digest, rest := Feed(len(LARGE)))
        rest.give(LARGE)
        assert slow.read(MIB) == LARGE[:FRONT]
        assert slow.read(1) == LARGE[FRONT : FRONT + 1]
        assert pull.asked() == (1, 1)
        fast.close()
        for body in others:
            body.close()
        rest.end()
        pull.assert_clean()
        assert rest.open_count == 0

    def test_a_wrong_rest_from_there_is_noticed(self):
        pull, fast, slow = self.fallen_behind()
        pull.world.remote.feed(pull.repository, pull.digest, Feed.whole(LARGE[:-1] + b"?"))
        with pytest.raises(ContentMismatch):
            drain(slow)
        pull.assert_clean(fast, slow)

    @pytest.mark.parametrize(
        "error", [NotFound(NAME, "404"), UpstreamUnreachable(NAME, "refused"), ContentMismatch(NAME, "size")]
    )
    def test_what_the_upstream_says_then_cuts_this_one_alone(self, error):
        pull, fast, slow = self.fallen_behind()
        pull.world.remote.script.fail("blobs.resume", error)
        assert slow.read(MIB) == LARGE[:FRONT]
        with pytest.raises(type(error)):
            drain(slow)
        pull.end()
        got = drain(fast)
        assert LARGE.endswith(got)
        assert fast.read(1) == b""
        pull.assert_clean(fast, slow)

    @pytest.mark.parametrize("error", [NotFound(NAME, "404"), Denied(NAME, "403")])
    def test_what_the_upstream_says_then_takes_an_older_right_back(self, error):
        pull, fast, slow = self.fallen_behind()
        pull.world.store.put_blob(pull.repository, LARGE)
        pull.world.remote.script.fail("blobs.resume", error)
        assert slow.read(MIB) == LARGE[:FRONT]
        with pytest.raises(type(error)):
            drain(slow)
        assert pull.world.store.link(pull.repository, pull.digest) is None
        fast.close(), slow.close()

    def test_who_falls_out_of_the_window_goes_on_where_it_was(self):
        pull = Pull(LARGE)
        fast, slow = pull.first.result.body(), pull.open().result.body()
        pull.refuse()
        assert drain(slow) == LARGE[: FRONT + 100 * KIB]
        for offset in range(MIB, 9 * MIB, MIB // 2):
            pull.give_to(offset)
            drain(fast)
        rest = pull.world.remote.feed(pull.repository, pull.digest, Feed(len(LARGE)))
        assert slow.read(1) is None
        assert rest.bodies[0]._position > FRONT, "not all of it again"
        rest.give(LARGE)
        assert drain(slow) == LARGE[FRONT + 100 * KIB :]
        assert pull.asked() == (1, 1)
        pull.end()
        drain(fast)
        pull.assert_clean(fast, slow)

    def test_a_line_that_is_slower_than_all_is_shared_by_all(self):
        pull = Pull(LARGE)
        bodies = [pull.first.result.body(), *(pull.open().result.body() for _ in range(19))]
        pull.refuse()
        for offset in range(MIB, len(LARGE), 200 * KIB):
            pull.give_to(offset)
            for body in bodies:
                drain(body)
        pull.end()
        for body in bodies:
            drain(body)
            assert body.read(1) == b""
        assert pull.asked() == (1, 0)
        pull.assert_clean(*bodies)

    def test_nothing_is_read_that_nobody_takes(self):
        pull = Pull(LARGE)
        body = pull.first.result.body()
        drain(body)
        pull.refuse()
        pull.give_to(len(LARGE))
        [source] = [each for each in pull.feed.bodies if not each.closed]
        assert source._position <= FRONT + AHEAD_BYTES + PIECE_BYTES
        assert drain(body) == LARGE[FRONT:]
        pull.assert_clean(body)

    def test_the_memory_is_bounded(self):
        pull = Pull(LARGE)
        body = pull.first.result.body()
        pull.refuse()
        pull.give_to(len(LARGE))
        drain(body)
        [relay] = next(iter(pull.world.proxy.fills._relays._relays.values()))
        held = sum(len(piece.content) for piece in relay.window._pieces)
        assert held <= WINDOW_BYTES + PIECE_BYTES
        pull.assert_clean(body)


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
        pull, fast, slow = TestSlowReaders().fallen_behind()
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
        pull, fast, slow = TestSlowReaders().fallen_behind()
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


class TestCrowds:
    def crowd(self) -> tuple[World, Digest, list[Feed], list[IBody]]:
        """As many transfers as are begun at once, each far from the beginning."""
        world = World()
        repository = world.repository()
        world.store.script.fail("spool", FULL)
        feeds, bodies = [], []
        for _ in range(RELAYS_PER_BLOB):
            digest, feed = world.feed(LARGE, repository)
            body = world.open(repository, digest).result.body()
            feed.give(LARGE[: 6 * MIB])
            drain(body)
            feeds.append(feed)
            bodies.append(body)
        assert world.asked("blobs.open") == RELAYS_PER_BLOB
        world.feed(LARGE, repository)
        return world, digest, feeds, bodies

    def end(self, world: World, *bodies: IBody) -> None:
        for body in bodies:
            body.close()
        world.proxy.stop()
        assert world.clock.getDelayedCalls() == []

    def test_those_who_come_then_are_gathered_for_a_while(self):
        world, digest, _, bodies = self.crowd()
        asking = [world.open(world.repository(), digest) for _ in range(3)]
        world.clock.advance(GATHER_S - 0.1)
        asking.append(world.open(world.repository(), digest))
        assert world.asked("blobs.open") == RELAYS_PER_BLOB
        world.clock.advance(0.1)
        assert world.asked("blobs.open") == RELAYS_PER_BLOB + 1
        late = [seen.result.body() for seen in asking]
        self.end(world, *bodies, *late)

    def test_an_end_lets_the_next_begin(self):
        world, digest, feeds, bodies = self.crowd()
        waiting = world.open(world.repository(), digest)
        feeds[0].fail(UpstreamUnreachable(NAME, "reset"))
        assert world.asked("blobs.open") == RELAYS_PER_BLOB + 1
        self.end(world, waiting.result.body(), *bodies)

    def test_who_left_while_it_waited_costs_no_transfer(self):
        world, digest, _, bodies = self.crowd()
        late = world.proxy.fills._fills[digest].onward.reader(11 * MIB, 11 * MIB + 5, False)
        late.follow()
        late.close()
        world.clock.advance(GATHER_S)
        assert world.asked("blobs.resume") == 0
        world.clock.advance(LINGER_S)
        assert world.asked("blobs.resume") == 0
        self.end(world, *bodies)

    def test_who_comes_while_it_waits_for_a_reader_is_served_by_it(self):
        world, digest, _, bodies = self.crowd()
        onward = world.proxy.fills._fills[digest].onward
        first = onward.reader(11 * MIB, 11 * MIB + 5, False)
        first.follow()
        first.close()
        world.clock.advance(GATHER_S)
        second = onward.reader(11 * MIB, 11 * MIB + 5, False)
        second.follow()
        assert world.asked("blobs.resume") == 1
        self.end(world, second, *bodies)

    def test_a_stop_ends_the_waiting(self):
        world, digest, _, bodies = self.crowd()
        waiting = world.open(world.repository(), digest)
        Seen(world.proxy.stop())
        assert waiting.failed_with(TransferStopped)
        assert world.asked("blobs.open") == RELAYS_PER_BLOB
        self.end(world, *bodies)

    def test_a_stop_ends_the_waiting_of_who_goes_on(self):
        world, digest, _, bodies = self.crowd()
        late = world.proxy.fills._fills[digest].onward.reader(11 * MIB, 11 * MIB + 5, False)
        late.follow()
        Seen(world.proxy.stop())
        with pytest.raises(TransferStopped):
            late.read(1)
        assert world.asked("blobs.resume") == 0
        self.end(world, late, *bodies)

    def test_the_slow_are_waited_for_then(self):
        world, digest, feeds, bodies = self.crowd()
        relay, behind = self.one_behind(world, digest)
        start = relay.window.start
        feeds[0].give(LARGE[6 * MIB : 11 * MIB])
        assert drain(bodies[0]) == b""
        assert relay.window.start == start, "it waits"
        drain(behind)
        assert drain(bodies[0])
        assert relay.window.start > start
        self.end(world, behind, *bodies)

    def one_behind(self, world, digest):
        """A reader of a part, at the very end of the window of the first transfer."""
        table = world.proxy.fills
        relay = table._relays._relays[digest][0]
        behind = table._fills[digest].onward.reader(relay.window.start, len(LARGE), False)
        behind.follow()
        return relay, behind

    def test_but_not_for_ever(self):
        world, digest, feeds, bodies = self.crowd()
        relay, behind = self.one_behind(world, digest)
        start = relay.window.start
        feeds[0].give(LARGE[6 * MIB : 11 * MIB])
        world.clock.advance(PATIENCE_S - 0.1)
        assert relay.window.start == start
        world.clock.advance(0.1)
        assert drain(bodies[0])
        assert relay.window.start > start
        self.end(world, behind, *bodies)

    def test_nor_for_one_that_leaves(self):
        world, digest, feeds, bodies = self.crowd()
        _relay, behind = self.one_behind(world, digest)
        feeds[0].give(LARGE[6 * MIB : 11 * MIB])
        behind.close()
        assert drain(bodies[0])
        self.end(world, *bodies)


class TestFilesThatWereTouched:
    """The disk is the source then, and takes nothing."""

    def touched(self, content: bytes) -> tuple[World, Digest]:
        world = World()
        repository = world.repository()
        digest = world.store.put_blob(repository, CONTENT)
        world.store.touch(digest, content)
        for operation in ("spool", "spool.reject", "spool.commit"):
            world.store.script.fail(operation, StorageFailed("the disk is read-only (EROFS)"))
        return world, digest

    def test_a_damaged_one_passes_at_the_first_pull(self):
        world, digest = self.touched(b"?" + CONTENT[1:-1] + b"?")
        world.remote.put_blob(world.repository(), CONTENT)
        for _ in range(2):
            assert content_of(world.open(world.repository(), digest).result) == CONTENT

    def test_a_right_one_is_served_and_asks_nobody(self):
        world, digest = self.touched(CONTENT)
        assert content_of(world.open(world.repository(), digest).result) == CONTENT
        assert world.upstream_calls() == 0

    def test_one_that_cannot_be_opened_is_fetched(self):
        world, digest = self.touched(CONTENT)
        world.store.script.fail("adopt", StorageFailed("the disk fails to read or write (EIO)"))
        world.remote.put_blob(world.repository(), CONTENT)
        assert content_of(world.open(world.repository(), digest).result) == CONTENT

    def test_one_that_cannot_be_read_to_its_end_is_fetched(self):
        world, digest = self.touched(CONTENT)
        world.remote.put_blob(world.repository(), CONTENT)
        world.store.script.fail("spool.append", StorageFailed("the disk fails to read or write (EIO)"))
        assert content_of(world.open(world.repository(), digest).result) == CONTENT
        assert world.asked("blobs.open") == 1

    def test_its_file_is_let_go_of(self, monkeypatch):
        opened, real = [], MemorySpool.file
        monkeypatch.setattr(MemorySpool, "file", lambda spool: opened.append(real(spool)) or opened[-1])
        world = World()
        digest = world.store.put_blob(world.repository(), CONTENT)
        world.store.touch(digest, CONTENT)
        world.remote.put_blob(world.repository(), CONTENT)
        failing = StorageFailed("the disk fails to read or write (EIO)")
        world.store.script.fail("spool.append", failing, times=1)
        assert content_of(world.open(world.repository(), digest).result) == CONTENT
        assert [file.closed for file in opened] == [True, True]

    def test_without_an_upstream_its_word_is_what_the_client_hears(self):
        world, digest = self.touched(b"?" + CONTENT[1:])
        world.remote.answer(503)
        assert world.open(world.repository(), digest).failed_with(UpstreamFailed)

    def test_nothing_is_told_of_it_before_it_is_hashed(self):
        world, digest = self.touched(b"?" + CONTENT[1:])
        world.remote.put_blob(world.repository(), CONTENT)
        gate = world.store.script.hold("spool.append", "spool.reject", times=1)
        asking = [world.open(world.repository(), digest) for _ in range(2)]
        assert all(seen.waiting for seen in asking)
        gate.open()
        bodies = [asking[0].result.body(), asking[1].result.body(5, 9)]
        assert [drain(body) for body in bodies] == [CONTENT, CONTENT[5:9]]
        assert asking[0].result.size == len(CONTENT)
        assert world.asked("blobs.open") == 1
        for body in bodies:
            body.close()

    def test_a_very_large_one_goes_out_while_it_is_hashed(self, monkeypatch):
        monkeypatch.setattr("regproxy.fill.fill.VERIFY_FIRST_BYTES", len(LARGE) - 1)
        world = World()
        digest = world.store.put_blob(world.repository(), LARGE)
        world.store.touch(digest, LARGE)
        gate = world.store.script.hold("spool.append", times=1)
        body = world.open(world.repository(), digest).result.body()
        real, early = MemorySpool._append, []

        async def append(spool, *chunks):
            early.append(body.read(16 * KIB))
            return await real(spool, *chunks)

        monkeypatch.setattr(MemorySpool, "_append", append)
        gate.open()
        assert b"".join(early[1:])
        assert b"".join(filter(None, early)) + drain(body) == LARGE
        body.close()

    def test_a_very_large_one_that_cannot_be_read_on_is_fetched_from_there(self, monkeypatch):
        monkeypatch.setattr("regproxy.fill.fill.VERIFY_FIRST_BYTES", len(CONTENT) - 1)
        world, digest = self.touched(CONTENT)
        world.remote.put_blob(world.repository(), CONTENT)
        world.store.script.fail("spool.append", StorageFailed("the disk fails to read or write (EIO)"))
        assert content_of(world.open(world.repository(), digest).result) == CONTENT
        assert (world.asked("blobs.open"), world.asked("blobs.resume")) == (0, 1)
