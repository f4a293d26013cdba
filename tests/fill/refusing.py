"""A blob whose first bytes are on disk, and a disk that then takes no more."""

from __future__ import annotations

import os

from regproxy.errors import (
    StorageFailed,
)
from regproxy.fill.relay import LINGER_S
from regproxy.interfaces import IBody
from tests.proxy.world import KIB, Seen, World, drain

MIB = 1024 * KIB
CONTENT = os.urandom(900 * KIB)
FRONT = 300 * KIB
LARGE = os.urandom(12 * MIB - 1) + b"!"
FULL = StorageFailed("the disk is full (ENOSPC)")


class Pull:
    """A blob whose first bytes are on disk, of which the disk then takes no more."""

    def __init__(self, content: bytes = CONTENT, front: int = FRONT, size: int | None = -1) -> None:
        self.world = World()
        self.content = content
        self.front = front
        self.repository = self.world.repository()
        self.digest, self.feed = self.world.feed(content, self.repository, size=size)
        self.given = 0
        self.first = self.open()
        self.give_to(front)

    def open(self) -> Seen:
        return self.world.open(self.repository, self.digest)

    def give_to(self, offset: int) -> None:
        self.feed.give(self.content[self.given : offset])
        self.given = offset
        self.world.tick()

    def refuse(self, upto: int | None = None) -> None:
        """From now on the disk takes nothing; more bytes come."""
        self.world.store.script.fail("spool.append", FULL)
        self.give_to(self.front + 100 * KIB if upto is None else upto)

    def end(self) -> None:
        self.give_to(len(self.content))
        self.feed.end()

    def asked(self) -> tuple[int, int]:
        """GETs from the start, and by Range."""
        return self.world.asked("blobs.open"), self.world.asked("blobs.resume")

    def assert_clean(self, *bodies: IBody) -> None:
        """Once the readers are closed nothing is left, and nothing was kept."""
        for body in bodies:
            body.close()
        self.world.clock.advance(LINGER_S)
        assert self.world.store.contents == {}
        assert self.feed.open_count == 0
        assert len(self.world.proxy.fills) == 0
        assert self.world.clock.getDelayedCalls() == []


def fallen_behind() -> tuple[Pull, IBody, IBody]:
    """A fast reader that is far ahead, and a slow one that has not left the file."""
    pull = Pull(LARGE)
    fast, slow = pull.first.result.body(), pull.open().result.body()
    pull.refuse()
    for offset in range(MIB, 9 * MIB, MIB // 2):
        pull.give_to(offset)
        drain(fast)
    return pull, fast, slow
