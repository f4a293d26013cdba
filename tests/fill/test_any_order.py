"""Whatever happens in whatever order after the disk refused: readers get their bytes, or an error."""

from __future__ import annotations

import random
from collections.abc import Iterator
from unittest.mock import patch

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from regproxy.errors import RegproxyError, StorageFailed
from regproxy.fill.relay import LINGER_S, PATIENCE_S
from regproxy.interfaces import IBody
from regproxy.oci.digest import Digest
from regproxy.testing.bodies import Feed
from tests.proxy.world import World

SIZE = 6000
CONTENT = random.Random(7).randbytes(SIZE)
SMALL = {
    "regproxy.fill.plan.HOLD_BACK_BYTES": 100,
    "regproxy.fill.window.WINDOW_BYTES": 800,
    "regproxy.fill.window.SMALL_BYTES": 50,
    "regproxy.fill.relay.AHEAD_BYTES": 300,
    "regproxy.fill.relay.PIECE_BYTES": 150,
    "regproxy.fill.relays.RELAYS_PER_BLOB": 2,
    "regproxy.fill.pokes.SLICE_S": 1e9,  # how fast this machine is does not matter
}
spans = st.one_of(
    st.just((0, None)),
    st.just((0, SIZE)),
    st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(lambda pair: (min(pair), max(pair))),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("give"), st.integers(1, 900)),
        st.tuples(st.just("read"), st.integers(0, 5), st.integers(1, 700)),
        st.tuples(st.just("drain"), st.integers(0, 5)),
        st.tuples(st.just("close"), st.integers(0, 5)),
        st.tuples(st.just("open"), spans),
        st.tuples(st.just("wait"), st.sampled_from([0.02, PATIENCE_S, LINGER_S])),
    ),
    max_size=40,
)


@attrs.define(eq=False)
class Reader:
    """One client: what it asked for, what it got, how it ended."""

    body: IBody
    start: int
    stop: int
    got: bytearray = attrs.field(factory=bytearray)
    ended: bool = False
    error: RegproxyError | None = None

    def read(self, max_bytes: int) -> bool:
        """Whether it may go on."""
        if self.ended or self.error is not None:
            return False
        try:
            chunk = self.body.read(max_bytes)
        except RegproxyError as error:
            self.error = error
            return False
        self.ended = chunk == b""
        self.got += chunk or b""
        return bool(chunk)

    @property
    def whole(self) -> bool:
        return (self.start, self.stop) == (0, SIZE)


class Scene:
    """A blob of which the disk takes ``kept`` bytes; upstream has ``content``."""

    def __init__(self, content: bytes, kept: int, told: bool) -> None:
        self.world = World()
        self.content = content
        self.digest = Digest.of(CONTENT)
        self.size = SIZE if told else None
        self.readers: list[Reader] = []
        self.feeds: list[Feed] = []
        self.world.store.room_bytes = None
        self.feed(b"")
        self.open((0, None))
        self.give(kept)
        self.world.store.script.fail("spool.append", StorageFailed("full"))
        self.world.store.script.fail("spool", StorageFailed("full"))

    def feed(self, here: bytes) -> None:
        """Whoever asks from now on gets a transfer of his own, of which ``here`` has come."""
        feed = Feed(self.size)
        feed.give(here)
        self.feeds.append(self.world.remote.feed(self.world.repository(), self.digest, feed))

    def open(self, span: tuple[int, int | None]) -> None:
        seen = self.world.open(self.world.repository(), self.digest)
        if seen.waiting:
            self.world.clock.advance(8)
        span = span if self.size is not None else (0, None)
        stop = SIZE if span[1] is None else span[1]
        self.readers.append(Reader(seen.result.body(*span), span[0], stop))

    def give(self, count: int) -> None:
        for feed in self.feeds:
            here = len(feed.content)
            feed.give(self.content[here : here + count])
        self.world.clock.advance(0.02)

    def run(self, plan: list[tuple]) -> None:
        for name, *rest in plan:
            reader = self.readers[rest[0] % len(self.readers)] if name in ("read", "drain", "close") else None
            if name == "give":
                self.give(rest[0])
            elif name == "open":
                self.feed(self.content[: len(self.feeds[0].content)])
                self.open(rest[0])
            elif name == "wait":
                self.world.clock.advance(rest[0])
            elif name == "read":
                reader.read(rest[1])
            elif name == "drain":
                self.drain(reader)
            else:
                reader.error = reader.error or RegproxyError("it left")
                reader.body.close()
            self.check_now()

    def drain(self, reader: Reader) -> None:
        while reader.read(64):
            pass

    def check_now(self) -> None:
        for reader in self.readers:
            assert reader.got == self.content[reader.start : reader.start + len(reader.got)]
            assert reader.start + len(reader.got) <= reader.stop

    def finish(self) -> None:
        """All bytes come, everyone reads to the end, slow ones too."""
        self.give(SIZE)
        for feed in self.feeds:
            feed.end()
        self.feeds[-1] = self.world.remote.feed(
            self.world.repository(), self.digest, Feed.whole(self.content)
        )
        for _ in range(200):
            for reader in self.readers:
                self.drain(reader)
            self.world.clock.advance(1)
            if all(reader.ended or reader.error is not None for reader in self.readers):
                break
        self.check_now()

    def close(self) -> None:
        for reader in self.readers:
            reader.body.close()
        self.world.clock.pump([LINGER_S] * 3)
        assert len(self.world.proxy.fills) == 0
        assert sum(feed.open_count for feed in self.feeds) == 0
        assert self.world.clock.getDelayedCalls() == []
        assert self.world.store.contents == {}


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    patches = [patch(name, value) for name, value in SMALL.items()]
    for one in patches:
        one.start()
    yield
    for one in patches:
        one.stop()


common = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


LAST_ONE_PUT_OFF = [
    *[("give", count) for count in (1, 48, 900)],
    *[("open", (0, None))] * 2,
    ("drain", 1),
    ("close", 1),
    ("wait", PATIENCE_S),
]


@common
@example(1, False, LAST_ONE_PUT_OFF)
@given(st.integers(0, SIZE - 1), st.booleans(), steps)
def test_right_bytes_reach_everyone_who_stays(kept: int, told: bool, plan: list[tuple]) -> None:
    scene = Scene(CONTENT, kept, told)
    scene.run(plan)
    scene.finish()
    for reader in scene.readers:
        left = str(reader.error) == "it left"
        assert left or reader.ended, (reader, reader.error)
        assert left or reader.got == CONTENT[reader.start : reader.stop]
    scene.close()


@common
@given(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1), st.booleans(), steps)
def test_wrong_bytes_never_make_a_whole_answer(kept: int, at: int, told: bool, plan: list[tuple]) -> None:
    wrong = CONTENT[:at] + bytes([CONTENT[at] ^ 1]) + CONTENT[at + 1 :]
    scene = Scene(wrong, kept, told)
    scene.run(plan)
    scene.finish()
    for reader in scene.readers:
        assert not (reader.whole and reader.ended)
        assert not (reader.whole and len(reader.got) > SIZE - 100)
    scene.close()


@common
@given(st.integers(0, SIZE - 1), st.booleans(), steps)
def test_a_stop_at_any_moment_leaves_nothing(kept: int, told: bool, plan: list[tuple]) -> None:
    scene = Scene(CONTENT, kept, told)
    scene.run(plan)
    scene.world.proxy.stop()
    for reader in scene.readers:
        scene.drain(reader)
        reader.body.close()
    assert sum(feed.open_count for feed in scene.feeds) == 0
    assert scene.world.clock.getDelayedCalls() == []


class Mixed(Scene):
    """Each transfer is right, wrong somewhere, or of another length, as ``kinds`` say in turn."""

    def __init__(self, kinds: list[int], kept: int, told: bool) -> None:
        self.kinds = kinds
        super().__init__(CONTENT, kept, told)

    def sent_by(self, feed: Feed) -> bytes:
        kind = self.kinds[self.feeds.index(feed) % len(self.kinds)]
        if kind == 0:
            return CONTENT
        if kind < 0 and self.size is None:
            return CONTENT[:kind] if kind % 2 else CONTENT + CONTENT[:-kind]
        return CONTENT[: kind - 1] + bytes([CONTENT[kind - 1] ^ 1]) + CONTENT[kind:]

    def feed(self, here: bytes) -> None:
        feed = Feed(self.size)
        self.feeds.append(self.world.remote.feed(self.world.repository(), self.digest, feed))
        feed.give(self.sent_by(feed)[: len(here)])

    def give(self, count: int) -> None:
        for feed in self.feeds:
            here = len(feed.content)
            if not feed.ended:
                feed.give(self.sent_by(feed)[here : here + count])
        self.world.clock.advance(0.02)

    def check_now(self) -> None:
        for reader in self.readers:
            assert not (reader.whole and reader.ended) or reader.got == CONTENT, (
                "a whole answer of wrong bytes"
            )


kinds = st.lists(st.one_of(st.just(0), st.integers(1, 900), st.integers(-500, -1)), min_size=1, max_size=5)
FELL_BEHIND = [("open", (0, None)), ("give", 700), ("read", 0, 150), *[("give", 250), ("drain", 1)] * 8]


@common
@example([301, 0], 200, True, FELL_BEHIND)
@given(kinds, st.integers(0, 900), st.booleans(), steps.map(lambda plan: FELL_BEHIND[: len(plan)] + plan))
def test_right_and_wrong_transfers_never_make_a_whole_answer(
    kinds: list[int], kept: int, told: bool, plan: list[tuple]
) -> None:
    scene = Mixed(kinds, kept, told)
    scene.run(plan)
    scene.finish()
    scene.check_now()
    for reader in scene.readers:
        assert reader.ended or reader.error is not None, (reader, "it never ends")
    scene.close()
