"""Bytes from two transfers make no whole answer unless all of them are the blob's."""

from __future__ import annotations

import os

import pytest

from regproxy.errors import ContentMismatch, StorageFailed
from regproxy.oci.digest import Digest
from regproxy.testing.bodies import Feed
from tests.proxy.world import KIB, World, drain

MIB = 1024 * KIB
RIGHT = os.urandom(12 * MIB)
FRONT = 300 * KIB
FULL = StorageFailed("the disk is full (ENOSPC)")


def changed(at: int) -> bytes:
    return RIGHT[:at] + bytes([RIGHT[at] ^ 1]) + RIGHT[at + 1 :]


class Scene:
    """A first transfer with one wrong byte ``at``, of which the disk takes FRONT bytes."""

    def __init__(self, at: int, size: int | None = len(RIGHT)) -> None:
        self.world = World()
        self.repository, self.digest = self.world.repository(), Digest.of(RIGHT)
        self.content = changed(at)
        self.given = 0
        self.feed = self.world.remote.feed(self.repository, self.digest, Feed(size))
        first, second = self.open(), self.open()
        self.give_to(FRONT)
        self.fast, self.slow = first.result.body(), second.result.body()
        self.world.store.script.fail("spool.append", FULL)
        self.world.store.script.fail("spool", FULL)

    def open(self):
        return self.world.open(self.repository, self.digest)

    def give_to(self, offset: int) -> None:
        self.feed.give(self.content[self.given : offset])
        self.given = offset
        self.world.tick()

    def run_ahead(self) -> None:
        for offset in range(MIB, 9 * MIB, MIB // 2):
            self.give_to(offset)
            drain(self.fast)

    def rest(self, content: bytes = RIGHT) -> Feed:
        return self.world.remote.feed(self.repository, self.digest, Feed.whole(content))


@pytest.mark.parametrize("at", [FRONT + 5, FRONT + 65 * KIB])
def test_wrong_bytes_of_a_piece_that_is_read_again(at):
    scene = Scene(at)
    scene.give_to(FRONT + 200 * KIB)
    got = bytearray(scene.slow.read(FRONT))
    while len(got) < FRONT + 100 * KIB:
        got += scene.slow.read(30 * KIB)
    assert at < len(got)
    scene.run_ahead()
    scene.rest()
    with pytest.raises(ContentMismatch):
        drain(scene.slow)
    scene.fast.close(), scene.slow.close()


@pytest.mark.parametrize("there", [FRONT + 100 * KIB, FRONT, FRONT - 300 * KIB + 1])
def test_wrong_bytes_before_a_transfer_of_another_pull_is_joined(there):
    """``there``: how far the other one is, beyond the slow reader's place and before it."""
    scene = Scene(5)
    got = bytearray(scene.slow.read(FRONT))
    assert len(got) == FRONT
    scene.give_to(FRONT + 100 * KIB)
    scene.run_ahead()
    feed = scene.world.remote.feed(scene.repository, scene.digest, Feed(len(RIGHT)))
    other = scene.open().result.body()  # another client, whose transfer is its own
    feed.give(RIGHT[:there])
    whole = bytearray(drain(other))
    scene.rest()
    ended: list[BaseException | None] = []
    feed.give(RIGHT[there:])
    feed.end()
    while not ended or len(whole) < len(RIGHT):
        whole += other.read(100 * KIB)
        try:
            got += (chunk := scene.slow.read(100 * KIB) if not ended else None) or b""
            if chunk == b"":
                ended.append(None)
        except ContentMismatch as error:
            ended.append(error)
    assert whole == RIGHT
    assert ended[0] is not None, "a complete answer with wrong bytes"
    for body in (scene.fast, scene.slow, other):
        body.close()
