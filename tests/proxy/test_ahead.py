"""Who asks for one layer of an image gets the others sooner."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import ClassVar
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import NotFound, StorageFailed, Throttled, UpstreamUnreachable
from regproxy.fill.relay import LINGER_S
from regproxy.interfaces import Circuit, Standing
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.media_type import OCI_MANIFEST
from regproxy.proxy.ahead import MAX_LAYER_BYTES, MAX_REPOSITORIES, worth_having
from regproxy.proxy.registry import ProxyRegistry
from regproxy.settings import FillSettings
from regproxy.testing.bodies import Feed
from regproxy.testing.images import sized_image
from tests.proxy.world import TAG, Seen, World, content_of, drain

IMAGE = sized_image(3000, 3001, 3002, 3003, 3004)
NAMED = list(IMAGE.manifest.names())
*REST, CONFIG = [each.digest for each in NAMED]
LAYERS_OF = dict(IMAGE.blobs)


@pytest.fixture(autouse=True)
def stopped() -> Iterator[None]:
    """What a test leaves running ends with it."""
    yield
    while Scene.made:
        Scene.made.pop().world.proxy.stop()


class Scene:
    """An image whose layers come by hand, from an upstream that holds it."""

    made: ClassVar[list[Scene]] = []

    def __init__(self, ahead: int = 2) -> None:
        self.made.append(self)
        self.world = World()
        self.repository = self.world.repository()
        self.world.remote.put_image(self.repository, TAG.name, IMAGE)
        world = self.world
        rules = dict.fromkeys(world.remotes, ())
        self.world.proxy = ProxyRegistry(
            world.store,
            world.remotes,
            rules,
            world.clock,
            world.clock.seconds,
            fill=FillSettings(ahead=ahead),
        )
        self.feeds = {
            each.digest: world.remote.feed(self.repository, each.digest, Feed(each.size_bytes))
            for each in NAMED
        }

    def pull_manifest(self) -> None:
        assert not Seen(self.world.proxy.tags.get(self.repository, TAG)).waiting

    def ask(self, digest: Digest) -> Seen:
        return self.world.open(self.repository, digest)

    @property
    def running(self) -> list[Digest]:
        return [state.digest for state in self.world.proxy.fills.snapshot()]

    def finish(self, digest: Digest) -> None:
        self.feeds[digest].give(LAYERS_OF[digest])
        self.feeds[digest].end()

    @property
    def ahead(self):
        return self.world.proxy.blobs.ahead


def test_the_others_come_in_order_a_few_at_a_time():
    scene = Scene()
    scene.pull_manifest()
    scene.ask(CONFIG).result.close()
    assert scene.running == [CONFIG, *REST[:2]]
    scene.finish(REST[0])
    assert scene.running == [CONFIG, *REST[1:3]]
    for digest in REST[1:]:
        scene.finish(digest)
    scene.finish(CONFIG)
    assert set(scene.world.store.contents) >= {CONFIG, *REST}
    assert scene.world.asked("blobs.open") == len(NAMED), "each once"


def test_one_that_a_client_waits_for_is_not_ahead_any_more():
    scene = Scene()
    scene.pull_manifest()
    scene.ask(CONFIG).result.close()
    body = scene.ask(REST[0]).result.body()
    assert scene.running == [CONFIG, *REST[:3]]
    scene.finish(REST[0])
    assert drain(body) == LAYERS_OF[REST[0]]
    body.close()
    assert scene.world.asked("blobs.open") == 4


def test_what_is_here_is_not_fetched():
    scene = Scene(ahead=9)
    scene.world.store.put_blob(scene.repository, LAYERS_OF[REST[1]])
    scene.pull_manifest()
    scene.ask(REST[0]).result.close()
    assert set(scene.running) == {*REST} - {REST[1]}


def test_off():
    scene = Scene(ahead=0)
    scene.pull_manifest()
    scene.ask(CONFIG).result.close()
    assert scene.running == [CONFIG]


def test_nothing_without_a_manifest_that_was_just_served():
    scene = Scene()
    scene.ask(CONFIG).result.close()
    assert scene.running == [CONFIG]
    scene.pull_manifest()
    for number in range(MAX_REPOSITORIES):
        scene.ahead.served(scene.world.repository(f"other/{number}"), IMAGE.digest)
    scene.ask(REST[0]).result.close()
    assert scene.running == [CONFIG, REST[0]]


def test_not_by_another_repositorys_manifest():
    scene = Scene()
    scene.pull_manifest()
    other = scene.world.repository("other/app")
    scene.world.remote.holding(other).blobs[CONFIG] = LAYERS_OF[CONFIG]
    assert content_of(scene.world.open(other, CONFIG).result) == LAYERS_OF[CONFIG]
    assert scene.running == []


@pytest.mark.parametrize(
    "error", [NotFound("registry.test", "404"), UpstreamUnreachable("registry.test", "x")]
)
def test_the_first_trouble_ends_it(error):
    scene = Scene()
    scene.world.remote.script.fail("blobs.open", error, reference=REST[0])
    scene.pull_manifest()
    scene.ask(CONFIG).result.close()
    assert scene.running == [CONFIG]
    assert scene.ask(REST[0]).failed_with(type(error))
    assert scene.running == [CONFIG, *REST[1:3]], "the next one who asks makes it look again"


def test_a_transfer_that_breaks_ends_it_too():
    scene = Scene()
    scene.pull_manifest()
    scene.ask(CONFIG).result.close()
    scene.feeds[REST[0]].give(b"not " + LAYERS_OF[REST[0]][4:])
    scene.feeds[REST[0]].end()
    assert scene.running == [CONFIG, REST[1]]
    scene.finish(REST[1])
    assert scene.running == [CONFIG]
    scene.world.remote.feed(scene.repository, REST[0], Feed(len(LAYERS_OF[REST[0]])))
    scene.ask(REST[2]).result.close()
    assert scene.running == [CONFIG, REST[2], REST[0], REST[3]], "the next one who asks makes it look again"


def test_nothing_for_a_disk_that_takes_no_writes():
    scene = Scene()
    scene.pull_manifest()
    scene.world.store.refusing = True
    scene.ask(CONFIG).result.close()
    assert scene.running == [CONFIG]
    scene.world.store.refusing = False
    scene.ask(REST[0]).result.close()
    assert len(scene.running) == 4


def test_a_disk_that_refuses_meanwhile_ends_it():
    scene = Scene()
    scene.pull_manifest()
    scene.ask(CONFIG).result.close()
    scene.world.store.refusing = True
    scene.finish(REST[0])
    assert scene.running == [CONFIG, REST[1]]
    scene.finish(REST[1])
    assert scene.running == [CONFIG]


def test_what_the_disk_does_not_take_is_no_reason_to_go_on():
    """One GET for each that had begun, and no more."""
    scene = Scene()
    scene.world.store.script.fail("spool", StorageFailed("larger than the disk"))
    scene.pull_manifest()
    scene.ask(CONFIG).result.close()
    for _ in range(20):
        scene.world.clock.advance(LINGER_S)
    assert scene.running == []
    assert scene.world.asked("blobs.open") == 3


def test_the_upstreams_limit_is_for_what_nobody_waits_for():
    scene = Scene(ahead=4)
    lines = scene.world.proxy.fills.lines
    with patch.object(lines, "_limits", FillSettings(4, 6)):
        for _ in range(3):
            lines.first("registry.test")
        scene.pull_manifest()
        scene.ask(CONFIG).result.close()
        assert scene.running == [CONFIG, *REST[:2]], "six connections"
        scene.ask(REST[3]).result.close()
        assert scene.running == [CONFIG, *REST[:2], REST[3]], "a client's is had in any case"
        for digest in (REST[0], REST[1]):
            scene.finish(digest)
        assert scene.running == [CONFIG, REST[3], REST[2]]


def test_no_more_are_opened_for_nobody_than_the_limit_says_even_at_once():
    scene = Scene(ahead=9)
    gate = scene.world.remote.script.hold("blobs.open")
    with patch.object(scene.world.proxy.fills.lines, "_limits", FillSettings(4, 4)):
        scene.pull_manifest()
        asking = scene.ask(CONFIG)
        assert scene.world.asked("blobs.open") == 3, "two ahead, half of the limit, and the client's own"
        gate.open()
        asking.result.close()


def test_an_upstream_that_allows_no_more_requests_is_left_alone():
    """A client's own are made, and nothing beside them."""
    scene = Scene()
    remote = scene.world.remote
    remote.script.fail("blobs.open", Throttled("registry.test", "429", 40), reference=REST[0])
    scene.pull_manifest()
    scene.ask(CONFIG).result.close()
    assert scene.running == [CONFIG]
    remote.script.heal()
    scene.ask(REST[3]).result.close()
    assert scene.running == [CONFIG, REST[3]]
    scene.world.clock.advance(41)
    scene.ask(REST[2]).result.close()
    assert scene.running == [CONFIG, REST[3], REST[2], *REST[:2]]


@pytest.mark.parametrize("circuit", [Circuit.OPEN, Circuit.HALF_OPEN, Circuit.OFFLINE])
def test_nothing_is_begun_for_an_upstream_that_is_down(circuit):
    scene = Scene()
    scene.pull_manifest()
    scene.world.remote.stands = Standing(circuit, 1.0, "down")
    scene.ask(CONFIG).result.close()
    assert scene.running == [CONFIG]
    scene.world.remote.stands = Standing()
    scene.ask(REST[3]).result.close()
    assert scene.running == [CONFIG, REST[3], *REST[:2]]


def test_what_was_looked_ahead_and_what_of_it_was_wanted_is_counted():
    scene = Scene(ahead=9)
    scene.pull_manifest()
    scene.ask(CONFIG).result.close()
    every = sum(len(LAYERS_OF[each]) for each in REST)
    assert (scene.ahead.fetched_bytes, scene.ahead.wanted_bytes) == (every, 0)
    scene.ask(REST[0]).result.close()
    assert scene.ahead.wanted_bytes == len(LAYERS_OF[REST[0]]), "joined"
    scene.ask(REST[0]).result.close()
    for digest in (CONFIG, *REST):
        scene.finish(digest)
    assert content_of(scene.ask(REST[1]).result) == LAYERS_OF[REST[1]]
    both = len(LAYERS_OF[REST[0]]) + len(LAYERS_OF[REST[1]])
    assert scene.ahead.wanted_bytes == both, "from the disk, and each once"


def test_stopping_ends_it():
    scene = Scene(ahead=9)
    scene.pull_manifest()
    scene.ask(CONFIG).result.close()
    assert Seen(scene.world.proxy.stop()).result is None
    assert scene.running == []


def test_a_config_is_fetched_when_it_is_asked_for():
    """Clients of artifacts never do."""
    scene = Scene(ahead=9)
    scene.pull_manifest()
    scene.ask(REST[0]).result.close()
    assert set(scene.running) == set(REST)


media_types = st.sampled_from(
    [
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "text/plain",
    ]
)
sizes = st.sampled_from([0, 1, MAX_LAYER_BYTES, MAX_LAYER_BYTES + 1])
digests = st.integers(0, 9).map(lambda n: Digest.of(bytes([n])))
descriptors = st.builds(Descriptor, digests, sizes, media_types)


def described(each: Descriptor) -> dict[str, object]:
    return {"digest": str(each.digest), "size": each.size_bytes, "mediaType": each.media_type}


@given(st.lists(descriptors, max_size=8), descriptors, digests)
def test_only_layers_of_the_image_that_names_what_is_asked_for(layers, config, asked):
    document = {"schemaVersion": 2, "config": described(config), "layers": list(map(described, layers))}
    manifest = Manifest.receive(json.dumps(document).encode(), OCI_MANIFEST)
    found = list(worth_having(manifest, asked))
    assert all(each in layers and each.digest != asked for each in found)
    assert all(0 < each.size_bytes <= MAX_LAYER_BYTES for each in found)
    assert not any("foreign" in each.media_type or "nondist" in each.media_type for each in found)
    if asked not in [each.digest for each in (config, *layers)]:
        assert found == []
