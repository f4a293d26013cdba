"""A large blob of an upstream that serves ranges, and all connections to it."""

from __future__ import annotations

import random
from unittest.mock import patch

import attrs

from regproxy.errors import TransferStopped
from regproxy.extents import Extents
from regproxy.interfaces import IBlob
from regproxy.oci.digest import Digest
from regproxy.testing.bodies import Feed
from tests.proxy.world import Seen, World, drain

SIZE = 20_000
CONTENT = random.Random(3).randbytes(SIZE)
SMALL = {
    "regproxy.fill.plan.HOLD_BACK_BYTES": 100,
    "regproxy.fill.transfer.BATCH_BYTES": 200,
    "regproxy.fill.lines.Lines.ranges_above_bytes": 1000,
    "regproxy.fill.pieces.MIN_PIECE_BYTES": 300,
    "regproxy.fill.pieces.USUAL_PIECE_BYTES": 1500,
    "regproxy.fill.pieces.MAX_PIECE_BYTES": 4000,
    "regproxy.fill.relay.AHEAD_BYTES": 300,
    "regproxy.fill.pokes.SLICE_S": 1e9,  # how fast this machine is does not matter
}


class Small:
    """Sizes that a test can look at."""

    def __enter__(self) -> None:
        self._patches = [patch(name, value) for name, value in SMALL.items()]
        for one in self._patches:
            one.start()

    def __exit__(self, *_: object) -> None:
        for one in self._patches:
            one.stop()


@attrs.define(eq=False)
class Line:
    """One connection to the upstream: the bytes ``start`` to ``stop``, given by hand."""

    start: int
    stop: int
    feed: Feed
    content: bytes = CONTENT

    @property
    def given(self) -> int:
        return max(0, len(self.feed.content) - self.start)

    @property
    def open(self) -> bool:
        return self.feed.open_count > 0 and self.feed.error is None and not self.feed.ended

    def give(self, count: int) -> None:
        at = self.start + self.given
        self.feed.give(self.content[at : min(self.stop, at + count)])


class Scene:
    """A large blob of an upstream that serves ranges, and all connections to it."""

    def __init__(
        self,
        content: bytes = CONTENT,
        ranged: bool = True,
        world: World | None = None,
        path: str = "team/app",
        salt: bytes = b"",
    ) -> None:
        self.world = world or World()
        self.remote = self.world.remote
        self.remote.ranged = ranged
        self.repository = self.world.repository(path)
        self.right = salt + CONTENT[len(salt) :]
        self.digest = Digest.of(self.right)
        self.content = salt + content[len(salt) :]
        self.lines: list[Line] = []
        self.waiting: list[IBlob] = []
        self.begin_anew()
        self.remote.piece_from = self.piece

    def begin_anew(self) -> None:
        """The next GET of the whole is a line of its own."""
        feed = self.remote.feed(self.repository, self.digest, Feed(SIZE))
        self.lines.append(Line(0, SIZE, feed, self.content))

    def piece(self, _: Feed, start: int, stop: int) -> Feed:
        feed = Feed(SIZE)
        feed.give(bytes(start))
        self.lines.append(Line(start, stop, feed, self.content))
        return feed

    def open(self) -> Seen:
        return self.world.open(self.repository, self.digest)

    def wait(self) -> None:
        """Somebody waits for all of it, to the end."""
        self.waiting.append(self.open().result)

    @property
    def running(self) -> list[Line]:
        return [line for line in self.lines if line.open]

    def flow(self, seconds: float = 1000.0, speed: int = 1000) -> None:
        """Everything comes, each line at the same speed a second, until nothing is left to do."""
        while seconds > 0 and (self.running or len(self.world.proxy.fills)):
            for line in self.running:
                line.give(speed // 10)
            self.world.clock.advance(0.1)
            seconds -= 0.1

    def brought(self) -> Extents:
        return Extents((line.start, line.start + line.given) for line in self.lines)


class Part:
    """A client that asked for a range."""

    def __init__(self, scene: Scene, start: int, stop: int) -> None:
        self.start, self.stop = start, stop
        self.body = scene.open().result.body(start, stop)
        self.got = b""
        self.read()

    def read(self) -> None:
        """All that is there; it waits for the rest as a sender does."""
        self.got += drain(self.body)
        if len(self.got) < self.stop - self.start:
            self.body.ready().addErrback(lambda failure: failure.trap(TransferStopped))


def check_all_is_well(scene: Scene, opened: int = 1) -> None:
    for blob in scene.waiting:
        blob.close()
    assert scene.world.store.contents[scene.digest] == scene.right
    assert scene.world.store.link(scene.repository, scene.digest) is not None
    assert len(scene.world.proxy.fills) == 0
    assert scene.remote.script.count("blobs.open") == opened
    assert not scene.running
