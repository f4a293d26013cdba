"""Tags under their rules: grace, clients that want them confirmed, upstreams that are down, near their limit,
or have a tag no more."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from regproxy.errors import (
    Denied,
    NotFound,
    StorageFailed,
    UpstreamDown,
    UpstreamFailed,
    UpstreamUnreachable,
)
from regproxy.interfaces import Allowance, Circuit, How, Standing, TagRecord, Thrift
from regproxy.oci.tag import Tag
from regproxy.proxy import refreshing
from regproxy.proxy.forcing import BURST, EACH_S
from regproxy.proxy.moved import MAX_GONE, MovedTags
from regproxy.proxy.negatives import KEPT_S, Missing
from regproxy.proxy.questions import TagQuestions
from regproxy.proxy.tag_lists import SLICE
from regproxy.settings import TagRule
from regproxy.testing.images import make_image
from tests.logged import logging
from tests.proxy.world import RULE, TAG, Seen, World

OLD, NEW = make_image(labels={"v": "1"}), make_image(labels={"v": "2"})
GRACE = attrs.evolve(RULE, grace_s=600)
NOT_ASKED = [Circuit.OPEN, Circuit.HALF_OPEN, Circuit.OFFLINE]


class Ruled(World):
    """One tagged image, cached whole, under one rule."""

    def __init__(self, rule: TagRule = RULE, tag: Tag = TAG, pinned: bool = False) -> None:
        super().__init__(rules=[rule])
        self.app = self.repository()
        if pinned:
            self.pinned.add((str(self.app), tag.name))
        self.tag = tag
        self.remote.put_image(self.app, tag.name, OLD)
        assert self.get().result.how is How.MISS
        self.store.put_image(self.app, OLD)
        self.remote.script.calls.clear()

    def get(self, forced: bool = False) -> Seen:
        return Seen(self.proxy.tags.get(self.app, self.tag, forced))

    def head(self, forced: bool = False) -> Seen:
        return Seen(self.proxy.tags.stat(self.app, self.tag, forced))

    def at_hand(self) -> Any:
        return self.proxy.manifest_at_hand(self.app, self.tag)

    def move(self) -> None:
        self.remote.put_image(self.app, self.tag.name, NEW)

    def stand(self, circuit: Circuit, reason: str | None = "connection refused") -> None:
        self.remote.stands = Standing(circuit, 999_000.0, reason, 7.5)

    @property
    def operations(self) -> list[str]:
        return [call.operation for call in self.remote.script.calls]


class TestCrowd:
    def test_a_thousand_clients_just_past_fresh_are_one_question(self) -> None:
        world = Ruled()
        world.clock.advance(60.1)
        assert world.at_hand() is None
        gate = world.remote.script.hold("tags.stat")
        asking = [world.get() if number % 2 else world.head() for number in range(1000)]
        assert all(seen.waiting for seen in asking)
        gate.open()
        assert {seen.result.how for seen in asking} == {How.REVALIDATED}
        assert {seen.result.descriptor for seen in asking} == {OLD.descriptor}
        assert world.operations == ["tags.stat"]

    def test_a_thousand_clients_of_a_tag_that_moved_are_one_question_and_one_get(self) -> None:
        world = Ruled()
        world.clock.advance(60.1)
        world.move()
        gate = world.remote.script.hold("tags.stat")
        asking = [world.get(forced=number % 3 == 0) for number in range(1000)]
        gate.open()
        assert {seen.result.manifest for seen in asking} == {NEW.manifest}
        assert world.operations == ["tags.stat", "manifests.get"]

    def test_a_thousand_clients_of_an_upstream_that_hangs_wait_as_long_as_the_rule_says(self) -> None:
        world = Ruled()
        world.clock.advance(60.1)
        gate = world.remote.script.hold("tags.stat")
        asking = [world.get() for _ in range(1000)]
        world.clock.advance(RULE.revalidate_wait_s - 0.01)
        assert all(seen.waiting for seen in asking)
        world.clock.advance(0.01)
        assert {seen.result.how for seen in asking} == {How.STALE}
        assert {seen.result.manifest for seen in asking} == {OLD.manifest}
        assert world.operations == ["tags.stat"]
        gate.open()

    def test_a_thousand_clients_in_grace_are_one_question_that_none_waits_for(self) -> None:
        world = Ruled(GRACE)
        world.clock.advance(60.1)
        gate = world.remote.script.hold("tags.stat")
        assert {world.at_hand().how for _ in range(500)} == {How.HIT}
        assert {world.get().result.how for _ in range(500)} == {How.HIT}
        assert world.operations == ["tags.stat"]
        gate.open()


class TestGrace:
    @pytest.mark.parametrize("way", ["at_hand", "get", "head"])
    def test_served_at_once_without_a_warning_and_asked_about_behind(self, way: str) -> None:
        world = Ruled(GRACE)
        world.clock.advance(60)
        world.move()
        answer = world.at_hand() if way == "at_hand" else getattr(world, way)().result
        assert (answer.how, answer.descriptor, answer.age_s) == (How.HIT, OLD.descriptor, 60)
        assert answer.warning is None
        assert world.operations == ["tags.stat", "manifests.get"]
        assert world.at_hand().manifest == NEW.manifest

    def test_confirmed_behind_it_is_fresh_again(self) -> None:
        world = Ruled(GRACE)
        world.clock.advance(60)
        world.at_hand()
        world.clock.advance(59)
        assert world.at_hand().age_s == 59
        assert world.operations == ["tags.stat"]

    def test_who_waits_shares_the_question_behind(self) -> None:
        world = Ruled(GRACE)
        world.clock.advance(60)
        gate = world.remote.script.hold("tags.stat")
        world.at_hand()
        waiting = world.get(forced=True)
        assert waiting.waiting
        gate.open()
        assert waiting.result.how is How.REVALIDATED
        assert world.operations == ["tags.stat"]

    def test_beyond_it_clients_wait(self) -> None:
        world = Ruled(GRACE)
        world.clock.advance(660)
        assert world.at_hand() is None
        assert world.get().result.how is How.REVALIDATED

    def test_trouble_behind_is_nobodys_and_is_left_alone_for_a_while(self) -> None:
        world = Ruled(GRACE)
        world.clock.advance(60)
        world.remote.script.fail("tags.stat", UpstreamFailed("u", "500"))
        with logging() as logged:
            for _ in range(50):
                assert world.at_hand().how is How.HIT
        assert world.operations == ["tags.stat"]
        assert logged.lines("error", "critical") == []
        world.clock.advance(refreshing.PAUSE_S)
        world.at_hand()
        world.at_hand()
        assert world.operations == ["tags.stat"] * 2

    def test_a_disk_that_fails_before_the_question_costs_no_later_one(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nor the client, who is served at once."""
        world = Ruled(GRACE)
        world.clock.advance(60)

        def fail(*_: object) -> Any:
            raise StorageFailed("the disk fails")

        with monkeypatch.context() as patch:
            patch.setattr(TagQuestions, "ask", fail)
            assert world.at_hand() is not None
        world.clock.advance(refreshing.PAUSE_S)
        assert world.at_hand() is not None
        assert world.operations == ["tags.stat"]

    def test_a_fault_of_ours_behind_is_logged(self, logged_failures: Any) -> None:
        world = Ruled(GRACE)
        world.clock.advance(60)
        world.remote.script.fail("tags.stat", ZeroDivisionError("a bug"))
        with logging() as logged:
            world.at_hand()
            world.at_hand()
        [line] = logged.lines("critical")
        assert "could not be asked about" in line
        assert len(logged_failures.flush(ZeroDivisionError)) == 1

    def test_what_a_question_behind_learns_is_believed(self) -> None:
        world = Ruled(GRACE)
        world.clock.advance(60)
        del world.remote.holding(world.app).tags[TAG.name]
        assert world.at_hand().how is How.HIT
        assert world.store.tag(world.app, TAG) is None
        assert world.get().failed_with(NotFound)

    def test_denied_behind_revokes(self) -> None:
        world = Ruled(GRACE)
        world.clock.advance(60)
        world.remote.script.fail("tags.stat", Denied("u", "403"))
        assert world.at_hand().how is How.HIT
        assert world.at_hand() is None
        assert world.get().failed_with(Denied)

    def test_so_many_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(refreshing, "MAX_BEHIND", 3)
        world = Ruled(GRACE)
        tags = [Tag(f"t{number}") for number in range(6)]
        for tag in tags:
            world.remote.put_image(world.app, tag.name, OLD)
            Seen(world.proxy.tags.get(world.app, tag))
        world.clock.advance(60)
        world.remote.script.calls.clear()
        gate = world.remote.script.hold("tags.stat", times=3)
        for tag in tags:
            assert world.proxy.manifest_at_hand(world.app, tag).how is How.HIT
        assert world.operations == ["tags.stat"] * 3
        gate.open()
        for tag in tags:
            world.proxy.manifest_at_hand(world.app, tag)
        assert world.operations == ["tags.stat"] * 6

    @pytest.mark.parametrize("circuit", NOT_ASKED)
    def test_an_upstream_that_is_down_is_not_asked_behind(self, circuit: Circuit) -> None:
        world = Ruled(GRACE)
        world.clock.advance(60)
        world.stand(circuit)
        for answer in (world.get().result, world.at_hand()):
            assert (answer.how, answer.warning) == (How.HIT, None)
        assert world.operations == []


class TestForced:
    def test_a_fresh_tag_is_confirmed(self) -> None:
        world = Ruled()
        world.clock.advance(30)
        assert world.get(forced=True).result.how is How.REVALIDATED
        assert world.operations == ["tags.stat"]

    def test_a_moved_one_is_the_new_one(self) -> None:
        world = Ruled()
        world.move()
        assert world.get().result.manifest == OLD.manifest
        assert world.get(forced=True).result.manifest == NEW.manifest

    def test_one_tag_so_seldom(self) -> None:
        world = Ruled()
        hows = [world.get(forced=True).result.how for _ in range(20)]
        assert hows == [How.REVALIDATED] + [How.HIT] * 19
        world.clock.advance(EACH_S)
        assert world.head(forced=True).result.how is How.REVALIDATED
        assert world.operations == ["tags.stat"] * 2

    def test_all_tags_so_seldom(self) -> None:
        world = Ruled()
        tags = [Tag(f"t{number}") for number in range(3 * BURST)]
        for tag in tags:
            world.remote.put_image(world.app, tag.name, OLD)
            Seen(world.proxy.tags.get(world.app, tag))
        world.remote.script.calls.clear()
        for tag in tags:
            Seen(world.proxy.tags.get(world.app, tag, True))
        assert world.operations == ["tags.stat"] * BURST

    def test_a_question_under_way_is_joined_by_all(self) -> None:
        world = Ruled()
        gate = world.remote.script.hold("tags.stat")
        asking = [world.get(forced=True) for _ in range(100)]
        gate.open()
        assert {seen.result.how for seen in asking} == {How.REVALIDATED}
        assert world.operations == ["tags.stat"]

    def test_an_expired_one_costs_no_permission(self) -> None:
        world = Ruled()
        world.clock.advance(60)
        assert world.get(forced=True).result.how is How.REVALIDATED
        assert world.get(forced=True).result.how is How.REVALIDATED
        assert world.get(forced=True).result.how is How.HIT

    def test_an_upstream_that_does_not_answer_leaves_the_cached_one_with_a_warning(self) -> None:
        world = Ruled()
        gate = world.remote.script.hold("tags.stat")
        asking = world.get(forced=True)
        world.clock.advance(RULE.revalidate_wait_s)
        assert asking.result.how is How.STALE
        assert "in time" in asking.result.warning
        gate.open()

    def test_an_unknown_tag_is_fetched_as_ever(self) -> None:
        world = Ruled()
        world.remote.put_image(world.app, "other", NEW)
        assert Seen(world.proxy.tags.get(world.app, Tag("other"), True)).result.manifest == NEW.manifest
        assert world.operations == ["tags.get"]

    def test_a_rate_limit_that_is_used_up_is_not_drained_by_it(self) -> None:
        world = Ruled()
        world.remote.allows = Allowance(Thrift.STALE)
        answer = world.get(forced=True).result
        assert (answer.how, world.operations) == (How.STALE, [])
        assert "rate limit" in answer.warning


@pytest.mark.parametrize("circuit", NOT_ASKED)
class TestDown:
    def test_a_fresh_tag_is_a_hit(self, circuit: Circuit) -> None:
        world = Ruled()
        world.stand(circuit)
        assert world.at_hand() is None, "whether it is whole is seen by a look at the disk, now and then"
        assert (world.get().result.how, world.get().result.warning) == (How.HIT, None)
        assert world.at_hand().how is How.HIT

    @pytest.mark.parametrize("way", ["get", "head"])
    def test_a_stale_one_waits_for_nobody_and_says_why_and_since_when(
        self, circuit: Circuit, way: str
    ) -> None:
        world = Ruled()
        world.clock.advance(100)
        world.stand(circuit)
        world.remote.script.hold("tags.stat")
        answer = getattr(world, way)().result
        assert (answer.how, answer.descriptor, answer.age_s) == (How.STALE, OLD.descriptor, 100)
        assert answer.warning == (
            "stale: registry.test: not asked since 1970-01-12T13:30:00Z: connection refused; last confirmed "
            "1970-01-12T13:46:40Z"
        )
        assert world.operations == []

    @pytest.mark.parametrize("way", ["get", "head"])
    def test_what_is_not_cached_fails_at_once(self, circuit: Circuit, way: str) -> None:
        world = Ruled()
        world.stand(circuit)
        world.tag = Tag("other")
        asking = getattr(world, way)()
        assert asking.failed_with(UpstreamDown)
        error = asking._outcome[0].value
        why = "connection refused" if circuit is Circuit.OFFLINE else "not asked now: connection refused"
        assert (error.reason, error.since_s, error.retry_after_s) == (why, 999_000.0, 8)
        assert world.operations == []

    def test_too_old_a_tag_fails_at_once(self, circuit: Circuit) -> None:
        world = Ruled()
        world.clock.advance(3661)
        world.stand(circuit)
        assert world.get().failed_with(UpstreamDown)
        assert world.operations == []

    def test_a_revoked_one_fails_at_once(self, circuit: Circuit) -> None:
        world = Ruled()
        world.store.revoke(world.app)
        world.stand(circuit)
        assert world.get().failed_with(UpstreamDown)

    def test_back_again_it_is_asked(self, circuit: Circuit) -> None:
        world = Ruled()
        world.clock.advance(100)
        world.stand(circuit)
        assert world.get().result.how is How.STALE
        world.remote.stands = Standing()
        world.move()
        assert world.get().result.manifest == NEW.manifest


class TestThrift:
    def test_longer_is_ten_times_fresh(self) -> None:
        world = Ruled()
        world.remote.allows = Allowance(Thrift.LONGER)
        world.clock.advance(599)
        assert world.at_hand().how is How.HIT
        world.clock.advance(2)
        assert world.get().result.how is How.REVALIDATED

    @pytest.mark.parametrize("thrift", [Thrift.STALE, Thrift.EMPTY])
    def test_what_is_cached_is_served_and_what_is_not_is_asked_for(self, thrift: Thrift) -> None:
        world = Ruled()
        world.remote.allows = Allowance(thrift)
        world.clock.advance(601)
        answer = world.get().result
        assert (answer.how, world.operations) == (How.STALE, [])
        assert "rate limit" in answer.warning
        world.remote.put_image(world.app, "other", NEW)
        assert Seen(world.proxy.tags.get(world.app, Tag("other"))).result.manifest == NEW.manifest
        world.clock.advance(3660)
        world.move()
        assert world.get().result.manifest == NEW.manifest


class TestMissing:
    KEEP = attrs.evolve(RULE, keep_missing=True)

    @pytest.mark.parametrize("way", ["get", "head"])
    def test_kept_it_is_served_stale_with_a_warning_up_to_its_age(self, way: str) -> None:
        world = Ruled(self.KEEP)
        del world.remote.holding(world.app).tags[TAG.name]
        for age in (60, 1800, 3660):
            world.clock.rightNow = 1_000_000 + age
            answer = getattr(world, way)().result
            assert (answer.how, answer.descriptor, answer.age_s) == (How.STALE, OLD.descriptor, age)
            assert "404" in answer.warning
            assert world.store.tag(world.app, TAG) is not None
        world.clock.advance(1)
        assert getattr(world, way)().failed_with(NotFound)
        assert world.store.tag(world.app, TAG) is None

    def test_come_back_it_is_what_it_means_then(self) -> None:
        world = Ruled(self.KEEP)
        world.clock.advance(60)
        del world.remote.holding(world.app).tags[TAG.name]
        assert world.get().result.how is How.STALE
        world.move()
        world.clock.advance(KEPT_S[Missing.TAG])  # so long it is believed to be gone
        assert world.get().result.manifest == NEW.manifest

    def test_without_its_manifest_it_is_not_kept(self) -> None:
        world = Ruled(self.KEEP)
        world.clock.advance(60)
        world.store.remove(OLD.digest)
        del world.remote.holding(world.app).tags[TAG.name]
        assert world.get().failed_with(NotFound)
        assert world.store.tag(world.app, TAG) is None

    @pytest.mark.parametrize("way", ["get", "head"])
    def test_a_pinned_one_is_served_as_long_and_stays(self, way: str) -> None:
        """Its content is kept by what it means."""
        world = Ruled(pinned=True)
        del world.remote.holding(world.app).tags[TAG.name]
        world.clock.rightNow = 1_000_000 + 3660
        answer = getattr(world, way)().result
        assert (answer.how, answer.descriptor) == (How.STALE, OLD.descriptor)
        world.clock.advance(1)
        assert getattr(world, way)().failed_with(NotFound)
        assert world.store.tag(world.app, TAG) is not None

    def test_one_that_never_was_is_not_there(self) -> None:
        world = Ruled(self.KEEP)
        world.tag = Tag("other")
        assert world.get().failed_with(NotFound)


class TestDenied:
    SERVE = attrs.evolve(RULE, serve_denied=True)

    def test_served_stale_where_an_operator_wrote_it_and_its_rights_stay(self) -> None:
        world = Ruled(self.SERVE)
        world.clock.advance(60)
        world.remote.script.fail("tags.stat", Denied("u", "it answered 403"))
        answer = world.get().result
        assert (answer.how, answer.manifest) == (How.STALE, OLD.manifest)
        assert "403" in answer.warning
        assert world.store.revoked_s(world.app) == 0
        world.tag = Tag("other")
        world.remote.script.fail("tags.get", Denied("u", "403"))
        assert world.get().failed_with(Denied)
        world.tag = TAG
        assert world.get().result.how is How.STALE, "another tag of it takes nothing away"
        world.clock.advance(3661)
        assert world.get().failed_with(Denied)

    def test_a_rule_that_does_not_say_so_revokes(self) -> None:
        world = Ruled()
        world.clock.advance(60)
        world.remote.script.fail("tags.stat", Denied("u", "403"))
        assert world.get().failed_with(Denied)
        assert world.store.revoked_s(world.app) > 0
        assert world.at_hand() is None

    def test_revoked_while_a_client_waits_it_gets_nothing_stale(self) -> None:
        world = Ruled()
        world.clock.advance(60)
        world.remote.script.fail("tags.stat", UpstreamUnreachable("u", "down"))
        gate = world.remote.script.hold("tags.stat")
        waiting = world.get()
        world.clock.advance(1)
        world.store.revoke(world.app)
        gate.open()
        assert waiting.failed_with(UpstreamUnreachable)


class TestMoved:
    def moved(self, world: World) -> float | None:
        return world.figures.registry.get_sample_value(
            "regproxy_tag_moved_total", {"upstream": "registry.test"}
        )

    def test_a_version_that_means_something_else_is_told(self) -> None:
        world = Ruled(tag=Tag("1.29.3"))
        world.clock.advance(60)
        world.move()
        with logging() as logged:
            world.get()
        [line] = logged.lines("warn")
        assert line == f"tag moved: registry.test/team/app:1.29.3 was {OLD.digest} and is {NEW.digest} now"
        assert self.moved(world) == 1
        [move] = world.proxy.moved.last
        assert (move.repository, move.tag, move.before, move.after) == (
            world.app,
            world.tag,
            OLD.digest,
            NEW.digest,
        )
        assert move.seen_s == pytest.approx(1_000_060, abs=1)

    def test_a_tag_that_may_move_is_not(self) -> None:
        world = Ruled()
        world.clock.advance(60)
        world.move()
        with logging() as logged:
            assert world.get().result.manifest == NEW.manifest
        assert logged.lines("warn") == []
        assert (self.moved(world), world.proxy.moved.last) == (0, ())

    def test_one_that_was_confirmed_is_not(self) -> None:
        world = Ruled(tag=Tag("1.29.3"))
        world.clock.advance(60)
        world.get()
        assert world.proxy.moved.number == 0

    def test_one_that_was_gone_for_a_while_is_told(self) -> None:
        """Else whoever can delete a tag can move it without a word."""
        world = Ruled(tag=Tag("1.29.3"))
        world.clock.advance(60)
        known = world.remote.holding(world.app).tags.pop(world.tag.name)
        assert world.get().failed_with(NotFound)
        world.clock.advance(KEPT_S[Missing.TAG])
        world.move()
        with logging() as logged:
            assert world.get().result.manifest == NEW.manifest
        assert logged.lines("warn") == [
            f"tag moved: registry.test/team/app:1.29.3 was {OLD.digest} and is {NEW.digest} now"
        ]
        assert known is not None
        world.clock.advance(61)
        world.get()
        assert world.proxy.moved.number == 1

    def test_one_that_comes_back_as_it_was_is_not(self) -> None:
        world = Ruled(tag=Tag("1.29.3"))
        world.clock.advance(60)
        world.remote.holding(world.app).tags.pop(world.tag.name)
        world.get()
        world.clock.advance(KEPT_S[Missing.TAG])
        world.remote.put_image(world.app, world.tag.name, OLD)
        world.head()
        assert world.proxy.moved.number == 0

    def test_what_is_gone_is_bounded(self) -> None:
        told = MovedTags(lambda upstream: None)
        app = World().repository()
        for number in range(2 * MAX_GONE):
            told.gone(app, Tag(f"1.0.{number}"), OLD.digest)
            told.gone(app, Tag(f"moves-{number}"), OLD.digest)
        for number in range(2 * MAX_GONE):
            told.found(app, Tag(f"1.0.{number}"), NEW.digest, 1.0)
            told.found(app, Tag(f"moves-{number}"), NEW.digest, 1.0)
        assert told.number == MAX_GONE

    def test_the_last_ones_are_kept(self) -> None:
        world = Ruled(tag=Tag("1.29.3"))
        for number in range(50):
            world.clock.advance(61)
            world.remote.put_image(world.app, "1.29.3", NEW if number % 2 == 0 else OLD)
            world.get()
        assert (world.proxy.moved.number, len(world.proxy.moved.last)) == (50, 20)
        assert world.proxy.moved.last[0].after == OLD.digest
        assert self.moved(world) == 50


class TestLists:
    def listed(self, world: World) -> Seen:
        return Seen(world.proxy.tags.list(world.repository()))

    def known(self, rule: TagRule = RULE) -> Ruled:
        world = Ruled(rule)
        assert self.listed(world).result.how is How.MISS
        world.remote.script.calls.clear()
        return world

    @pytest.mark.parametrize("circuit", NOT_ASKED)
    def test_down_the_last_list_without_a_wait(self, circuit: Circuit) -> None:
        world = self.known()
        world.clock.advance(61)
        world.stand(circuit)
        answer = self.listed(world).result
        assert (answer.tags, answer.how) == (("latest",), How.STALE)
        assert "connection refused" in answer.warning
        assert world.operations == []

    @pytest.mark.parametrize("circuit", NOT_ASKED)
    def test_down_without_a_list_the_tags_on_disk_without_a_wait(self, circuit: Circuit) -> None:
        world = Ruled()
        world.stand(circuit)
        answer = self.listed(world).result
        assert (answer.tags, answer.how) == (("latest",), How.STALE)
        assert "only the tags kept here" in answer.warning
        assert world.operations == []
        assert Seen(world.proxy.tags.list(world.repository("team/other"))).failed_with(UpstreamDown)

    def test_of_many_on_disk_those_since_a_revocation_and_others_have_their_turns(self):
        world = Ruled()
        store, peeked, turns = world.store, [], []
        store.revoke(world.app)
        revoked_s = store.revoked_s(world.app)
        for number in range(3 * SLICE):
            checked_s = revoked_s + (1 if number % 2 else -1)
            store.set_tag(world.app, Tag.parse(f"v{number}"), TagRecord(NEW.descriptor, None, checked_s))
        peek, later = store.peek_tag, world.clock.callLater
        store.peek_tag = lambda where, tag: peeked.append(tag) or peek(where, tag)
        world.clock.callLater = lambda *call: turns.append(len(peeked)) or later(*call)
        world.stand(Circuit.OPEN)
        listing = self.listed(world)
        assert listing.waiting
        world.clock.advance(0)
        assert set(listing.result.tags) == {f"v{number}" for number in range(1, 3 * SLICE, 2)}
        assert turns == [SLICE, 2 * SLICE, 3 * SLICE]

    def test_an_upstream_that_hangs_is_waited_for_as_long_as_the_rule_says(self) -> None:
        world = self.known()
        world.clock.advance(61)
        gate = world.remote.script.hold("tags.list")
        asking = [self.listed(world) for _ in range(10)]
        world.clock.advance(RULE.revalidate_wait_s)
        assert {seen.result.how for seen in asking} == {How.STALE}
        gate.open()
        assert self.listed(world).result.how is How.HIT
        assert world.operations == ["tags.list"]

    def test_in_grace_at_once(self) -> None:
        world = self.known(GRACE)
        world.remote.put_image(world.app, "new", NEW)
        world.clock.advance(61)
        assert self.listed(world).result.tags == ("latest",)
        answer = self.listed(world).result
        assert (answer.tags, answer.how, answer.warning) == (("latest", "new"), How.HIT, None)
        assert world.operations == ["tags.list"]

    def test_near_the_limit_the_last_list(self) -> None:
        world = self.known()
        world.clock.advance(601)
        world.remote.allows = Allowance(Thrift.STALE)
        assert self.listed(world).result.how is How.STALE
        assert world.operations == []

    def test_too_old_a_list_gives_way_to_the_tags_on_disk(self) -> None:
        world = self.known()
        world.remote.put_image(world.app, "gone", NEW)
        world.clock.advance(3661)
        world.remote.script.fail("tags.list", UpstreamUnreachable("u", "down"))
        assert "only the tags kept here" in self.listed(world).result.warning

    @pytest.mark.parametrize(
        ("rule", "error"),
        [
            (attrs.evolve(RULE, keep_missing=True), NotFound("u", "404")),
            (attrs.evolve(RULE, serve_denied=True), Denied("u", "403")),
        ],
    )
    def test_gone_or_denied_by_rule(self, rule: TagRule, error: Exception) -> None:
        world = self.known(rule)
        world.clock.advance(61)
        world.remote.script.fail("tags.list", error)
        for _ in range(2):
            assert self.listed(world).result.how is How.STALE
        world.clock.advance(3661)
        if isinstance(error, NotFound):
            assert self.listed(world).failed_with(NotFound)
