"""How much of an image is on disk: bounded, by right, and what is none of ours is not missed."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred

from regproxy.oci import media_type as types
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.oci.repository import Repository
from regproxy.proxy.closure import MAX_MANIFESTS, READS, SLICE, Closure, closure_of
from tests.proxy.world import NAME, World

APP = Repository.parse(NAME, "team/app")
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


def put(world: World, key: str, media_type: str, *named: tuple[Digest, str]) -> Digest:
    listed = [{"digest": str(digest), "size": 7, "mediaType": kind} for digest, kind in named]
    content = json.dumps({"schemaVersion": 2, "mediaType": media_type, key: listed}).encode()
    manifest = Manifest.receive(content, media_type)
    world.store.put(APP, manifest, world.store.stamp(APP))
    return manifest.digest


def closure(world: World, top: Digest) -> Closure | None:
    found: list[Any] = []
    closing = closure_of(world.store, APP, top, world.proxy.complete.turn)
    Deferred.fromCoroutine(closing).addBoth(found.append)
    while not found:
        world.clock.advance(0)
    assert found[0] is None or isinstance(found[0], Closure), found[0]
    return found[0]


def test_nothing_is_there_of_what_is_no_manifest_here() -> None:
    assert closure(World(), Digest.of(b"x")) is None


def test_a_foreign_layer_is_not_missed() -> None:
    world = World()
    held = world.store.put_blob(APP, b"a layer")
    top = put(world, "layers", types.OCI_MANIFEST, (held, types.BLOB_TYPE), (Digest.of(b"windows"), FOREIGN))
    assert closure(world, top) == Closure(blobs=1)


def test_a_blob_of_another_repository_is_missed() -> None:
    world = World()
    held = world.store.put_blob(world.repository("team/other"), b"a layer")
    top = put(world, "layers", types.OCI_MANIFEST, (held, types.BLOB_TYPE))
    assert closure(world, top) == Closure(blobs=1, missing=1)


def test_an_index_in_an_index_and_one_that_is_named_twice() -> None:
    world = World()
    image = put(world, "layers", types.OCI_MANIFEST)
    inner = put(world, "manifests", types.OCI_INDEX, (image, types.OCI_MANIFEST))
    top = put(world, "manifests", types.OCI_INDEX, (inner, types.OCI_INDEX), (image, types.OCI_MANIFEST))
    assert closure(world, top) == Closure(platforms=2, here=2)


def test_it_is_bounded() -> None:
    world = World()
    children = [(Digest.of(str(number).encode()), types.OCI_MANIFEST) for number in range(2 * MAX_MANIFESTS)]
    found = closure(world, put(world, "manifests", types.OCI_INDEX, *children))
    assert found == Closure(platforms=2 * MAX_MANIFESTS, cut=True)
    assert not found.whole


def test_others_have_their_turn() -> None:
    world, turns = World(), 0

    async def turn() -> None:
        nonlocal turns
        turns += 1

    layers = [(Digest.of(str(number).encode()), types.BLOB_TYPE) for number in range(5 * SLICE)]
    images = [put(world, "layers", types.OCI_MANIFEST, *layers[: SLICE + at]) for at in range(3)]
    top = put(world, "manifests", types.OCI_INDEX, *((image, types.OCI_MANIFEST) for image in images))
    found: list[Any] = []
    Deferred.fromCoroutine(closure_of(world.store, APP, top, turn)).addBoth(found.append)
    assert found[0].missing == SLICE + 2
    assert turns == (1 + len(images)) // READS + 1
