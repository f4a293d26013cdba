"""Bringing images here by hand: whole, within what their upstream allows, each failure its image's only."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from regproxy.errors import NotFound, RegproxyError, StorageFailed, UpstreamTrouble
from regproxy.fill.abandon import AHEAD_GRACE_S, GRACE_S
from regproxy.fill.limit import SizeLimit
from regproxy.fill.relay import LINGER_S
from regproxy.interfaces import Allowance, Circuit, Standing, Thrift
from regproxy.inventory.progress import Progress, Stage
from regproxy.inventory.warming import PACE_S, Errand, Platforms, Warming
from regproxy.oci.digest import Digest
from regproxy.oci.platforms import Platform
from regproxy.oci.tag import Reference, Tag
from regproxy.proxy.forcing import BURST
from regproxy.settings import FillSettings
from regproxy.testing.bodies import Feed
from regproxy.testing.images import Image, make_image, make_index, sized_image
from regproxy.testing.layers import sized_layer
from tests.proxy.world import TAG, World

AMD64 = (Platform("linux", "amd64"),)
IMAGE = sized_image(3000, 3001, 3002, 3003)
LAYER = max(IMAGE.blobs.items(), key=lambda blob: len(blob[1]))


class House:
    """A warming over one upstream in memory."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world = world or World()
        self.repository = world.repository()
        self.warming = Warming(world.proxy, world.store, world.remotes, world.clock)

    def put(self, image: Image, tag: str = TAG.name) -> None:
        self.world.remote.put_image(self.repository, tag, image)

    def errand(self, reference: Reference = TAG, platforms: Platforms = AMD64, **more: Any) -> Errand:
        return Errand(self.repository, reference, platforms, **more)

    def begin(self, *errands: Errand) -> tuple[Progress, Deferred[None]]:
        progress = Progress(len(errands))
        return progress, Deferred.fromCoroutine(self.warming.run(errands, progress))

    def run(self, *errands: Errand) -> Progress:
        progress, doing = self.begin(*errands)
        for _ in range(2000):
            if doing.called:
                break
            self.world.clock.advance(0.05)
        assert doing.called
        doing.addErrback(lambda failure: failure.raiseException())
        return progress

    def has(self, *digests: Digest) -> bool:
        return all(self.world.store.link(self.repository, digest) is not None for digest in digests)


@pytest.fixture
def house() -> House:
    return House()


def test_an_image_is_here_whole(house: House) -> None:
    house.put(IMAGE)
    progress = house.run(house.errand())
    assert (progress.done, progress.failed) == (1, 0)
    assert house.has(IMAGE.digest, *IMAGE.blobs)
    assert {layer.stage for layer in progress.layers} == {Stage.HERE}
    assert progress.fetched_bytes == sum(map(len, IMAGE.blobs.values()))


def test_what_is_here_is_not_fetched_again(house: House) -> None:
    house.put(IMAGE)
    house.run(house.errand())
    calls = house.world.upstream_calls()
    progress = house.run(house.errand())
    assert (progress.done, progress.fetched_bytes, house.world.upstream_calls()) == (1, 0, calls)


def test_of_an_index_the_platforms_that_are_asked_for(house: House) -> None:
    amd64 = sized_image(3000)
    arm = make_image(sized_layer(3100), architecture="arm64")
    house.put(make_index(amd64, arm))
    assert house.run(house.errand()).done == 1
    assert house.has(amd64.digest, *amd64.blobs)
    assert not house.has(arm.digest)
    [failure] = house.run(house.errand(platforms=(Platform("linux", "s390x"),))).failures
    assert "linux/s390x; there is linux/amd64, linux/arm64" in failure[1]
    assert house.run(house.errand(platforms=None)).done == 1
    assert house.has(arm.digest, *arm.blobs)


def test_a_digest_will_do(house: House) -> None:
    house.put(IMAGE)
    assert house.run(house.errand(IMAGE.digest)).done == 1
    assert house.has(*IMAGE.blobs)


def test_what_fails_costs_its_image_only(house: House) -> None:
    house.put(IMAGE)
    progress = house.run(house.errand(Tag.parse("nope")), house.errand())
    assert (progress.done, progress.failed) == (1, 1)
    assert progress.failures[0][0].endswith(":nope")


@pytest.mark.parametrize(
    ("standing", "thrift", "why"),
    [
        (Standing(Circuit.OPEN, reason="it refuses connections"), Thrift.FREE, "it refuses connections"),
        (Standing(Circuit.OFFLINE), Thrift.FREE, "offline"),
        (Standing(), Thrift.STALE, "rate limit is nearly used up: 3 left"),
        (Standing(), Thrift.EMPTY, "rate limit is nearly used up"),
    ],
)
def test_an_upstream_in_need_is_left_alone(
    house: House, standing: Standing, thrift: Thrift, why: str
) -> None:
    house.put(IMAGE)
    house.world.remote.stands = standing
    house.world.remote.allows = Allowance(thrift, remaining=3)
    for errand in (house.errand(), house.errand(confirm=True)):
        [failure] = house.run(errand).failures
        assert why in failure[1]
    assert house.world.upstream_calls() == 0


def test_a_rate_limit_that_runs_low_leaves_the_rest_to_clients(house: House) -> None:
    """It is looked at before each image."""
    house.put(IMAGE)
    house.put(sized_image(4000), "other")
    digest, content = LAYER
    feed = house.world.remote.feed(house.repository, digest, Feed(len(content)))
    progress, doing = house.begin(house.errand(), house.errand(Tag.parse("other")))
    house.world.remote.allows = Allowance(Thrift.STALE)
    feed.give(content)
    feed.end()
    for _ in range(100):
        house.world.clock.advance(0.05)
    assert doing.called
    assert (progress.done, progress.failed) == (1, 1)


@pytest.mark.parametrize("by_digest", [False, True])
def test_what_is_left_is_asked_before_the_first_get(house: House, by_digest: bool) -> None:
    """After a start nothing is known of a limit, and a HEAD takes nothing of it."""
    house.put(IMAGE)
    asked = "manifests.stat" if by_digest else "tags.stat"
    gate = house.world.remote.script.hold(asked)
    progress, doing = house.begin(house.errand(IMAGE.digest if by_digest else TAG))
    house.world.remote.allows = Allowance(Thrift.STALE, limit=100, remaining=3)
    gate.open()
    house.world.clock.pump([0.05] * 20)
    assert doing.called
    [failure] = progress.failures
    assert "rate limit is nearly used up: 3 left" in failure[1]
    assert house.world.upstream_calls() == house.world.asked(asked) == 1


def test_that_is_asked_once_of_each_upstream(house: House) -> None:
    """Of one that tells a limit, or of what is here, never."""
    house.put(IMAGE)
    house.put(sized_image(4000), "other")
    assert house.run(house.errand(), house.errand(Tag.parse("other"))).done == 2
    assert (house.world.asked("tags.stat"), house.world.asked("manifests.stat")) == (1, 0)
    told = House()
    told.put(IMAGE)
    told.world.remote.allows = Allowance(limit=100, remaining=90)
    assert told.run(told.errand()).done == 1
    assert told.world.asked("tags.stat") == 0


@pytest.mark.parametrize(
    ("error", "asked"),
    [(NotFound("registry.test", "no such tag"), 1), (UpstreamTrouble("registry.test", "500"), 2)],
)
def test_a_question_that_fails_costs_nothing(house: House, error: RegproxyError, asked: int) -> None:
    """Where the upstream had no answer it is asked with the next image."""
    house.put(IMAGE)
    house.put(sized_image(4000), "other")
    house.world.remote.script.fail("tags.stat", error)
    assert house.run(house.errand(), house.errand(Tag.parse("other"))).done == 2
    assert house.world.asked("tags.stat") == asked


def test_a_layer_that_comes_shows_how_far_it_is(house: House) -> None:
    house.put(IMAGE)
    digest, content = LAYER
    feed = house.world.remote.feed(house.repository, digest, Feed(len(content)))
    progress, doing = house.begin(house.errand())
    for _ in range(20):
        house.world.clock.advance(0.05)
    feed.give(content[:1000])
    for _ in range(5):
        house.world.clock.advance(0.05)
    [layer] = [layer for layer in progress.layers if layer.digest == digest]
    assert (layer.stage, layer.front_bytes) == (Stage.FETCHING, 1000)
    assert not doing.called
    feed.give(content[1000:])
    feed.end()
    for _ in range(20):
        house.world.clock.advance(0.05)
    assert doing.called
    assert (layer.stage, progress.done) == (Stage.HERE, 1)


def pausing() -> tuple[House, Feed, tuple[Digest, bytes]]:
    """A house whose fills pause without readers; the image's largest layer comes by hand."""
    house = House(World(fill=FillSettings(abandon="pause")))
    house.put(IMAGE)
    feed = house.world.remote.feed(house.repository, LAYER[0], Feed(len(LAYER[1])))
    return house, feed, LAYER


def test_a_long_layer_does_not_pause_for_lack_of_readers() -> None:
    """``fill.abandon: pause``: who warms waits for its end, and reads nothing."""
    house, feed, (digest, content) = pausing()
    progress, doing = house.begin(house.errand())
    for number in range(10):
        feed.give(content[number * 100 : number * 100 + 100])
        house.world.clock.pump([AHEAD_GRACE_S / 3] * 4)
    assert not doing.called
    feed.give(content[1000:])
    feed.end()
    house.world.clock.pump([0.05] * 20)
    assert doing.called
    assert (progress.failed, progress.done, feed.open_count) == (0, 1, 0)
    assert house.has(digest)


def test_when_it_is_cancelled_such_a_layer_pauses() -> None:
    house, feed, (_, content) = pausing()
    _, doing = house.begin(house.errand())
    feed.give(content[:1000])
    house.world.clock.pump([0.05] * 20)
    ended: list[Any] = []
    doing.addBoth(ended.append)
    doing.cancel()
    [failure] = ended
    assert failure.check(CancelledError), "a job that is cancelled is none that broke"
    house.world.clock.advance(GRACE_S - 0.1)
    assert len(house.world.proxy.fills) == 1
    house.world.clock.advance(0.2)
    assert (len(house.world.proxy.fills), feed.open_count) == (0, 0)
    assert house.world.clock.getDelayedCalls() == []


def test_cancelling_ends_it_and_the_transfer_goes_on(house: House) -> None:
    house.put(IMAGE)
    digest, content = LAYER
    feed = house.world.remote.feed(house.repository, digest, Feed(len(content)))
    progress, doing = house.begin(house.errand())
    for _ in range(20):
        house.world.clock.advance(0.05)
    ended: list[Any] = []
    doing.addBoth(ended.append)
    doing.cancel()
    [failure] = ended
    assert failure.check(CancelledError)
    assert progress.done == 0
    feed.give(content)
    feed.end()
    for _ in range(20):
        house.world.clock.advance(0.05)
    assert house.has(digest)


def test_a_layer_that_breaks_tells_what_broke_it(house: House) -> None:
    house.put(IMAGE)
    digest, content = LAYER
    feed = house.world.remote.feed(house.repository, digest, Feed(len(content)))
    progress, doing = house.begin(house.errand())
    feed.give(content[:1000])
    house.world.clock.pump([0.05] * 20)
    for _ in range(30):
        feed.fail(UpstreamTrouble(house.repository.upstream, "it cut the connection"))
        house.world.clock.pump([1.0] * 60)
    assert doing.called
    [failure] = progress.failures
    assert "it cut the connection" in failure[1]


def test_a_disk_that_refuses_in_the_middle_is_told(house: House) -> None:
    """The rest passes, and nobody reads it: that ends soon."""
    house.put(IMAGE)
    digest, content = LAYER
    feed = house.world.remote.feed(house.repository, digest, Feed(len(content)))
    progress, doing = house.begin(house.errand())
    house.world.store.script.fail("spool.append", StorageFailed("the disk is full"), times=100)
    feed.give(content[:1000])
    house.world.clock.pump([0.5] * int(2 * LINGER_S + 2))
    assert doing.called
    [failure] = progress.failures
    assert "was not kept" in failure[1]
    assert (feed.open_count, len(house.world.proxy.fills)) == (0, 0)
    assert house.world.clock.getDelayedCalls() == []


def test_a_disk_that_refuses_is_told(house: House) -> None:
    house.put(IMAGE)
    house.world.store.script.fail("spool", StorageFailed("the disk is full"), times=100)
    [failure] = house.run(house.errand()).failures
    assert "was not kept" in failure[1]


def test_what_is_too_large_to_keep_is_not_asked_for(house: House) -> None:
    house.put(IMAGE)
    house.world.proxy.fills.limit = SizeLimit(2 * len(LAYER[1]) - 2, house.world.clock)
    [failure] = house.run(house.errand()).failures
    assert f"{LAYER[0]} is larger than half of storage.max_size" in failure[1]
    assert not [call for call in house.world.remote.script.calls if call.reference == LAYER[0]]
    digests = set(IMAGE.blobs) - {LAYER[0]}
    assert house.has(*digests), "the rest of the image is here"


def test_a_refresh_asks_once_and_is_no_use(house: House) -> None:
    house.put(IMAGE)
    house.run(house.errand())
    uses, heads = len(house.world.used), house.world.asked("tags.stat")
    progress = house.run(house.errand(confirm=True))
    assert (progress.done, progress.moved) == (1, 0)
    assert house.world.asked("tags.stat") == heads + 1
    assert len(house.world.used) == uses


def test_a_tag_that_moved_is_fetched_for_the_platforms_that_were_here(house: House) -> None:
    amd64 = sized_image(3000)
    house.put(make_index(amd64, make_image(sized_layer(3100), architecture="arm64")))
    house.run(house.errand())
    new = sized_image(5000), make_image(sized_layer(5100), architecture="arm64")
    house.put(make_index(*new))
    progress = house.run(house.errand(confirm=True, platforms=None))
    assert (progress.done, progress.moved) == (1, 1)
    assert house.has(new[0].digest, *new[0].blobs)
    assert not house.has(new[1].digest)


def test_more_tags_than_may_be_confirmed_at_once_wait_for_their_turn(house: House) -> None:
    tags = [Tag.parse(f"v{number}") for number in range(BURST + 3)]
    for tag in tags:
        house.put(IMAGE, tag.name)
    house.run(*[house.errand(tag) for tag in tags])
    began_s = house.world.clock.seconds()
    progress = house.run(*[house.errand(tag, confirm=True) for tag in tags])
    assert (progress.done, progress.failed) == (BURST + 3, 0)
    assert house.world.clock.seconds() - began_s >= 2 * PACE_S
