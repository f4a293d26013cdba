"""Where each answer came from, and what the figures say of tags."""

from __future__ import annotations

import pytest

from regproxy.errors import Denied, NotFound, Throttled, UpstreamFailed, UpstreamTimeout
from regproxy.interfaces import BlobAnswer, How
from regproxy.metrics.figures import Figures
from regproxy.proxy.registry import ProxyRegistry
from regproxy.settings import TagRule
from regproxy.testing.images import make_image
from tests.proxy.world import NAME, TAG, Seen, World, content_of

OLD, NEW = make_image(labels={"v": "1"}), make_image(labels={"v": "2"})
CONTENT = b"some bytes of a blob" * 100
RULES = {NAME: (TagRule("stable", fresh_s=600), TagRule("*", fresh_s=60, stale_if_error_s=3600))}


class Counted(World):
    """A world with one tagged image upstream, and its figures."""

    def __init__(self) -> None:
        super().__init__()
        self.figures = Figures([NAME])
        self.proxy = ProxyRegistry(
            self.store, self.remotes, RULES, self.clock, self.clock.seconds, figures=self.figures.tags
        )
        self.app = self.repository()
        self.remote.put_image(self.app, TAG.name, OLD)
        self.remote.put_image(self.app, "stable", OLD)

    def look(self) -> How:
        return Seen(self.proxy.manifests.look(self.app, OLD.digest)).result.how

    def fetch(self) -> Seen:
        return Seen(self.proxy.manifests.fetch(self.app, OLD.digest))

    def get(self, tag: object = TAG) -> Seen:
        return Seen(self.proxy.tags.get(self.app, tag))

    def head(self) -> Seen:
        return Seen(self.proxy.tags.stat(self.app, TAG))

    def revalidations(self) -> dict[str, float]:
        """What is not zero."""
        return self.counted("regproxy_revalidations_total", "outcome")

    def counted(self, name: str, label: str, **labels: str) -> dict[str, float]:
        return {
            sample.labels[label]: sample.value
            for family in self.figures.registry.collect()
            for sample in family.samples
            if sample.name == name and sample.value and labels.items() <= sample.labels.items()
        }


class TestManifestsByDigest:
    def test_a_miss_then_hits(self):
        world = Counted()
        assert world.look() is How.MISS
        answer = world.fetch().result
        assert (answer.how, answer.manifest, answer.descriptor) == (How.MISS, OLD.manifest, OLD.descriptor)
        assert world.fetch().result.how is How.HIT
        assert world.look() is How.HIT
        assert world.fetch().result.manifest == OLD.manifest

    def test_who_waits_for_the_same_answer_has_joined(self):
        world = Counted()
        gate = world.remote.script.hold("manifests.get")
        asking = [world.fetch() for _ in range(5)]
        gate.open()
        assert [seen.result.how for seen in asking] == [How.MISS, *[How.JOINED] * 4]

    def test_what_is_here_for_another_repository_is_a_hit_by_a_question(self):
        world = Counted()
        world.fetch()
        other = world.repository("team/other")
        world.remote.put_image(other, None, OLD)
        world.remote.script.calls.clear()
        answer = Seen(world.proxy.manifests.fetch(other, OLD.digest)).result
        assert answer.how is How.HIT
        assert world.asked("manifests.get") == 0


class TestHeadsOfBlobs:
    def test_a_cold_one_is_a_miss_and_a_warm_one_a_hit(self):
        world = Counted()
        digest = world.remote.put_blob(world.app, CONTENT)

        def look():
            return Seen(world.proxy.blobs.look(world.app, digest)).result

        assert look() == BlobAnswer(len(CONTENT), How.MISS)
        assert content_of(world.open(world.app, digest).result) == CONTENT
        world.tick()
        assert look() == BlobAnswer(len(CONTENT), How.HIT)
        assert Seen(world.proxy.blobs.stat(world.app, digest)).result == len(CONTENT)

    def test_one_of_a_blob_that_is_arriving_has_joined(self):
        world = Counted()
        digest, _ = world.feed(CONTENT, world.app)
        reader = world.open(world.app, digest).result
        world.remote.script.calls.clear()
        answer = Seen(world.proxy.blobs.look(world.app, digest)).result
        assert answer == BlobAnswer(len(CONTENT), How.JOINED)
        assert world.upstream_calls() == 0
        reader.close()
        world.proxy.stop()


class TestTags:
    def test_who_waits_for_the_first_get_has_joined(self):
        world = Counted()
        gate = world.remote.script.hold("tags.get")
        asking = [world.get() for _ in range(3)]
        gate.open()
        assert [seen.result.how for seen in asking] == [How.MISS, How.JOINED, How.JOINED]

    def test_who_waits_for_the_first_head_has_joined(self):
        world = Counted()
        gate = world.remote.script.hold("tags.stat")
        asking = [world.head() for _ in range(3)]
        gate.open()
        assert [seen.result.how for seen in asking] == [How.MISS, How.JOINED, How.JOINED]

    @pytest.mark.parametrize("method", ["get", "head"])
    def test_an_unchanged_tag_is_revalidated_and_a_changed_one_a_miss(self, method):
        world = Counted()
        world.get()
        world.clock.advance(61)
        assert getattr(world, method)().result.how is How.REVALIDATED
        assert world.revalidations() == {"unchanged": 1}
        world.clock.advance(61)
        world.remote.put_image(world.app, TAG.name, NEW)
        answer = getattr(world, method)().result
        assert (answer.how, answer.descriptor) == (How.MISS, NEW.descriptor)
        assert world.revalidations() == {"unchanged": 1, "changed": 1}

    @pytest.mark.parametrize(
        ("error", "outcome"),
        [
            (NotFound("u", "404"), "gone"),
            (Denied("u", "403"), "refused"),
            (Throttled("u", "429", 5), "trouble"),
            (UpstreamTimeout("u", "slow"), "trouble"),
            (UpstreamFailed("u", "500"), "trouble"),
        ],
    )
    def test_a_revalidation_that_fails_is_counted_by_its_cause(self, error, outcome):
        world = Counted()
        world.get()
        world.clock.advance(61)
        world.remote.script.fail("tags.stat", error)
        gate = world.remote.script.hold("tags.stat")
        asking = [world.get() for _ in range(4)]
        gate.open()
        for seen in asking:
            assert outcome != "trouble" or seen.result.how is How.STALE
        assert world.revalidations() == {outcome: 1}, "one question, however many wait"

    def test_a_first_question_is_no_revalidation(self):
        world = Counted()
        world.head()
        world.get()
        assert world.revalidations() == {}

    def test_answers_are_counted_by_the_rule_of_their_tag(self):
        world = Counted()
        stable = type(TAG)("stable")
        for _ in range(2):
            world.get()
            world.get(stable)
        world.clock.advance(61)
        world.get()
        world.get(stable)
        assert world.proxy.manifest_at_hand(world.app, stable) is not None

        def how(rule):
            return world.counted("regproxy_tag_answers_total", "how", rule=rule)

        assert how("stable") == {"miss": 1, "hit": 3}
        assert how("*") == {"miss": 1, "hit": 1, "revalidated": 1}
