"""Readers that fall behind where the disk refused: by Range, alone or together; and crowds of them."""

from __future__ import annotations

import pytest

from regproxy.errors import (
    ContentMismatch,
    Denied,
    NotFound,
    TransferStopped,
    UpstreamUnreachable,
)
from regproxy.fill.relay import AHEAD_BYTES, LINGER_S, PATIENCE_S, PIECE_BYTES
from regproxy.fill.relays import GATHER_S, RELAYS_PER_BLOB
from regproxy.fill.window import WINDOW_BYTES
from regproxy.interfaces import IBody
from regproxy.oci.digest import Digest
from regproxy.testing.bodies import Feed
from tests.fill.refusing import FRONT, FULL, LARGE, MIB, Pull, fallen_behind
from tests.proxy.world import KIB, NAME, Seen, World, drain


def read_on(pull: Pull, body: IBody) -> None:
    """For as long as a connection that fails is asked on."""
    for _ in range(100):
        drain(body)
        pull.world.clock.advance(0.5)


class TestSlowReaders:
    def test_goes_on_by_range_from_what_the_file_had(self):
        pull, fast, slow = fallen_behind()
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
        pull, fast, slow = fallen_behind()
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
        pull, fast, slow = fallen_behind()
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
        pull, fast, slow = fallen_behind()
        pull.world.remote.feed(pull.repository, pull.digest, Feed.whole(LARGE[:-1] + b"?"))
        with pytest.raises(ContentMismatch):
            drain(slow)
        pull.assert_clean(fast, slow)

    @pytest.mark.parametrize(
        "error", [NotFound(NAME, "404"), UpstreamUnreachable(NAME, "refused"), ContentMismatch(NAME, "size")]
    )
    def test_what_the_upstream_says_then_cuts_this_one_alone(self, error):
        pull, fast, slow = fallen_behind()
        pull.world.remote.script.fail("blobs.resume", error)
        assert slow.read(MIB) == LARGE[:FRONT]
        with pytest.raises(type(error)):
            read_on(pull, slow)
        pull.end()
        got = drain(fast)
        assert LARGE.endswith(got)
        assert fast.read(1) == b""
        pull.assert_clean(fast, slow)

    @pytest.mark.parametrize("error", [NotFound(NAME, "404"), Denied(NAME, "403")])
    def test_what_the_upstream_says_then_takes_an_older_right_back(self, error):
        pull, fast, slow = fallen_behind()
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
        feeds[0].fail(ContentMismatch(NAME, "wrong"))
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
