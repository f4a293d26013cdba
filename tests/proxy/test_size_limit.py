"""A blob larger than half of what the store may hold passes through, and is never on the disk."""

from __future__ import annotations

import os
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher

from regproxy.fill.limit import SizeLimit, too_large
from regproxy.fill.relay import LINGER_S
from regproxy.interfaces import How, Leftover
from regproxy.oci.digest import Digest
from regproxy.oci.tag import Tag
from regproxy.proxy.registry import ProxyRegistry
from regproxy.settings import FillSettings
from regproxy.testing.images import sized_image
from regproxy.testing.spools import LeftFile
from tests.proxy.world import KIB, Seen, World, content_of, drain

CONTENT = os.urandom(300 * KIB)
LIMIT = 2 * len(CONTENT)


def world_of(max_size_bytes: int | None) -> World:
    world = World()
    rules = dict.fromkeys(world.remotes, ())
    world.proxy = ProxyRegistry(
        world.store,
        world.remotes,
        rules,
        world.clock,
        world.clock.seconds,
        fill=FillSettings(ahead=2),
        max_size_bytes=max_size_bytes,
    )
    return world


def finish(world: World) -> None:
    world.clock.advance(LINGER_S)
    assert len(world.proxy.fills) == 0
    assert world.clock.getDelayedCalls() == []


@given(st.none() | st.integers(0, 1 << 50), st.none() | st.integers(0, 1 << 50))
def test_half_of_it_is_the_limit(size, limit):
    assert too_large(size, limit) == (size is not None and limit is not None and size > limit / 2)


@pytest.mark.parametrize("limit", [None, LIMIT])
def test_one_of_half_the_size_is_kept(limit):
    world = world_of(limit)
    repository = world.repository()
    digest = world.remote.put_blob(repository, CONTENT)
    assert content_of(world.open(repository, digest).result) == CONTENT
    assert world.store.contents[digest] == CONTENT
    assert world.proxy.fills.limit.passed == 0


def test_a_larger_one_passes_and_no_spool_is_made():
    world = world_of(LIMIT - 1)
    repository = world.repository()
    digest, feed = world.feed(CONTENT, repository)
    bodies = [world.open(repository, digest).result.body() for _ in range(2)]
    feed.give(CONTENT)
    feed.end()
    world.tick()
    for body in bodies:
        assert drain(body) == CONTENT
        assert body.read(1) == b""
        body.close()
    assert world.store.spools == []
    assert digest not in world.store.contents
    assert world.asked("blobs.open") == 1, "they share the transfer"
    assert world.proxy.fills.limit.passed == 1
    finish(world)
    assert world.open(repository, digest).result.how is How.MISS, "and the next one fetches it again"
    world.proxy.stop()


@pytest.mark.parametrize("named", [False, True])
def test_one_whose_length_nobody_tells(named):
    """A manifest's word counts; else what has come is read to its end, and the rest passes."""
    world = world_of(LIMIT - 200 * KIB)
    repository = world.repository()
    digest, feed = world.feed(CONTENT, repository, size=None)
    if named:
        world.proxy.blobs.ahead.size_of = lambda *_: len(CONTENT)
    body = world.open(repository, digest).result.body()
    got = b""
    for at in range(0, len(CONTENT), 50 * KIB):
        feed.give(CONTENT[at : at + 50 * KIB])
        world.tick()
        got += drain(body)
    feed.end()
    world.tick()
    assert got + drain(body) == CONTENT
    assert body.read(1) == b""
    body.close()
    assert digest not in world.store.contents
    assert len(world.store.spools) == (0 if named else 1)
    assert all(spool.state == "discarded" for spool in world.store.spools)
    assert (world.asked("blobs.open"), world.asked("blobs.resume")) == (1, 0)
    assert world.proxy.fills.limit.passed == 1
    finish(world)


def test_what_is_on_its_way_to_the_disk_is_no_second_refusal():
    world = world_of(KIB)
    repository = world.repository()
    digest, feed = world.feed(CONTENT, repository, size=None)
    with patch("regproxy.fill.transfer.BATCH_BYTES", 50 * KIB):
        body = world.open(repository, digest).result.body()
        disk = world.store.script.hold("spool.append")
        feed.give(CONTENT)
        world.tick()
        disk.open()
        feed.end()
        world.tick()
    assert drain(body) == CONTENT
    body.close()
    assert world.proxy.fills.limit.passed == 1
    finish(world)


def test_a_part_of_it():
    world = world_of(LIMIT - 1)
    repository = world.repository()
    digest = world.remote.put_blob(repository, CONTENT)
    body = world.open(repository, digest).result.body(100, 200)
    assert drain(body) == CONTENT[100:200]
    body.close()
    assert world.store.spools == []
    finish(world)


def test_nobody_looks_ahead_for_it():
    image = sized_image(3000, 9000, 3001)
    *layers, config = image.manifest.names()
    sizes = sorted(each.size_bytes for each in layers)
    world = world_of(2 * sizes[-1] - 1)
    repository = world.repository()
    world.remote.put_image(repository, "latest", image)
    assert not Seen(world.proxy.tags.get(repository, Tag("latest"))).waiting
    content_of(world.open(repository, config.digest).result)
    kept = {each.digest for each in layers if each.size_bytes < sizes[-1]}
    assert kept
    assert kept <= set(world.store.contents)
    assert world.asked("blobs.open") == 1 + len(kept)
    assert {world.proxy.blobs.ahead.size_of(repository, each.digest) for each in layers} == set(sizes)
    assert world.proxy.blobs.ahead.size_of(repository, Digest.of(b"another")) is None


def test_it_is_said_once_a_minute():
    clock, said = Clock(), []
    limit = SizeLimit(10, clock)

    def observe(event: LogEvent) -> None:
        said.append(event["size"])

    globalLogPublisher.addObserver(observe)
    try:
        for size in range(4, 12):
            limit.refusal(Digest.of(b"x"), size)
        clock.advance(60)
        limit.refusal(Digest.of(b"x"), 12)
    finally:
        globalLogPublisher.removeObserver(observe)
    assert said == [6, 12]
    assert limit.passed == 7
    error = limit.refusal(Digest.of(b"x"), 6)
    assert error is not None
    assert error.told


@pytest.mark.parametrize("size", [len(CONTENT), 10 * KIB])
def test_what_was_left_before_the_limit_was_lowered_goes(size):
    """``size`` is what was left of, by the word of then."""
    world = world_of(LIMIT - 1)
    repository = world.repository()
    digest = world.remote.put_blob(repository, CONTENT)
    left = Leftover.of(size, ((0, 5 * KIB),))
    world.store.leftovers[digest] = LeftFile(bytearray(CONTENT[:size]), left)
    assert content_of(world.open(repository, digest).result) == CONTENT
    assert world.store.left(digest) is None
    assert digest not in world.store.contents
    assert [spool.state for spool in world.store.spools] == ["discarded"] * len(world.store.spools)
    assert world.proxy.fills.limit.passed == 1
    finish(world)
