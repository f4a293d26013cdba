"""A disk that refuses in the middle of a transfer: nothing is kept, and every reader gets its bytes."""

from __future__ import annotations

import socket

import pytest

from regproxy.errors import (
    ContentMismatch,
    UpstreamUnreachable,
)
from regproxy.fill.plan import HOLD_BACK_BYTES
from regproxy.fill.relay import LINGER_S
from regproxy.fill.retries import MAX_FAILURES
from regproxy.oci.digest import Digest
from regproxy.testing.bodies import Feed
from tests.fill.refusing import CONTENT, FRONT, FULL, LARGE, MIB, Pull
from tests.proxy.world import KIB, NAME, Seen, World, content_of, drain


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

    @pytest.mark.parametrize("size", [-1, None])
    def test_a_connection_that_breaks_then_is_asked_on_from_there(self, size):
        """What passes is as safe from resets as what is kept."""
        pull = Pull(size=size)
        bodies = [pull.first.result.body(), pull.open().result.body()]
        pull.refuse()
        front = pull.given
        asked_from = []

        def resumed(_, start):
            asked_from.append(start)
            return Feed.whole(CONTENT)

        pull.world.remote.resumed_from = resumed
        pull.feed.fail(UpstreamUnreachable(NAME, "reset"))
        got = [b"", b""]
        for _ in range(20):
            pull.world.clock.advance(0.1)
            got = [data + drain(body) for data, body in zip(got, bodies, strict=True)]
        assert got == [CONTENT, CONTENT]
        assert asked_from == [front]
        pull.assert_clean(*bodies)

    def test_one_that_nobody_waits_for_is_not_asked_for_ever(self):
        pull = Pull()
        body = pull.first.result.body()
        pull.refuse()
        pull.feed.fail(UpstreamUnreachable(NAME, "reset"))
        body.close()
        pull.world.clock.advance(LINGER_S)
        asked = pull.asked()
        pull.world.clock.advance(100)
        assert pull.asked() == asked
        pull.assert_clean(body)

    def test_a_transfer_that_breaks_for_good_cuts_its_readers(self):
        pull = Pull()
        body = pull.first.result.body()
        pull.refuse()
        drain(body)
        pull.world.break_for_good(pull.feed)
        assert pull.asked() == (1, MAX_FAILURES)
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
