"""Why an image is answered as it is: what is told is what a request would meet, and nobody is asked."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred

from regproxy.interfaces import Allowance, Circuit, Kind, Standing, Thrift
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag
from regproxy.proxy.explaining import Explaining, Explanation
from regproxy.proxy.freshness import Act, Why
from regproxy.proxy.tag_rules import TagRules
from regproxy.settings import TagRule
from regproxy.testing.images import make_image, make_index
from regproxy.testing.layers import sized_layer
from tests.proxy.world import NAME, RULE, World

APP = Repository.parse(NAME, "team/app")
TAG = Tag("1.27")
HERE, ELSEWHERE = make_image(sized_layer(3000, 1), sized_layer(2500, 2)), make_image(sized_layer(2500, 3))
INDEX = make_index(HERE, ELSEWHERE)
BLOBS = list(HERE.blobs)
LINED = attrs.evolve(RULE, line=12)


def explaining(world: World, rule: TagRule = LINED) -> Explaining:
    rules = {name: TagRules([rule]) for name in world.remotes}
    return Explaining(world.store, world.remotes, rules, world.proxy.complete, world.clock.seconds)


def result(coroutine: Any) -> Any:
    found: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(found.append)
    (outcome,) = found
    if hasattr(outcome, "raiseException"):
        outcome.raiseException()
    return outcome


def explain(world: World, reference: Reference, repository: Repository | None = None) -> Explanation:
    """What is told; it costs no question and no use."""
    calls, used = len(world.remote.script.calls), len(world.used)
    found: Explanation = result(explaining(world).explain(repository or APP, reference))
    assert len(world.remote.script.calls) == calls, "somebody outside was asked"
    assert len(world.used) == used, "it counted as a use"
    return found


@pytest.fixture
def world() -> World:
    made = World()
    made.remote.put_image(APP, TAG.name, INDEX)
    return made


def pull(world: World, *blobs: Digest) -> None:
    """The index by its tag, one child, and some of its blobs, as a client of one platform does."""
    result_of(world.proxy.tags.get(APP, TAG))
    result_of(world.proxy.manifests.get(APP, HERE.digest))
    for digest in blobs:
        world.store.put_blob(APP, world.remote.holding(APP).blobs[digest])


def result_of(deferred: Deferred[Any]) -> Any:
    found: list[Any] = []
    deferred.addBoth(found.append)
    return found[0]


def test_nothing_is_known(world: World) -> None:
    found = explain(world, TAG)
    assert (found.record, found.content, found.rule) == (None, None, LINED)
    assert found.decision.why == "nothing is known of the tag"
    assert found.decision.asked == "GET /v2/team/app/manifests/1.27"


def test_a_fresh_tag_asks_nobody(world: World) -> None:
    pull(world)
    world.clock.advance(RULE.fresh_s / 2)
    found = explain(world, TAG)
    assert found.age_s == RULE.fresh_s / 2
    assert found.content is not None
    assert (found.content.digest, found.content.kind, found.content.right) == (
        INDEX.digest,
        Kind.MANIFEST,
        True,
    )
    assert found.content.since_s == world.clock.seconds() - RULE.fresh_s / 2
    assert found.decision.asked == "nothing"
    assert "fresh" in found.decision.why


def test_a_fresh_tag_whose_manifest_is_not_here(world: World) -> None:
    """A HEAD has told what it means; who pulls it makes us fetch that."""
    result_of(world.proxy.tags.stat(APP, TAG))
    found = explain(world, TAG)
    assert found.decision.why == Why.NOT_HELD.value
    assert found.decision.asked == f"GET /v2/team/app/manifests/{INDEX.digest}"
    world.remote.script.calls.clear()
    result_of(world.proxy.tags.get(APP, TAG))
    assert [call.operation for call in world.remote.script.calls] == ["manifests.get"]


def test_and_in_an_outage(world: World) -> None:
    result_of(world.proxy.tags.stat(APP, TAG))
    world.remote.stands = Standing(Circuit.OPEN, 999_000.0, "it refuses connections", 7.5)
    found = explain(world, TAG)
    assert (found.decision.act, found.decision.asked) == (Act.REFUSE.value, "nothing")


def test_an_expired_one_is_asked_about(world: World) -> None:
    pull(world)
    world.clock.advance(RULE.fresh_s + 1)
    found = explain(world, TAG)
    assert found.decision.asked.startswith("HEAD /v2/team/app/manifests/1.27")
    calls = len(world.remote.script.calls)
    result_of(world.proxy.tags.get(APP, TAG))
    assert len(world.remote.script.calls) == calls + 1, "which is what a request does"


def test_how_much_is_on_disk(world: World) -> None:
    """Of the platform that is here; the other one counts as not pulled."""
    pull(world, *BLOBS[:2])
    closure = explain(world, TAG).content.closure  # type: ignore[union-attr]
    assert closure is not None
    assert (closure.platforms, closure.here, closure.blobs, closure.missing) == (2, 1, len(HERE.blobs), 1)
    assert not closure.whole
    pull(world, *BLOBS)
    closure = explain(world, TAG).content.closure  # type: ignore[union-attr]
    assert closure is not None
    assert (closure.missing, closure.whole) == (0, True)


def test_an_index_without_a_child_is_not_whole(world: World) -> None:
    result_of(world.proxy.tags.get(APP, TAG))
    closure = explain(world, TAG).content.closure  # type: ignore[union-attr]
    assert closure is not None
    assert (closure.here, closure.whole) == (0, False)


def test_a_blob_and_a_manifest_by_digest(world: World) -> None:
    pull(world, BLOBS[0])
    blob = explain(world, BLOBS[0])
    assert blob.content is not None
    assert (blob.content.kind, blob.content.right, blob.decision.asked) == (Kind.BLOB, True, "nothing")
    assert blob.rule is None
    manifest = explain(world, HERE.digest)
    assert manifest.content is not None
    assert manifest.content.closure is not None
    assert manifest.content.closure.missing == len(HERE.blobs) - 1


def test_what_is_not_here(world: World) -> None:
    found = explain(world, BLOBS[1])
    assert found.decision.act == "fetch it"
    digest = BLOBS[1]
    assert found.decision.asked == f"GET /v2/team/app/blobs/{digest} or /v2/team/app/manifests/{digest}"


def test_bytes_of_another_repository_need_a_right(world: World) -> None:
    pull(world, BLOBS[0])
    found = explain(world, BLOBS[0], world.repository("team/b"))
    assert found.content is not None
    assert (found.content.right, found.content.since_s) == (False, None)
    assert found.content.size_bytes is not None
    assert found.decision.asked.startswith("HEAD /v2/team/b/blobs/")


def test_what_is_of_before_a_revocation(world: World) -> None:
    pull(world)
    world.clock.advance(1)
    result_of(world.store.revoke(APP))
    tag, digest = explain(world, TAG), explain(world, INDEX.digest)
    assert tag.decision.why == Why.VOID.value
    assert tag.decision.asked.startswith("HEAD ")
    assert digest.content is not None
    assert not digest.content.right
    assert "refused us" in digest.decision.why


def test_an_upstream_that_is_down_is_not_asked(world: World) -> None:
    pull(world)
    world.clock.advance(RULE.fresh_s + 1)
    world.remote.stands = Standing(Circuit.OPEN, 10.0, "it hangs", 3.0)
    found = explain(world, TAG)
    assert (found.standing, found.decision.asked) == (world.remote.stands, "nothing")
    assert (found.decision.act, found.decision.why) == (Act.STALE.value, Why.DOWN.value)
    unknown = explain(world, Tag("other"))
    assert (unknown.decision.act, unknown.decision.asked) == (Act.REFUSE.value, "nothing")
    assert unknown.decision.why == "nothing is known of the tag, and the upstream is not asked now: 503"
    missing = explain(world, BLOBS[0]).decision
    assert (missing.act, missing.asked) == (Act.REFUSE.value, "nothing")
    assert missing.why == "it is not on disk, and the upstream is not asked now: 503"


def test_a_429_holds_back_what_is_not_known(world: World) -> None:
    world.remote.allows = Allowance(Thrift.EMPTY, retry_after_s=37.2)
    found = explain(world, TAG).decision
    assert found.why == "nothing is known of the tag; until it may be asked again: 429"
    assert found.asked == "GET /v2/team/app/manifests/1.27, in 37 s"
    world.remote.allows = Allowance(Thrift.EMPTY)
    assert explain(world, TAG).decision.why == Why.UNKNOWN.value, "without a 429 there may be one more"


def test_a_repository_of_an_upstream_that_is_no_more(world: World) -> None:
    found = explain(world, TAG, Repository.parse("gone.example", "a/b"))
    assert not found.known
    assert "do not name" in found.decision.why


def test_the_trace_is_short_and_tells_the_most(world: World) -> None:
    pull(world)
    world.clock.advance(RULE.fresh_s + 1)
    world.remote.stands = Standing(Circuit.OPEN, 0.0, "it hangs", 3.0)
    world.remote.allows = Allowance(Thrift.EMPTY)
    told = dict(explaining(world).brief(APP, TAG))
    assert told["repository"] == str(APP)
    assert told["rule"] == '"*" (line 12)'
    assert told["digest"] == str(INDEX.digest)
    assert told["circuit"] == "open since 1970-01-01T00:00:00Z: it hangs; tried again in 3 s"
    assert (told["asked"], told["thrift"]) == ("nothing", "empty")
    assert dict(explaining(world, RULE).brief(APP, TAG))["rule"] == '"*" (built in)'
    assert dict(explaining(world).brief(APP, None))["next"].startswith("answer the list")


def test_what_is_served_in_an_outage(world: World) -> None:
    """An older image that is whole, where the newest is not, or is gone altogether."""
    newer = make_image(sized_layer(2700, 4))
    pull(world, *BLOBS)
    world.remote.put_image(APP, TAG.name, newer)
    world.clock.advance(RULE.fresh_s + 1)
    result_of(world.proxy.tags.get(APP, TAG))
    world.remote.stands = Standing(Circuit.OPEN, 1.0, "it refuses connections", 3.0)
    chosen = explain(world, TAG).in_outage
    assert chosen is not None
    assert (chosen.descriptor.digest, chosen.newest, chosen.missing) == (INDEX.digest, False, 0)
    result_of(world.store.unlink(APP, newer.digest, Kind.MANIFEST))
    world.clock.advance(RULE.fresh_s + 1)
    found = explain(world, TAG)
    assert found.in_outage is not None
    assert (found.decision.act, found.decision.why) == (Act.STALE.value, Why.DOWN.value)
    assert result_of(world.proxy.tags.get(APP, TAG)).descriptor == INDEX.descriptor, "which a request gets"
    result_of(world.store.revoke(APP))
    assert explain(world, TAG).in_outage is None
