"""Manifests by digest: hits ask nobody, misses are one shared GET, permission as for blobs."""

from __future__ import annotations

import pytest

from regproxy.errors import Denied, NotFound, StorageFailed, UpstreamUnreachable
from regproxy.testing.images import make_image
from tests.proxy.world import TAG, Seen, World

IMAGE = make_image()
REFUSALS = [NotFound("u", "404"), Denied("u", "403"), UpstreamUnreachable("u", "down")]


def get(world, repository, digest=IMAGE.digest):
    return Seen(world.proxy.manifests.get(repository, digest))


def operations(world):
    return [call.operation for call in world.remote.script.calls]


def test_a_hit_asks_nobody():
    world = World()
    repository = world.repository()
    world.store.put_image(repository, IMAGE)
    assert get(world, repository).result == IMAGE.manifest
    assert Seen(world.proxy.manifests.stat(repository, IMAGE.digest)).result == IMAGE.descriptor
    assert operations(world) == []


def test_a_miss_is_one_get_for_all_and_is_kept():
    world = World()
    repository = world.repository()
    world.remote.put_image(repository, None, IMAGE)
    gate = world.remote.script.hold("manifests.get")
    asking = [get(world, repository) for _ in range(10)]
    gate.open()
    assert {seen.result for seen in asking} == {IMAGE.manifest}
    assert operations(world) == ["manifests.get"]
    assert get(world, repository).result == IMAGE.manifest
    assert operations(world) == ["manifests.get"]


def test_a_cold_head_is_one_head_and_nothing_is_kept():
    world = World()
    repository = world.repository()
    world.remote.put_image(repository, None, IMAGE)
    assert Seen(world.proxy.manifests.stat(repository, IMAGE.digest)).result == IMAGE.descriptor
    assert operations(world) == ["manifests.stat"]
    assert world.store.contents == {}


@pytest.mark.parametrize(
    "error", [NotFound("u", "404"), Denied("u", "403"), UpstreamUnreachable("u", "down")]
)
def test_a_miss_fails_as_the_upstream_does(error):
    world = World()
    world.remote.script.fail("manifests.get", error)
    assert get(world, world.repository()).failed_with(type(error))


def test_bytes_of_another_repository_cost_one_head():
    world = World()
    owner, other = world.repository("owner"), world.repository("other")
    world.store.put_image(owner, IMAGE)
    world.remote.put_image(other, None, IMAGE)
    assert get(world, other).result == IMAGE.manifest
    assert operations(world) == ["manifests.stat"]
    assert get(world, other).result == IMAGE.manifest
    assert operations(world) == ["manifests.stat"]


def test_bytes_of_another_repository_are_no_permission():
    world = World()
    owner, thief = world.repository("owner"), world.repository("thief")
    world.store.put_image(owner, IMAGE)
    assert get(world, thief).failed_with(NotFound)
    assert world.store.link(thief, IMAGE.digest) is None


def test_that_a_manifest_names_a_digest_is_no_permission():
    world = World()
    owner, thief = world.repository("owner"), world.repository("thief")
    world.store.put_image(owner, IMAGE)
    hostile = make_image(labels={"names": "what it does not hold"})
    world.remote.holding(thief).manifests[hostile.digest] = hostile.manifest
    Seen(world.store.put(thief, hostile.manifest, world.store.stamp(thief)))
    for named in IMAGE.manifest.names():
        assert world.open(thief, named.digest).failed_with(NotFound)


def test_a_disk_that_refuses_costs_the_copy_not_the_pull():
    world = World()
    repository = world.repository()
    world.remote.put_image(repository, TAG.name, IMAGE)
    world.store.script.fail("put", StorageFailed("full"))
    assert get(world, repository).result == IMAGE.manifest
    assert Seen(world.proxy.tags.get(repository, TAG)).result.manifest == IMAGE.manifest


def test_a_link_whose_bytes_are_gone_is_a_miss():
    world = World()
    repository = world.repository()
    world.store.put_image(repository, IMAGE)
    world.store.remove(IMAGE.digest)
    world.remote.put_image(repository, None, IMAGE)
    assert get(world, repository).result == IMAGE.manifest
    assert operations(world) == ["manifests.get"]
