"""Each kind of request that a client is answered is a use; what nobody was given is none."""

from __future__ import annotations

import pytest

from regproxy.errors import NotFound, UpstreamUnreachable
from regproxy.testing.images import sized_image
from tests.proxy.world import TAG, Seen, World

IMAGE = sized_image(3000)
BLOB = next(iter(IMAGE.all_blobs()))


def ask(world: World, what: str, method: str) -> Seen:
    service = getattr(world.proxy, what)
    name = {"blobs": BLOB, "manifests": IMAGE.digest, "tags": TAG}[what]
    seen = Seen(getattr(service, method)(world.repository(), name))
    if what == "blobs" and method == "open" and not seen.waiting and not seen.failed_with(Exception):
        seen.result.close()
    return seen


def reference(what: str) -> object:
    return {"blobs": BLOB, "manifests": IMAGE.digest, "tags": TAG}[what]


def told(world: World) -> list[object]:
    tags = [one for one in world.used if one[1] == TAG]
    return tags or list(world.used)


EACH = [
    ("blobs", "open"),
    ("blobs", "stat"),
    ("manifests", "get"),
    ("manifests", "stat"),
    ("tags", "get"),
    ("tags", "stat"),
]


@pytest.mark.parametrize(("what", "method"), EACH)
@pytest.mark.parametrize("cached", [True, False], ids=["hit", "miss"])
def test_get_and_head_are_uses(what: str, method: str, cached: bool) -> None:
    """Of exactly what was asked for, once, from the disk or not; a tag's bytes are its manifest's too."""
    world = World()
    repository = world.repository()
    world.remote.put_image(repository, TAG.name, IMAGE)
    if cached:
        world.store.put_image(repository, IMAGE)
        if what == "tags":
            assert not Seen(world.proxy.tags.get(repository, TAG)).waiting
            world.used.clear()
    assert not ask(world, what, method).waiting
    assert told(world) == [(repository, reference(what))]


@pytest.mark.parametrize(("what", "method"), EACH)
@pytest.mark.parametrize("error", [NotFound("u", "404"), UpstreamUnreachable("u", "down")])
def test_what_nobody_was_given_is_none(what: str, method: str, error: Exception) -> None:
    world = World()
    for operation in ("blobs.open", "blobs.stat", "manifests.get", "manifests.stat", "tags.get", "tags.stat"):
        world.remote.script.fail(operation, error)
    assert ask(world, what, method).failed_with(type(error))
    assert world.used == []


@pytest.mark.parametrize("method", ["get", "stat"])
def test_a_stale_answer_is_a_use(method: str) -> None:
    """What is served while its upstream is down lives on."""
    world = World()
    repository = world.repository()
    world.remote.put_image(repository, TAG.name, IMAGE)
    Seen(world.proxy.tags.get(repository, TAG))
    world.clock.advance(120)
    for operation in ("tags.get", "tags.stat"):
        world.remote.script.fail(operation, UpstreamUnreachable("u", "down"))
    world.used.clear()
    answer = ask(world, "tags", method)
    assert answer.result.warning is not None
    assert told(world) == [(repository, TAG)]


def test_a_use_is_the_repositorys_own() -> None:
    """Another one that holds the same bytes is not used by it."""
    world = World()
    one, other = world.repository("one"), world.repository("other")
    for repository in (one, other):
        world.store.put_image(repository, IMAGE)
    Seen(world.proxy.manifests.get(other, IMAGE.digest))
    assert world.used == [(other, IMAGE.digest)]


@pytest.mark.parametrize("what", ["manifests", "tags"])
def test_an_answer_that_needs_no_waiting_is_a_use(what: str) -> None:
    world = World()
    repository = world.repository()
    world.remote.put_image(repository, TAG.name, IMAGE)
    Seen(world.proxy.tags.get(repository, TAG))
    world.used.clear()
    name = {"manifests": IMAGE.digest, "tags": TAG}[what]
    assert getattr(world.proxy, what).at_hand(repository, name) is not None
    assert told(world) == [(repository, name)]
