"""Tags: fresh ones ask nobody, expired ones cost one shared HEAD, trouble serves what is cached."""

from __future__ import annotations

import pytest

from regproxy.errors import (
    Denied,
    NotFound,
    StorageFailed,
    Throttled,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from regproxy.interfaces import How
from regproxy.testing.images import make_image
from tests.proxy.world import TAG, Seen, World

OLD, NEW = make_image(labels={"v": "1"}), make_image(labels={"v": "2"})
TROUBLE = [
    UpstreamUnreachable("u", "refused"),
    UpstreamTimeout("u", "slow"),
    UpstreamFailed("u", "500"),
    UpstreamRefused("u", "token"),
    Throttled("u", "429", 5),
]


class Tagged(World):
    """A world with one tagged image upstream."""

    def __init__(self, cached: bool = False) -> None:
        super().__init__()
        self.app = self.repository()
        self.remote.put_image(self.app, TAG.name, OLD)
        if cached:
            assert self.get().result.how is How.MISS
            self.remote.script.calls.clear()

    def get(self) -> Seen:
        return Seen(self.proxy.tags.get(self.app, TAG))

    def head(self) -> Seen:
        return Seen(self.proxy.tags.stat(self.app, TAG))

    def move(self) -> None:
        self.remote.put_image(self.app, TAG.name, NEW)

    @property
    def operations(self) -> list[str]:
        return [call.operation for call in self.remote.script.calls]


class TestUnknown:
    def test_a_get_is_one_get_by_tag_for_all(self):
        world = Tagged()
        gate = world.remote.script.hold("tags.get")
        asking = [world.get() for _ in range(20)]
        gate.open()
        assert {seen.result.manifest for seen in asking} == {OLD.manifest}
        assert world.operations == ["tags.get"]

    def test_a_head_is_one_head_for_all_and_brings_no_bytes(self):
        world = Tagged()
        gate = world.remote.script.hold("tags.stat")
        asking = [world.head() for _ in range(20)]
        gate.open()
        assert {seen.result.descriptor for seen in asking} == {OLD.descriptor}
        assert world.operations == ["tags.stat"]
        assert world.store.contents == {}

    def test_head_then_get_costs_one_head_and_one_get_by_digest(self):
        world = Tagged()
        world.head()
        answer = world.get().result
        assert (answer.manifest, answer.how) == (OLD.manifest, How.MISS)
        assert world.operations == ["tags.stat", "manifests.get"]
        assert world.get().result.how is How.HIT

    def test_a_head_while_the_first_get_runs_waits_for_it(self):
        world = Tagged()
        gate = world.remote.script.hold("tags.get")
        getting, heading = world.get(), world.head()
        gate.open()
        assert heading.result.descriptor == getting.result.descriptor
        assert world.operations == ["tags.get"]

    def test_a_record_made_by_head_whose_digest_is_not_there_is_dropped(self):
        world = Tagged()
        world.head()
        del world.remote.holding(world.app).manifests[OLD.digest]
        world.move()
        assert world.get().result.manifest == NEW.manifest
        assert world.operations == ["tags.stat", "manifests.get", "tags.get"]
        assert world.store.tag(world.app, TAG).descriptor == NEW.descriptor

    @pytest.mark.parametrize("error", [NotFound("u", "404"), Denied("u", "403"), *TROUBLE])
    @pytest.mark.parametrize("method", ["get", "head"])
    def test_fails_as_the_upstream_does(self, error, method):
        world = Tagged()
        world.remote.script.fail("tags.get", error)
        world.remote.script.fail("tags.stat", error)
        assert getattr(world, method)().failed_with(type(error))
        assert world.store.tag(world.app, TAG) is None


class TestFresh:
    def test_asks_nobody(self):
        world = Tagged(cached=True)
        world.clock.advance(59)
        answer = world.get().result
        assert (answer.how, answer.manifest, answer.age_s) == (How.HIT, OLD.manifest, 59)
        assert answer.warning is None
        assert world.head().result.descriptor == OLD.descriptor
        assert world.operations == []

    def test_a_missing_manifest_is_fetched_by_digest(self):
        world = Tagged(cached=True)
        world.store.remove(OLD.digest)
        world.move()
        answer = world.get().result
        assert (answer.manifest, answer.how) == (OLD.manifest, How.MISS)
        assert world.operations == ["manifests.get"]


class TestAtHand:
    """What needs neither waiting nor a question is answered in the same turn."""

    def test_a_fresh_tag(self):
        world = Tagged(cached=True)
        world.clock.advance(59)
        answer = world.proxy.manifest_at_hand(world.app, TAG)
        assert answer is not None
        assert (answer.manifest, answer.how, answer.age_s) == (OLD.manifest, How.HIT, 59)
        assert world.operations == []

    def test_a_digest(self):
        world = Tagged(cached=True)
        answer = world.proxy.manifest_at_hand(world.app, OLD.manifest.digest)
        assert answer is not None
        assert (answer.manifest, answer.how) == (OLD.manifest, How.HIT)
        assert world.proxy.manifest_at_hand(world.app, NEW.manifest.digest) is None

    def test_an_expired_an_unknown_and_a_void_tag_are_not(self):
        world = Tagged(cached=True)
        assert world.proxy.manifest_at_hand(world.repository("team/b"), TAG) is None
        world.clock.advance(10_000)
        assert world.proxy.manifest_at_hand(world.app, TAG) is None
        world = Tagged(cached=True)
        world.store.revoke(world.app)
        assert world.proxy.manifest_at_hand(world.app, TAG) is None

    def test_a_void_tag_is_not_though_its_manifest_is_proven_anew(self):
        world = Tagged(cached=True)
        world.clock.advance(1)
        world.store.revoke(world.app)
        world.clock.advance(1)
        Seen(world.proxy.manifests.get(world.app, OLD.manifest.digest))
        assert world.proxy.manifest_at_hand(world.app, OLD.manifest.digest) is not None
        assert world.proxy.manifest_at_hand(world.app, TAG) is None

    def test_a_fresh_tag_without_its_manifest_is_not(self):
        world = Tagged(cached=True)
        world.store.remove(OLD.manifest.digest)
        assert world.proxy.manifest_at_hand(world.app, TAG) is None

    def test_it_is_a_use_of_both(self):
        world = Tagged(cached=True)
        world.used.clear()
        world.proxy.manifest_at_hand(world.app, TAG)
        assert (world.app, TAG) in world.used
        world.used.clear()
        world.proxy.manifest_at_hand(world.app, OLD.manifest.digest)
        assert world.used == [(world.app, OLD.manifest.digest)]


class TestExpired:
    def test_unchanged_costs_one_head_for_all_and_is_fresh_again(self):
        world = Tagged(cached=True)
        world.clock.advance(60)
        gate = world.remote.script.hold("tags.stat")
        asking = [*(world.get() for _ in range(10)), *(world.head() for _ in range(10))]
        gate.open()
        assert {seen.result.how for seen in asking} == {How.REVALIDATED}
        assert world.operations == ["tags.stat"]
        world.clock.advance(59)
        assert world.get().result.how is How.HIT

    def test_changed_is_fetched_by_digest_and_swapped(self):
        world = Tagged(cached=True)
        world.clock.advance(60)
        world.move()
        assert world.get().result.manifest == NEW.manifest
        assert world.operations == ["tags.stat", "manifests.get"]
        record = world.store.tag(world.app, TAG)
        assert record.descriptor == NEW.descriptor
        assert [held.digest for held in record.history] == [OLD.digest, NEW.digest]

    def test_a_changed_one_that_cannot_be_fetched_leaves_the_old_one(self):
        world = Tagged(cached=True)
        world.clock.advance(60)
        world.move()
        world.remote.script.fail("manifests.get", UpstreamFailed("u", "500"))
        answer = world.get().result
        assert (answer.how, answer.manifest) == (How.STALE, OLD.manifest)
        assert world.store.tag(world.app, TAG).descriptor == OLD.descriptor

    def test_a_changed_one_whose_digest_is_not_there_is_trouble_not_a_404(self):
        world = Tagged(cached=True)
        world.clock.advance(60)
        world.move()
        world.remote.script.fail("manifests.get", NotFound("u", "404"))
        answer = world.get().result
        assert (answer.how, answer.manifest) == (How.STALE, OLD.manifest)

    def test_a_404_is_believed_and_the_content_stays_by_digest(self):
        world = Tagged(cached=True)
        world.clock.advance(60)
        del world.remote.holding(world.app).tags[TAG.name]
        assert world.get().failed_with(NotFound)
        assert world.store.tag(world.app, TAG) is None
        assert Seen(world.proxy.manifests.get(world.app, OLD.digest)).result == OLD.manifest

    def test_a_403_revokes_the_repository(self):
        world = Tagged(cached=True)
        world.clock.advance(60)
        world.remote.script.fail("tags.stat", Denied("u", "403"))
        assert world.get().failed_with(Denied)
        world.remote.script.fail("manifests.stat", Denied("u", "403"))
        assert Seen(world.proxy.manifests.get(world.app, OLD.digest)).failed_with(Denied)

    def test_after_a_403_trouble_does_not_bring_it_back(self):
        world = Tagged(cached=True)
        world.clock.advance(60)
        world.remote.script.fail("tags.stat", Denied("u", "403"), times=1)
        assert world.get().failed_with(Denied)
        world.remote.script.fail("tags.stat", UpstreamUnreachable("u", "down"))
        assert world.get().failed_with(UpstreamUnreachable)


class TestStale:
    @pytest.mark.parametrize("error", TROUBLE)
    @pytest.mark.parametrize("method", ["get", "head"])
    def test_trouble_serves_what_is_cached_with_a_warning(self, error, method):
        world = Tagged(cached=True)
        world.clock.advance(100)
        world.remote.script.fail("tags.stat", error)
        answer = getattr(world, method)().result
        assert (answer.how, answer.descriptor, answer.age_s) == (How.STALE, OLD.descriptor, 100)
        assert error.reason in answer.warning
        assert world.operations == ["tags.stat"]

    def test_a_client_waits_only_so_long_and_the_answer_is_kept_for_the_next(self):
        world = Tagged(cached=True)
        world.clock.advance(60)
        world.move()
        gate = world.remote.script.hold("tags.stat")
        first = world.get()
        world.clock.advance(1.9)
        assert first.waiting
        world.clock.advance(0.2)
        assert first.result.how is How.STALE
        assert "in time" in first.result.warning
        gate.open()
        answer = world.get().result
        assert (answer.how, answer.manifest) == (How.HIT, NEW.manifest)
        assert world.operations == ["tags.stat", "manifests.get"]

    def test_with_nothing_cached_it_waits_for_the_upstream(self):
        world = Tagged()
        world.head()
        world.clock.advance(60)
        gate = world.remote.script.hold("tags.stat")
        waiting = world.get()
        world.clock.advance(10)
        assert waiting.waiting
        gate.open()
        assert waiting.result.manifest == OLD.manifest

    def test_too_old_is_not_served(self):
        world = Tagged(cached=True)
        world.clock.advance(60 + 3600 + 1)
        world.remote.script.fail("tags.stat", UpstreamUnreachable("u", "down"))
        assert world.get().failed_with(UpstreamUnreachable)

    def test_too_old_waits_longer_than_the_rule_for_the_upstream(self):
        world = Tagged(cached=True)
        world.clock.advance(60 + 3600 + 1)
        gate = world.remote.script.hold("tags.stat")
        waiting = world.get()
        world.clock.advance(5)
        assert waiting.waiting
        gate.open()
        assert waiting.result.how is How.REVALIDATED
        assert world.operations == ["tags.stat"]

    def test_a_stale_tag_without_its_manifest_is_not_served(self):
        world = Tagged(cached=True)
        world.clock.advance(60)
        world.store.remove(OLD.digest)
        world.remote.script.fail("tags.stat", UpstreamUnreachable("u", "down"))
        assert world.get().failed_with(UpstreamUnreachable)
        assert world.head().failed_with(UpstreamUnreachable)

    def test_a_client_that_leaves_does_not_end_the_question(self):
        world = Tagged(cached=True)
        world.clock.advance(60)
        gate = world.remote.script.hold("tags.stat")
        leaving, staying = world.get(), world.get()
        leaving.deferred.cancel()
        gate.open()
        assert staying.result.how is How.REVALIDATED
        assert world.operations == ["tags.stat"]

    def test_a_clock_that_went_back_asks_again(self):
        world = Tagged(cached=True)
        world.clock.rightNow -= 500_000
        assert world.get().result.how is How.REVALIDATED


def test_a_disk_that_refuses_costs_the_memory_not_the_answer():
    world = Tagged()
    world.store.script.fail("set_tag", StorageFailed("full"))
    assert world.get().result.manifest == OLD.manifest
    assert world.get().result.manifest == OLD.manifest


class TestLists:
    def listed(self, world):
        return Seen(world.proxy.tags.list(world.app))

    def test_the_upstreams_list_is_kept_for_the_fresh_time(self):
        world = Tagged()
        gate = world.remote.script.hold("tags.list", times=1)
        asking = [self.listed(world) for _ in range(5)]
        gate.open()
        assert {seen.result.tags for seen in asking} == {("latest",)}
        world.clock.advance(59)
        assert self.listed(world).result.how is How.HIT
        assert world.operations == ["tags.list"]
        world.clock.advance(2)
        assert self.listed(world).result.how is How.MISS
        assert world.operations == ["tags.list"] * 2

    @pytest.mark.parametrize("error", TROUBLE)
    def test_in_trouble_the_last_list_with_a_warning(self, error):
        world = Tagged()
        self.listed(world)
        world.clock.advance(61)
        world.remote.script.fail("tags.list", error)
        answer = self.listed(world).result
        assert (answer.tags, answer.how) == (("latest",), How.STALE)
        assert answer.age_s == 61
        assert error.reason in answer.warning

    def test_in_trouble_without_a_list_the_tags_on_disk(self):
        world = Tagged(cached=True)
        world.remote.script.fail("tags.list", UpstreamUnreachable("u", "down"))
        answer = self.listed(world).result
        assert answer.tags == ("latest",)
        assert "only the tags kept here" in answer.warning

    def test_in_trouble_with_nothing_known_the_error(self):
        world = Tagged()
        world.remote.script.fail("tags.list", UpstreamUnreachable("u", "down"))
        assert self.listed(world).failed_with(UpstreamUnreachable)

    @pytest.mark.parametrize("error", [NotFound("u", "404"), Denied("u", "403")])
    def test_answers_are_believed(self, error):
        world = Tagged(cached=True)
        self.listed(world)
        world.clock.advance(61)
        world.remote.script.fail("tags.list", error)
        assert self.listed(world).failed_with(type(error))

    def test_what_is_remembered_is_bounded(self, monkeypatch):
        from regproxy.proxy import tag_lists

        monkeypatch.setattr(tag_lists, "MAX_REMEMBERED_TAGS", 10)
        world = World()
        for number in range(20):
            repository = world.repository(f"app{number}")
            world.remote.put_image(repository, "one", OLD)
            assert Seen(world.proxy.tags.list(repository)).result.tags == ("one",)
        world.remote.script.calls.clear()
        for number in range(20):
            Seen(world.proxy.tags.list(world.repository(f"app{number}")))
        assert len(world.remote.script.calls) == 20
