"""A tag while its upstream cannot be reached: the newest image that the disk has whole, all the way."""

from __future__ import annotations

import attrs
import pytest

from regproxy.errors import Throttled, UpstreamDown, UpstreamUnreachable
from regproxy.interfaces import Circuit, How, Kind, Standing, TagAnswer
from regproxy.oci.digest import Digest
from regproxy.proxy.completeness import REMEMBER_S
from regproxy.settings import TagRule
from regproxy.testing.images import make_image
from regproxy.testing.layers import sized_layer
from tests.proxy.world import NAME, RULE, TAG, Seen, World

LAYER, OTHER = sized_layer(3000), sized_layer(4000, 2)
OTHER_DIGEST = Digest.of(OTHER.content)
OLD, NEW = make_image(LAYER, labels={"v": "1"}), make_image(LAYER, OTHER, labels={"v": "2"})
DOWN = UpstreamDown(NAME, "not asked now: it refuses connections", 1.0, 3)


class Outage:
    """A tag that meant OLD, then NEW; both pulled. Then its upstream is gone."""

    def __init__(self, rule: TagRule = RULE) -> None:
        self.world = world = World(rules=[rule])
        self.repository = world.repository()
        for image in (OLD, NEW):
            world.remote.put_image(self.repository, TAG.name, image)
            world.clock.advance(rule.fresh_s + rule.grace_s)
            assert self.get().descriptor == image.descriptor
            world.store.put_image(self.repository, image)
        world.clock.advance(rule.fresh_s + rule.grace_s)

    def get(self) -> TagAnswer:
        answer: TagAnswer = Seen(self.world.proxy.tags.get(self.repository, TAG)).result
        return answer

    def fail(self, error: Exception) -> None:
        self.world.remote.script.fail("tags.stat", error, times=100)
        self.world.remote.script.fail("manifests.get", error, times=100)

    def lose(self, digest: Digest, kind: Kind = Kind.BLOB) -> None:
        assert not Seen(self.world.store.unlink(self.repository, digest, kind)).waiting


@pytest.mark.parametrize("error", [DOWN, UpstreamUnreachable(NAME, "refuses connections")])
def test_the_newest_as_long_as_it_is_whole(error: Exception) -> None:
    outage = Outage()
    outage.fail(error)
    answer = outage.get()
    assert (answer.descriptor, answer.how) == (NEW.descriptor, How.STALE)
    assert answer.warning is not None
    assert "missing" not in answer.warning
    assert "older" not in answer.warning


@pytest.mark.parametrize("error", [DOWN, UpstreamUnreachable(NAME, "refuses connections")])
def test_an_older_one_that_can_be_run_rather_than_a_newer_one_that_cannot(error: Exception) -> None:
    outage = Outage()
    outage.lose(OTHER_DIGEST)
    outage.fail(error)
    answer = outage.get()
    assert (answer.descriptor, answer.how) == (OLD.descriptor, How.STALE)
    assert answer.manifest == OLD.manifest
    assert answer.warning is not None
    assert str(OLD.digest) in answer.warning


def test_the_newest_all_the_same_where_none_is_whole_and_how_much_it_lacks() -> None:
    outage = Outage()
    outage.lose(OTHER_DIGEST)
    outage.lose(Digest.of(LAYER.content))
    outage.fail(DOWN)
    answer = outage.get()
    assert answer.descriptor == NEW.descriptor
    assert answer.warning is not None
    assert answer.warning.endswith("2 of its blobs are missing here")


def test_one_whose_last_manifest_is_gone_is_served_as_what_it_was_before() -> None:
    outage = Outage()
    outage.lose(NEW.digest, Kind.MANIFEST)
    outage.fail(DOWN)
    assert outage.get().descriptor == OLD.descriptor
    outage.lose(OLD.digest, Kind.MANIFEST)
    outage.world.clock.advance(10)
    with pytest.raises(UpstreamDown):
        outage.get()


def test_who_allows_no_more_has_the_rest_still() -> None:
    outage = Outage()
    outage.lose(OTHER_DIGEST)
    outage.fail(Throttled(NAME, "429", 60))
    answer = outage.get()
    assert answer.descriptor == NEW.descriptor


@pytest.mark.parametrize("call", ["tags.stat", "manifests.get"])
def test_who_allows_no_more_manifests_has_no_429_reach_who_can_have_an_older_image(call: str) -> None:
    """Asked what the tag means, or for the manifest that it still means."""
    outage = Outage()
    outage.lose(NEW.digest, Kind.MANIFEST)
    outage.world.remote.script.fail(call, Throttled(NAME, "429", 60), times=100)
    answer = outage.get()
    assert (answer.descriptor, answer.how) == (OLD.descriptor, How.STALE)
    assert answer.manifest == OLD.manifest
    assert answer.warning is not None
    assert "429" in answer.warning
    outage.lose(OLD.digest, Kind.MANIFEST)
    outage.world.clock.advance(REMEMBER_S)
    with pytest.raises(Throttled):
        outage.get()


def test_what_was_revoked_is_not_served_whatever_is_whole() -> None:
    outage = Outage()
    assert not Seen(outage.world.store.revoke(outage.repository)).waiting
    outage.fail(DOWN)
    with pytest.raises(UpstreamDown):
        outage.get()


def test_a_tag_from_before_a_revocation_is_none_although_its_content_was_proven_again() -> None:
    outage = Outage()
    store = outage.world.store
    assert not Seen(store.revoke(outage.repository)).waiting
    assert not Seen(store.put(outage.repository, NEW.manifest, store.stamp(outage.repository))).waiting
    outage.fail(DOWN)
    with pytest.raises(UpstreamDown):
        outage.get()


def test_back_it_is_what_it_is() -> None:
    outage = Outage()
    outage.lose(OTHER_DIGEST)
    outage.fail(DOWN)
    assert outage.get().descriptor == OLD.descriptor
    outage.world.remote.script.heal()
    answer = outage.get()
    assert (answer.descriptor, answer.how, answer.warning) == (NEW.descriptor, How.REVALIDATED, None)


FRESH_RULES = [pytest.param(0.0, id="fresh"), pytest.param(RULE.fresh_s + 1, id="grace")]


class Known(Outage):
    """Its circuit is open, and the tag is under a rule with a grace."""

    def __init__(self, age_s: float) -> None:
        super().__init__(attrs.evolve(RULE, grace_s=600))
        self.get()
        self.world.clock.advance(age_s)
        self.world.remote.stands = Standing(Circuit.OPEN, 1.0, "it refuses connections", 3.0)

    def at_hand(self) -> TagAnswer | None:
        return self.world.proxy.manifest_at_hand(self.repository, TAG)


@pytest.mark.parametrize("age_s", FRESH_RULES)
def test_one_that_has_just_changed_and_is_not_whole_yet_is_what_it_was_before(age_s: float) -> None:
    outage = Known(age_s)
    outage.lose(OTHER_DIGEST)
    for _ in range(2):
        assert outage.at_hand() is None
        answer = outage.get()
        assert (answer.descriptor, answer.how) == (OLD.descriptor, How.STALE)
        assert answer.warning is not None
        assert "not asked since" in answer.warning
        assert str(OLD.digest) in answer.warning
    outage.world.remote.stands = Standing()
    assert outage.get().descriptor == NEW.descriptor


@pytest.mark.parametrize("age_s", FRESH_RULES)
def test_one_that_is_whole_is_looked_at_now_and_then(age_s: float) -> None:
    outage = Known(age_s)
    assert (outage.get().how, outage.get().warning) == (How.HIT, None)
    found = outage.at_hand()
    assert found is not None
    assert found.descriptor == NEW.descriptor
    outage.lose(OTHER_DIGEST)
    outage.world.clock.advance(REMEMBER_S)
    assert outage.at_hand() is None
    assert outage.get().descriptor == OLD.descriptor


def test_what_an_upstream_that_is_slow_has_named_is_served() -> None:
    outage = Outage()
    outage.lose(OTHER_DIGEST)
    gate = outage.world.remote.script.hold("tags.stat")
    asking = Seen(outage.world.proxy.tags.get(outage.repository, TAG))
    outage.world.clock.advance(RULE.revalidate_wait_s)
    assert asking.result.descriptor == NEW.descriptor
    gate.open()


def test_one_too_old_to_be_served_is_not_although_an_older_image_is_whole() -> None:
    outage = Outage()
    outage.lose(NEW.digest, Kind.MANIFEST)
    outage.world.clock.advance(RULE.fresh_s + RULE.stale_if_error_s)
    outage.fail(DOWN)
    with pytest.raises(UpstreamDown):
        outage.get()
