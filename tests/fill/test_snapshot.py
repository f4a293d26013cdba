"""What is told of the fills to those who watch."""

from __future__ import annotations

import os

from regproxy.errors import StorageFailed
from regproxy.fill.table import FillState
from tests.proxy.world import KIB, World, drain

CONTENT = os.urandom(300 * KIB)


def test_nothing_runs() -> None:
    assert World().proxy.fills.snapshot() == ()


def test_a_fill_from_its_first_moment_to_its_end() -> None:
    world = World()
    fills, repository = world.proxy.fills, world.repository()
    gate = world.remote.script.hold("blobs.open")
    digest, feed = world.feed(CONTENT, repository)
    opened = world.open(repository, digest)
    world.clock.advance(3)
    where = digest, repository.upstream, repository.path
    assert fills.snapshot() == (FillState(*where, None, 0, 0, 3.0, "opening"),)
    gate.open()
    body = opened.result.body()
    feed.give(CONTENT[: 100 * KIB])
    world.tick()
    found = fills.snapshot()[0]
    assert (found.size_bytes, found.front, found.readers, found.state) == (300 * KIB, 100 * KIB, 1, "running")
    feed.give(CONTENT[100 * KIB :])
    feed.end()
    world.tick()
    assert drain(body) == CONTENT
    body.close()
    assert fills.snapshot() == ()


def test_a_fill_without_readers_goes_on_and_is_told_of() -> None:
    world = World()
    repository = world.repository()
    digest, feed = world.feed(CONTENT, repository, size=None)
    body = world.open(repository, digest).result.body()
    body.close()
    found = world.proxy.fills.snapshot()[0]
    assert (found.readers, found.size_bytes) == (0, None)
    feed.give(CONTENT)
    feed.end()
    world.tick()
    assert world.proxy.fills.snapshot() == ()


def test_a_fill_that_the_disk_refused_is_told_of_as_it_passes() -> None:
    world = World()
    repository = world.repository()
    digest, feed = world.feed(CONTENT, repository)
    body = world.open(repository, digest).result.body()
    feed.give(CONTENT[: 100 * KIB])
    world.tick()
    world.store.script.fail("spool.append", StorageFailed("the disk is full"))
    feed.give(CONTENT[100 * KIB : 200 * KIB])
    world.tick()
    got = body.read(100 * KIB) or b""  # which goes over to the transfer then
    body.read(0)
    world.tick()
    found = world.proxy.fills.snapshot()[0]
    assert (found.state, found.front, found.readers) == ("passing", 200 * KIB, 1)
    feed.give(CONTENT[200 * KIB :])
    feed.end()
    world.tick()
    assert got + drain(body) == CONTENT
    body.close()
    world.clock.advance(60)
    assert world.proxy.fills.snapshot() == ()
