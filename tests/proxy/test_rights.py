"""A right is of the moment it was asked for: revocations, refusals and lies take it away."""

from __future__ import annotations

import os

import pytest

from regproxy.errors import ContentMismatch, Denied, NotFound, StorageFailed, UpstreamUnreachable
from regproxy.oci.digest import Digest
from regproxy.oci.tag import Tag
from regproxy.testing.bodies import Feed
from regproxy.testing.images import make_image
from tests.proxy.world import KIB, NAME, TAG, Seen, World, content_of, drain

CONTENT = os.urandom(300 * KIB)
IMAGE, NEWER = make_image(labels={"v": "1"}), make_image(labels={"v": "2"})
OTHER = Tag("other")
READS = ("tags.stat", "tags.get", "blobs.stat", "manifests.stat", "manifests.get")


def revoke(world: World, repository) -> None:
    """As a 401 or 403 to a tag does."""
    world.clock.advance(5)
    assert Seen(world.store.revoke(repository)).result is None
    world.clock.advance(5)


def deny(world: World, *operations: str) -> None:
    for operation in operations:
        world.remote.script.fail(operation, Denied(NAME, "403"))


class TestRevocationWhileSomethingRuns:
    def test_who_comes_after_it_waits_for_no_earlier_answer(self):
        """A manifest, a proof and a tag of before the revocation, still on their way to the disk."""
        world = World()
        app, other = world.repository(), world.repository("other")
        digest = world.store.put_blob(other, CONTENT)
        world.remote.put_blob(app, CONTENT)
        world.remote.put_image(app, TAG.name, IMAGE)
        late = world.store.script.hold("put", "grant", times=3)

        def ask() -> list[Seen]:
            tags, manifests = world.proxy.tags, world.proxy.manifests
            return [
                Seen(tags.get(app, TAG)),
                Seen(manifests.get(app, IMAGE.digest)),
                world.open(app, digest),
            ]

        before = ask()
        revoke(world, app)
        deny(world, *READS)
        after = ask()
        late.open()
        assert all(seen.failed_with(Denied) for seen in after)
        assert [seen.waiting for seen in before] == [False] * 3

    def test_a_running_fill_is_joined_only_with_a_new_proof(self):
        world = World()
        app = world.repository()
        digest, feed = world.feed(CONTENT, app)
        world.open(app, digest).result.close()
        revoke(world, app)
        deny(world, "blobs.stat")
        assert world.open(app, digest).failed_with(Denied)
        assert Seen(world.proxy.blobs.stat(app, digest)).failed_with(Denied)
        feed.give(CONTENT)

    def test_its_commit_gives_no_right(self):
        world = World()
        app = world.repository()
        digest, feed = world.feed(CONTENT, app)
        world.open(app, digest).result.close()
        revoke(world, app)
        feed.give(CONTENT)
        assert digest in world.store.contents
        deny(world, "blobs.stat")
        assert world.open(app, digest).failed_with(Denied)

    def test_a_new_proof_while_it_runs_is_one(self):
        world = World()
        app = world.repository()
        digest, feed = world.feed(CONTENT, app)
        world.open(app, digest).result.close()
        revoke(world, app)
        joined = world.open(app, digest)
        feed.give(CONTENT)
        assert content_of(joined.result) == CONTENT
        asked = world.upstream_calls()
        assert content_of(world.open(app, digest).result) == CONTENT
        assert world.upstream_calls() == asked

    def test_a_proof_that_was_asked_for_before_is_asked_for_again(self):
        world = World()
        app, other = world.repository(), world.repository("other")
        digest = world.store.put_blob(app, CONTENT)
        world.remote.put_blob(other, CONTENT)
        gate = world.remote.script.hold("blobs.stat", times=1)
        opening = world.open(other, digest)
        revoke(world, other)
        deny(world, "blobs.stat")
        gate.open()
        assert opening.failed_with(Denied)
        assert world.open(other, digest).failed_with(Denied)

    def test_a_manifest_that_was_asked_for_before_gives_no_right(self):
        world = World()
        app = world.repository()
        world.remote.put_image(app, TAG.name, IMAGE)
        gate = world.remote.script.hold("manifests.get", times=1)
        getting = Seen(world.proxy.manifests.get(app, IMAGE.digest))
        revoke(world, app)
        gate.open()
        assert getting.result == IMAGE.manifest
        deny(world, *READS)
        assert Seen(world.proxy.manifests.get(app, IMAGE.digest)).failed_with(Denied)


class TestTagsAfterRevocation:
    def world(self) -> World:
        world = World()
        app = world.repository()
        for tag in (TAG, OTHER):
            world.remote.put_image(app, tag.name, IMAGE)
            assert Seen(world.proxy.tags.get(app, tag)).result
        assert Seen(world.proxy.tags.list(app)).result
        return world

    @pytest.mark.parametrize("method", ["get", "stat"])
    def test_a_fresh_tag_asks_again(self, method):
        world = self.world()
        revoke(world, world.repository())
        deny(world, *READS)
        assert Seen(getattr(world.proxy.tags, method)(world.repository(), OTHER)).failed_with(Denied)

    @pytest.mark.parametrize("method", ["get", "stat"])
    def test_trouble_does_not_bring_it_back(self, method):
        world = self.world()
        revoke(world, world.repository())
        for operation in READS:
            world.remote.script.fail(operation, UpstreamUnreachable(NAME, "down"))
        seen = Seen(getattr(world.proxy.tags, method)(world.repository(), OTHER))
        assert seen.failed_with(UpstreamUnreachable)

    def test_neither_does_it_bring_back_the_list(self):
        world = self.world()
        revoke(world, world.repository())
        world.remote.script.fail("tags.list", UpstreamUnreachable(NAME, "down"))
        assert Seen(world.proxy.tags.list(world.repository())).failed_with(UpstreamUnreachable)

    def test_a_denied_list_is_forgotten(self):
        world = self.world()
        app = world.repository("never-tagged")
        world.remote.put_image(app, "a", IMAGE)
        assert Seen(world.proxy.tags.list(app)).result.tags == ("a",)
        world.clock.advance(100)
        world.remote.script.fail("tags.list", Denied(NAME, "403"), times=1)
        assert Seen(world.proxy.tags.list(app)).failed_with(Denied)
        world.remote.script.fail("tags.list", UpstreamUnreachable(NAME, "down"))
        assert Seen(world.proxy.tags.list(app)).failed_with(UpstreamUnreachable)

    def test_a_tag_that_was_confirmed_since_is_served_again(self):
        world = self.world()
        app = world.repository()
        revoke(world, app)
        assert Seen(world.proxy.tags.get(app, OTHER)).result.manifest == IMAGE.manifest
        world.remote.script.fail("tags.list", UpstreamUnreachable(NAME, "down"))
        assert Seen(world.proxy.tags.list(app)).result.tags == (OTHER.name,)


class TestRefusalsAndLies:
    @pytest.mark.parametrize("error", [NotFound(NAME, "404"), Denied(NAME, "403")])
    def test_a_blob_that_is_refused_takes_back_an_older_link(self, error):
        world = World()
        app, other = world.repository(), world.repository("other")
        digest = world.store.put_blob(app, CONTENT)
        world.store.remove(digest)
        world.remote.script.fail("blobs.open", error, repository=app)
        assert world.open(app, digest).failed_with(type(error))
        assert world.store.link(app, digest) is None
        _, feed = world.feed(CONTENT, other)
        feed.give(CONTENT)
        assert content_of(world.open(other, digest).result) == CONTENT
        world.remote.script.fail("blobs.stat", error)
        assert world.open(app, digest).failed_with(type(error))

    def test_a_manifest_that_is_refused_takes_back_an_older_link(self):
        world = World()
        app = world.repository()
        world.store.put_image(app, IMAGE)
        world.store.remove(IMAGE.digest)
        world.remote.script.fail("manifests.get", NotFound(NAME, "404"), repository=app)
        assert Seen(world.proxy.manifests.get(app, IMAGE.digest)).failed_with(NotFound)
        assert world.store.link(app, IMAGE.digest) is None

    def test_who_sent_wrong_bytes_gets_no_link(self):
        world = World("evil.test")
        evil, app = world.repository(upstream="evil.test"), world.repository()
        digest = Digest.of(CONTENT)
        bad = world.remotes["evil.test"].feed(evil, digest, Feed(len(CONTENT)))
        _, good = world.feed(CONTENT, app)
        world.open(evil, digest).result.close()
        world.open(app, digest).result.close()
        bad.give(bytes(len(CONTENT)))
        good.give(CONTENT)
        assert world.store.contents[digest] == CONTENT
        assert world.store.link(evil, digest) is None
        assert world.store.link(app, digest) is not None

    def test_who_tells_another_size_has_not_got_what_is_on_disk(self):
        """Its HEAD gives no right to bytes of ours that it does not mean."""
        world = World("evil.test")
        evil, app = world.repository(upstream="evil.test"), world.repository()
        digest = world.store.put_blob(app, CONTENT)
        feed = world.remotes["evil.test"].feed(evil, digest, Feed(7))
        body = world.open(evil, digest).result.body()
        feed.give(bytes(7))
        with pytest.raises(ContentMismatch):
            drain(body)
        body.close()
        assert world.store.link(evil, digest) is None

    def test_every_source_is_tried_before_a_blob_is_given_up(self):
        world = World("b.test", "c.test")
        repositories = [world.repository("x", name) for name in world.remotes]
        digest = Digest.of(CONTENT)
        feeds = [world.remotes[r.upstream].feed(r, digest, Feed(len(CONTENT))) for r in repositories]
        bodies = [world.open(r, digest).result.body() for r in repositories]
        for feed, content in zip(feeds, [bytes(len(CONTENT)), b"x" * len(CONTENT), CONTENT], strict=True):
            feed.give(content)
        assert [drain(body) for body in bodies] == [CONTENT] * 3
        for body in bodies:
            body.close()

    def test_a_head_does_not_repeat_the_size_that_another_upstream_claims(self):
        world = World("evil.test")
        evil, app = world.repository(upstream="evil.test"), world.repository()
        digest = Digest.of(CONTENT)
        bad = world.remotes["evil.test"].feed(evil, digest, Feed(7))
        world.remote.put_blob(app, CONTENT)
        world.open(evil, digest).result.close()
        world.open(app, digest).result.close()
        assert Seen(world.proxy.blobs.stat(app, digest)).result == len(CONTENT)
        assert Seen(world.proxy.blobs.stat(evil, digest)).result == 7
        bad.give(b"1234567")

    def test_a_denied_source_of_a_running_fill_admits_nobody(self):
        world = World("b.test")
        app, other = world.repository(), world.repository(upstream="b.test")
        digest, feed = world.feed(CONTENT, other)
        gate = world.remote.script.hold("blobs.open")
        deny(world, "blobs.open", "blobs.stat")
        refused, served = world.open(app, digest), world.open(other, digest)
        gate.open()
        assert refused.failed_with(Denied)
        served.result.close()
        assert Seen(world.proxy.blobs.stat(app, digest)).failed_with(Denied)
        assert world.open(app, digest).failed_with(Denied)
        feed.give(CONTENT)
        assert world.open(app, digest).failed_with(Denied)

    def test_a_proof_that_the_get_takes_back_earns_no_link(self):
        world = World("b.test", "c.test")
        first, second, third = (world.repository("x", name) for name in ("b.test", NAME, "c.test"))
        digest, feed = world.feed(CONTENT, first, second, third)
        gate = world.remotes["b.test"].script.hold("blobs.open")
        world.remotes["b.test"].script.fail("blobs.open", UpstreamUnreachable("b.test", "down"))
        deny(world, "blobs.open")
        opening = [world.open(r, digest) for r in (first, second, third)]
        gate.open()
        feed.give(CONTENT)
        assert opening[0].failed_with(UpstreamUnreachable)
        assert opening[1].failed_with(Denied)
        assert content_of(opening[2].result) == CONTENT
        assert world.store.link(second, digest) is None
        assert world.store.link(third, digest) is not None

    def test_each_repository_hears_of_its_own_trouble(self):
        world = World("b.test", "c.test")
        repositories = [world.repository("x", name) for name in ("b.test", NAME, "c.test")]
        digest, _ = world.feed(CONTENT, *repositories)
        gate = world.remotes["b.test"].script.hold("blobs.open")
        for remote in world.remotes.values():
            remote.script.fail("blobs.open", UpstreamUnreachable(remote.name, "down"))
        opening = [world.open(r, digest) for r in repositories]
        gate.open()
        for seen, repository in zip(opening, repositories, strict=True):
            with pytest.raises(UpstreamUnreachable) as told:
                assert seen.result
            assert told.value.upstream == repository.upstream

    def test_an_empty_answer_for_a_blob_that_is_not_empty_is_no_answer(self):
        world = World()
        app, digest = world.repository(), Digest.of(CONTENT)
        world.remote.feed(app, digest, Feed(0))
        body = world.open(app, digest).result.body()
        with pytest.raises(ContentMismatch):
            body.read(10)
        body.close()


class TestHeadsOfManifests:
    def test_many_share_one_question(self):
        world = World()
        app = world.repository()
        world.remote.put_image(app, TAG.name, IMAGE)
        gate = world.remote.script.hold("manifests.stat")
        asking = [Seen(world.proxy.manifests.stat(app, IMAGE.digest)) for _ in range(20)]
        gate.open()
        assert {seen.result for seen in asking} == {IMAGE.descriptor}
        assert world.asked("manifests.stat") == 1

    def test_for_another_repository_it_is_asked_once(self):
        world = World()
        app, other = world.repository(), world.repository("other")
        world.store.put_image(app, IMAGE)
        world.remote.put_image(other, TAG.name, IMAGE)
        for _ in range(5):
            assert Seen(world.proxy.manifests.stat(other, IMAGE.digest)).result == IMAGE.descriptor
        assert world.asked("manifests.stat") == 1


class TestDisksThatRefuse:
    def test_a_grant_that_loses_its_file_is_a_miss(self):
        world = World()
        app, other = world.repository(), world.repository("other")
        digest = world.store.put_blob(app, CONTENT)
        _, feed = world.feed(CONTENT, other)
        gate = world.store.script.hold("grant")
        opening = world.open(other, digest)
        world.store.remove(digest)
        gate.open()
        feed.give(CONTENT)
        assert content_of(opening.result) == CONTENT

    def test_a_disk_that_fails_to_read_opens_no_running_fill(self):
        """Whoever runs us out of descriptors gets nothing of what another upstream sends."""
        world = World("b.test")
        app, other = world.repository(), world.repository(upstream="b.test")
        digest, feed = world.feed(CONTENT, other)
        served = world.open(other, digest)
        world.store.script.fail("blobs.open", StorageFailed("too many open files (EMFILE)"))
        assert world.open(app, digest).failed_with(NotFound)
        world.remote.put_blob(app, CONTENT)
        world.proxy.negatives.forget(app)
        joined = world.open(app, digest)
        feed.give(CONTENT)
        assert content_of(joined.result) == CONTENT
        assert content_of(served.result) == CONTENT
        assert world.asked("blobs.open") == 0

    def read_only(self, world: World) -> None:
        for operation in ("grant", "spool", "put", "set_tag", "drop_tag", "spool.commit"):
            world.store.script.fail(operation, StorageFailed("the disk is read-only (EROFS)"))

    def test_bytes_of_another_repository_are_read_from_the_disk(self):
        world = World()
        app, other = world.repository(), world.repository("other")
        digest = world.store.put_blob(app, CONTENT)
        world.remote.put_blob(other, CONTENT)
        self.read_only(world)
        for _ in range(2):
            assert content_of(world.open(other, digest).result) == CONTENT
        assert Seen(world.proxy.blobs.stat(other, digest)).result == len(CONTENT)
        assert world.asked("blobs.open") == 0

    def test_manifests_and_tags_are_served(self):
        world = World()
        app, other = world.repository(), world.repository("other")
        world.store.put_image(app, IMAGE)
        world.remote.put_image(other, TAG.name, IMAGE)
        self.read_only(world)
        assert Seen(world.proxy.manifests.get(other, IMAGE.digest)).result == IMAGE.manifest
        assert Seen(world.proxy.manifests.stat(other, IMAGE.digest)).result == IMAGE.descriptor
        assert Seen(world.proxy.tags.get(other, TAG)).result.manifest == IMAGE.manifest

    def test_a_changed_tag_is_served(self):
        world = World()
        app, other = world.repository(), world.repository("other")
        world.remote.put_image(app, TAG.name, IMAGE)
        assert Seen(world.proxy.tags.get(app, TAG)).result
        world.remote.put_image(app, TAG.name, NEWER)
        world.store.put_image(other, NEWER)
        world.clock.advance(100)
        self.read_only(world)
        assert Seen(world.proxy.tags.get(app, TAG)).result.manifest == NEWER.manifest

    def test_a_tag_whose_digest_is_gone_is_asked_for_anew(self):
        world = World()
        app = world.repository()
        world.remote.put_image(app, TAG.name, IMAGE)
        assert Seen(world.proxy.tags.stat(app, TAG)).result
        world.remote.script.fail("manifests.get", NotFound(NAME, "404"))
        self.read_only(world)
        assert Seen(world.proxy.tags.get(app, TAG)).result.manifest == IMAGE.manifest

    def test_wrong_bytes_that_cannot_be_moved_aside_are_not_served(self):
        world = World()
        app = world.repository()
        digest = world.store.put_blob(app, b"small")
        world.store.touch(digest, b"wrong")
        world.remote.put_blob(app, b"small")
        world.store.script.fail("spool.reject", StorageFailed("the disk is read-only (EROFS)"))
        assert content_of(world.open(app, digest).result) == b"small"
