"""Blobs over both stores: hits ask nobody, misses cost one GET, permission is each repository's own."""

from __future__ import annotations

import os

import pytest
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from regproxy.errors import (
    ContentMismatch,
    Denied,
    NotFound,
    StorageFailed,
    TransferStopped,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from regproxy.fill.plan import HOLD_BACK_BYTES
from regproxy.fill.relay import LINGER_S
from regproxy.interfaces import How
from regproxy.oci.digest import Digest
from tests.proxy.world import KIB, Seen, World, content_of, drain

CONTENT = os.urandom(200 * KIB)
REFUSALS = [
    NotFound("u", "404"),
    Denied("u", "403"),
    UpstreamUnreachable("u", "down"),
    UpstreamTimeout("u", "slow"),
]


class TestHits:
    def test_a_hit_asks_nobody(self):
        world = World()
        repository = world.repository()
        digest = world.store.put_blob(repository, CONTENT)
        blob = world.open(repository, digest).result
        assert (blob.how, blob.size) == (How.HIT, len(CONTENT))
        assert content_of(blob) == CONTENT
        assert Seen(world.proxy.blobs.stat(repository, digest)).result == len(CONTENT)
        assert world.upstream_calls() == 0

    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    def test_a_miss_is_one_get_and_no_head(self, algorithm):
        world = World()
        repository = world.repository()
        digest = world.remote.put_blob(repository, CONTENT, algorithm)
        assert content_of(world.open(repository, digest).result) == CONTENT
        assert [call.operation for call in world.remote.script.calls] == ["blobs.open"]
        assert world.open(repository, digest).result.how is How.HIT

    def test_a_file_that_is_gone_is_a_miss(self):
        world = World()
        repository = world.repository()
        digest = world.remote.put_blob(repository, CONTENT)
        world.store.put_blob(repository, CONTENT)
        world.store.remove(digest)
        assert content_of(world.open(repository, digest).result) == CONTENT
        assert world.asked("blobs.open") == 1

    def test_a_manifest_is_served_as_a_blob_by_its_own_link(self):
        from regproxy.testing.images import make_image

        world = World()
        repository = world.repository()
        image = world.store.put_image(repository, make_image())
        assert content_of(world.open(repository, image.digest).result) == image.content
        assert world.upstream_calls() == 0


class TestHead:
    def test_of_a_cold_blob_is_one_head_and_nothing_is_fetched(self):
        world = World()
        repository = world.repository()
        digest = world.remote.put_blob(repository, CONTENT)
        assert Seen(world.proxy.blobs.stat(repository, digest)).result == len(CONTENT)
        assert [call.operation for call in world.remote.script.calls] == ["blobs.stat"]
        assert digest not in world.store.contents

    def test_while_a_fill_runs_asks_nobody(self):
        world = World()
        repository = world.repository()
        digest, feed = world.feed(CONTENT, repository)
        blob = world.open(repository, digest).result
        assert Seen(world.proxy.blobs.stat(repository, digest)).result == len(CONTENT)
        assert world.asked("blobs.stat") == 0
        blob.close()
        feed.give(CONTENT)

    def test_while_another_repositorys_fill_runs_asks_this_one(self):
        world = World()
        owner, thief = world.repository("owner"), world.repository("thief")
        digest, feed = world.feed(CONTENT, owner)
        blob = world.open(owner, digest).result
        assert Seen(world.proxy.blobs.stat(thief, digest)).failed_with(NotFound)
        blob.close()
        feed.give(CONTENT)

    @pytest.mark.parametrize(
        "error", [NotFound("u", "404"), Denied("u", "403"), UpstreamTimeout("u", "slow")]
    )
    def test_fails_as_the_upstream_does(self, error):
        world = World()
        digest = Digest.of(CONTENT)
        world.remote.script.fail("blobs.stat", error)
        assert Seen(world.proxy.blobs.stat(world.repository(), digest)).failed_with(type(error))


class TestPermission:
    def test_bytes_of_another_repository_cost_one_head_not_a_transfer(self):
        world = World()
        owner, other = world.repository("owner"), world.repository("other")
        digest = world.store.put_blob(owner, CONTENT)
        world.remote.put_blob(other, CONTENT)
        assert content_of(world.open(other, digest).result) == CONTENT
        assert [call.operation for call in world.remote.script.calls] == ["blobs.stat"]
        assert content_of(world.open(other, digest).result) == CONTENT
        assert len(world.remote.script.calls) == 1, "the link remembers it"

    def test_many_who_ask_at_once_cost_one_head(self):
        world = World()
        owner, other = world.repository("owner"), world.repository("other")
        digest = world.store.put_blob(owner, CONTENT)
        world.remote.put_blob(other, CONTENT)
        gate = world.remote.script.hold("blobs.stat")
        asking = [world.open(other, digest) for _ in range(10)]
        gate.open()
        assert all(content_of(seen.result) == CONTENT for seen in asking)
        assert world.asked("blobs.stat") == 1

    @pytest.mark.parametrize(
        "error", [NotFound("u", "404"), Denied("u", "403"), UpstreamUnreachable("u", "down")]
    )
    @pytest.mark.parametrize("operation", ["open", "stat"])
    def test_without_the_upstreams_word_nothing_is_served(self, error, operation):
        world = World("other.test")
        owner, thief = world.repository("owner"), world.repository("thief", "other.test")
        digest = world.store.put_blob(owner, CONTENT)
        world.remotes["other.test"].script.fail("blobs.stat", error)
        seen = Seen(getattr(world.proxy.blobs, operation)(thief, digest))
        assert seen.failed_with(type(error))
        assert world.store.link(thief, digest) is None

    def test_a_head_of_bytes_that_are_here_writes_the_link(self):
        world = World()
        owner, other = world.repository("owner"), world.repository("other")
        digest = world.store.put_blob(owner, CONTENT)
        world.remote.put_blob(other, CONTENT)
        assert Seen(world.proxy.blobs.stat(other, digest)).result == len(CONTENT)
        assert world.store.link(other, digest) is not None

    def test_a_revoked_repository_needs_a_new_proof(self):
        world = World()
        repository = world.repository()
        digest = world.store.put_blob(repository, CONTENT)
        world.remote.put_blob(repository, CONTENT)
        world.clock.advance(1)
        Seen(world.store.revoke(repository))
        world.clock.advance(1)
        assert content_of(world.open(repository, digest).result) == CONTENT
        assert [call.operation for call in world.remote.script.calls] == ["blobs.stat"]
        assert world.open(repository, digest).result.how is How.HIT
        assert len(world.remote.script.calls) == 1

    def test_a_revoked_repository_that_lost_it_does_not_serve_it(self):
        world = World()
        repository = world.repository()
        digest = world.store.put_blob(repository, CONTENT)
        Seen(world.store.revoke(repository))
        assert world.open(repository, digest).failed_with(NotFound)


class TestTouchedFiles:
    def test_right_bytes_are_served_while_they_are_hashed_and_trusted_after(self):
        world = World()
        repository = world.repository()
        digest = world.store.put_blob(repository, CONTENT)
        world.store.touch(digest)
        assert content_of(world.open(repository, digest).result) == CONTENT
        assert world.upstream_calls() == 0
        assert world.open(repository, digest).result.how is How.HIT

    def test_wrong_bytes_are_replaced_from_the_upstream(self):
        world = World()
        repository = world.repository()
        digest = world.store.put_blob(repository, CONTENT)
        world.store.touch(digest, bytes(len(CONTENT)))
        world.remote.put_blob(repository, CONTENT)
        body = world.open(repository, digest).result.body()
        got, error = b"", None
        try:
            got = drain(body)
        except ContentMismatch as mismatch:
            error = mismatch
        body.close()
        assert error is not None or got == CONTENT, "a complete answer is a right one"
        assert content_of(world.open(repository, digest).result) == CONTENT
        assert world.store.contents[digest] == CONTENT
        assert digest in world.store.quarantined

    def test_a_small_one_is_replaced_before_anything_is_sent(self):
        world = World()
        repository = world.repository()
        digest = world.store.put_blob(repository, b"small")
        world.store.touch(digest, b"wrong")
        world.remote.put_blob(repository, b"small")
        assert content_of(world.open(repository, digest).result) == b"small"

    def test_wrong_bytes_on_disk_are_not_said_to_be_the_upstreams(self):
        world = World()
        repository = world.repository()
        digest = world.store.put_blob(repository, b"small")
        world.store.touch(digest, b"wrong")
        world.remote.put_blob(repository, b"small")
        lines: list[str] = []

        def note(event: LogEvent) -> None:
            lines.append(formatEvent(event))

        globalLogPublisher.addObserver(note)
        try:
            assert content_of(world.open(repository, digest).result) == b"small"
        finally:
            globalLogPublisher.removeObserver(note)
        said = [line for line in lines if "quarantine/" in line]
        assert len(said) == 1
        assert f"the mirror's own copy is not {digest}" in said[0]
        assert not any("sent bytes" in line for line in lines)

    def test_wrong_bytes_without_an_upstream_are_an_error(self):
        world = World()
        repository = world.repository()
        digest = world.store.put_blob(repository, b"small")
        world.store.touch(digest, b"wrong")
        world.remote.script.fail("blobs.open", UpstreamUnreachable("u", "down"))
        assert world.open(repository, digest).failed_with(UpstreamUnreachable)
        assert digest not in world.store.contents

    def test_a_touched_file_gives_another_repository_nothing(self):
        world = World()
        owner, thief = world.repository("owner"), world.repository("thief")
        digest = world.store.put_blob(owner, CONTENT)
        world.store.touch(digest)
        assert world.open(thief, digest).failed_with(NotFound)


class TestDiskTrouble:
    @pytest.mark.parametrize("operation", ["spool", "spool.expect"])
    def test_a_full_disk_passes_blobs_through_and_keeps_nothing(self, operation):
        world = World()
        repository = world.repository()
        digest = world.remote.put_blob(repository, CONTENT)
        world.store.script.fail(operation, StorageFailed("the disk is full"))
        asking = [world.open(repository, digest) for _ in range(3)]
        assert [content_of(seen.result) for seen in asking] == [CONTENT] * 3
        assert world.store.contents == {}
        part = world.open(repository, digest).result.body(10, 20)
        assert drain(part) == CONTENT[10:20]
        part.close()

    def test_what_passes_through_is_held_back_until_it_is_right(self):
        world = World()
        repository = world.repository()
        digest, feed = world.feed(CONTENT, repository)
        world.store.script.fail("spool", StorageFailed("the disk is full"))
        body = world.open(repository, digest).result.body()
        feed.give(CONTENT[:-1])
        assert drain(body) == CONTENT[:-HOLD_BACK_BYTES]
        feed.give(b"?" if CONTENT[-1:] != b"?" else b"!")
        with pytest.raises(ContentMismatch):
            drain(body)
        body.close()
        with pytest.raises(TransferStopped):
            body.read(1)
        assert feed.open_count == 0

    def test_a_spool_that_cannot_be_made_closes_the_body_it_was_for(self):
        world = World()
        repository = world.repository()
        digest, feed = world.feed(CONTENT, repository)
        world.store.script.fail("spool", StorageFailed("the disk is full"))
        world.open(repository, digest).result.close()
        world.clock.advance(LINGER_S)
        assert feed.open_count == 0
        assert world.asked("blobs.open") == 1
        assert world.clock.getDelayedCalls() == []

    def test_a_blob_that_cannot_be_opened_is_fetched(self):
        world = World()
        repository = world.repository()
        digest = world.store.put_blob(repository, CONTENT)
        world.remote.put_blob(repository, CONTENT)
        failed = StorageFailed("the disk fails to read or write (EIO)")
        for operation in ("blobs.open", "blobs.stat"):
            world.store.script.fail(operation, failed)
        assert content_of(world.open(repository, digest).result) == CONTENT
        assert Seen(world.proxy.blobs.stat(repository, digest)).result == len(CONTENT)

    def test_a_disk_with_room_again_keeps_again(self):
        world = World()
        repository = world.repository()
        digest = world.remote.put_blob(repository, CONTENT)
        world.store.script.fail("spool", StorageFailed("the disk is full"))
        assert content_of(world.open(repository, digest).result) == CONTENT
        world.store.script.heal()
        assert content_of(world.open(repository, digest).result) == CONTENT
        assert world.store.contents[digest] == CONTENT
