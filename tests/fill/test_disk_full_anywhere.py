"""A disk that refuses at any write, with several ranges open: every client gets its bytes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regproxy.errors import StorageFailed
from regproxy.interfaces import IBody
from regproxy.testing.bodies import Feed
from regproxy.testing.calls import Call
from tests.fill.ranged import CONTENT, SIZE, Line, Scene, Small
from tests.proxy.world import drain

WRITES = ("spool.expect", "spool.append", "spool.place")
FULL = StorageFailed("the disk is full (ENOSPC)")


class Filling(Scene):
    """Its disk is full from the ``nth`` write on, the first being 0."""

    def __init__(self, nth: int) -> None:
        super().__init__()
        self.left = nth
        self.refused = False
        self.asked_from: list[int] = []
        self.remote.resumed_from = self.resumed
        self._enter = self.world.store.script.enter
        self.world.store.script.enter = self.enter

    async def enter(self, call: Call) -> None:
        if call.operation in WRITES:
            self.left -= 1
            if self.left < 0:
                self.refused = True
                raise FULL
        await self._enter(call)

    def resumed(self, _: Feed, start: int) -> Feed:
        self.asked_from.append(start)
        return self.piece(_, start, SIZE)

    def pull(self, speeds: Sequence[int]) -> dict[tuple[int, int], bytes]:
        """Some who want all, one of them late, and some who want a part, all read as it comes."""
        bodies: dict[tuple[int, int], IBody] = {}
        got: dict[tuple[int, int], bytes] = {}
        wanted = [(0, SIZE), (15_000, 17_000), (9_000, SIZE), (1, SIZE - 1)]
        for step in range(600):
            if step % 5 == 0 and wanted:
                start, stop = wanted.pop(0)
                bodies[start, stop] = self.open().result.body(start, stop)
                got[start, stop] = b""
            for nth, line in enumerate(self.running):
                line.give(speeds[nth % len(speeds)])
            self.world.clock.advance(0.1)
            for span, body in bodies.items():
                if len(got[span]) < span[1] - span[0]:
                    got[span] += drain(body)
                    waiting = body.ready()
                    if not waiting.called:
                        waiting.addErrback(lambda _: None)
                        waiting.cancel()
            if not wanted and all(len(data) == stop - start for (start, stop), data in got.items()):
                break
        for body in bodies.values():
            body.close()
        return got

    def check(self, got: dict[tuple[int, int], bytes]) -> None:
        for (start, stop), data in got.items():
            assert data == CONTENT[start:stop]
        self.world.clock.advance(100)
        kept = self.world.store.contents
        assert kept.get(self.digest, CONTENT) == CONTENT
        assert all(spool.state in ("discarded", "committed") for spool in self.world.store.spools)
        assert not self.running, "every connection has ended"
        assert all(line.feed.open_count == 0 for line in self.lines)
        assert len(self.world.proxy.fills) == 0
        assert self.world.clock.getDelayedCalls() == []


def most_of(lines: Sequence[Line]) -> int:
    return sum(line.given for line in lines)


@pytest.mark.usefixtures("small")
def test_every_write_may_be_the_first_that_is_refused():
    nth = 0
    while True:
        scene = Filling(nth)
        scene.check(scene.pull([100]))
        if not scene.refused:
            break
        nth += 1
    assert nth > 60, "it came in many writes"
    assert scene.world.store.contents[scene.digest] == CONTENT


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 150), st.lists(st.integers(60, 400), min_size=1, max_size=5))
def test_whatever_the_speeds(nth, speeds):
    with Small():
        scene = Filling(nth)
        scene.check(scene.pull(speeds))


@pytest.mark.usefixtures("small")
def test_what_the_disk_took_is_not_fetched_again():
    """By who wants all: the first connection goes on, or another begins where the front is."""
    for nth in range(5, 60, 6):
        scene = Filling(nth)
        body, got = scene.open().result.body(), b""
        while len(got) < SIZE:
            for line in scene.running:
                line.give(100)
            scene.world.clock.advance(0.1)
            got += drain(body)
        assert got == CONTENT
        body.close()
        scene.world.clock.advance(100)
        front = scene.world.store.spools[0].front
        assert scene.asked_from == [] or scene.asked_from == [front]
        assert most_of([line for line in scene.lines if line.start < front]) <= 2 * SIZE
