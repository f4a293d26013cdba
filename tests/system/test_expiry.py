"""The whole mirror while its state is read, and the lives that its settings give."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import succeed
from twisted.internet.task import Clock

from regproxy.expiry.pulse import Pulse
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.removal import Expiry, build_expiry
from regproxy.settings import Settings, StorageSettings, UpstreamSettings
from regproxy.storage.opening import open_store
from regproxy.testing.images import Image, sized_image
from tests.system.mirror import NAME, World

IMAGE = sized_image(5000)
REPOSITORY = Repository.parse(NAME, "team/app")
DAY_S = 86_400.0


@pytest_twisted.async_yield_fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.started(tmp_path / "store", IMAGE, "v1")
    yield made
    await made.stop()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def expiry_of(world: World) -> Expiry:
    expiry = world.mirror.mirror.expiry
    assert expiry is not None
    return expiry


async def pull(world: World, image: Image) -> None:
    for path in ("manifests/v1", *(f"blobs/{digest}" for digest in image.all_blobs())):
        answer = await world.client.ask(f"/v2/team/app/{path}")
        assert (answer.status, answer.complete) == (200, True)


@pytest.mark.parametrize("state", [b"", b"rubbish\n", b'{"version":9,"entries":{\n}}\n'])
async def test_it_serves_while_a_damaged_state_is_read(
    world: World, gate: threading.Event, state: bytes
) -> None:
    """What is pulled meanwhile was used meanwhile, also after the state was made again."""
    await pull(world, IMAGE)
    (world.mirror.root / "scheduler-state.json").write_bytes(state)
    expiry = expiry_of(world)
    expiry.thread.run(gate.wait, 20)
    begun = expiry.begin()
    await pull(world, IMAGE)
    assert not begun.called
    assert not expiry.scheduler.loaded
    gate.set()
    await begun
    await world.mirror.store.survey()
    for reference in (Tag("v1"), IMAGE.digest, *IMAGE.all_blobs()):
        assert expiry.scheduler.entry(REPOSITORY, reference) is not None
    assert (world.mirror.root / "scheduler-state.json.damaged").read_bytes() == state
    await expiry.end()


async def test_a_use_on_the_wire_is_written_down(world: World) -> None:
    """From a client's GET and HEAD to the state on disk."""
    expiry = expiry_of(world)
    await expiry.begin()
    await pull(world, IMAGE)
    before = expiry.scheduler.entry(REPOSITORY, Tag("v1"))
    await world.client.head("/v2/team/app/manifests/v1")
    after = expiry.scheduler.entry(REPOSITORY, Tag("v1"))
    assert before is not None
    assert after is not None
    assert after[1] == before[1] + 1
    await world.mirror.settled()
    await expiry.end()
    text = (world.mirror.root / "scheduler-state.json").read_text()
    assert f'"{REPOSITORY}:v1":{{"type":"tag"' in text
    assert all(f"{REPOSITORY}@{digest}" in text for digest in IMAGE.all_blobs())


async def test_each_upstream_has_the_life_that_its_settings_say(tmp_path: Path) -> None:
    """The common one, its own, none; what is not in the settings any more has the common one."""
    common = UpstreamSettings("common.example", ("http://127.0.0.1:1",), default=True, ttl_s=7 * DAY_S)
    settings = Settings(
        (),
        (),
        StorageSettings(tmp_path / "store"),
        (
            common,
            attrs.evolve(common, name="short.example", default=False, ttl_s=DAY_S),
            attrs.evolve(common, name="never.example", default=False, ttl_s=None),
        ),
        ttl_s=7 * DAY_S,
    )
    store = open_store(settings.storage.root, reactor, lambda: 1_800_000_000.0)
    pulse = Pulse(Clock().seconds)
    pulse.watch("common.example", lambda: succeed(True))
    expiry = build_expiry(settings, store, pulse, reactor, lambda: 1_800_000_000.0)
    lives = [expiry.scheduler._ttl_s(f"{name}.example") for name in ("common", "short", "never", "stranger")]
    assert lives == [7 * DAY_S, DAY_S, None, 7 * DAY_S]
    await expiry.end()
    await store.close()
