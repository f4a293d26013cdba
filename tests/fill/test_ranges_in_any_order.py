"""Several connections, a slow disk, and whatever else may go wrong, in any order."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regproxy.errors import RangeIgnored, RegproxyError, StorageFailed, Throttled, UpstreamUnreachable
from regproxy.fill import retries
from regproxy.fill.relay import LINGER_S
from regproxy.testing.bodies import Feed
from regproxy.testing.reply import Gate
from tests.fill.ranged import CONTENT, SIZE, Line, Scene, Small
from tests.fill.test_any_order import Reader
from tests.proxy.world import NAME

WRITES = ("spool.append", "spool.place")
lines = st.integers(0, 5)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("give"), lines, st.integers(1, 3000)),
        st.tuples(st.just("give"), lines, st.integers(1, 3000)),
        st.tuples(st.just("wait"), st.sampled_from([0.02, 0.3, 0.5, 2.0])),
        st.tuples(st.just("wait"), st.sampled_from([0.02, 0.3, 0.5, 2.0])),
        st.tuples(st.just("cut"), lines),
        st.tuples(st.just("serve"), st.sampled_from(["ignored", "throttled", "unreachable"])),
        st.tuples(st.just("open"), st.integers(0, SIZE - 1), st.integers(1, 3000)),
        st.tuples(st.just("open"), st.just(0), st.just(SIZE)),
        st.tuples(st.just("read"), lines, st.integers(1, 3000)),
        st.tuples(st.just("close"), lines),
        st.tuples(st.just("slow_disk")),
        st.tuples(st.just("quick_disk")),
    ),
    max_size=40,
)
common = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
REFUSALS = {
    "ignored": RangeIgnored(NAME, "no"),
    "throttled": Throttled(NAME, "429", 1),
    "unreachable": UpstreamUnreachable(NAME, "no"),
}


class History:
    """What happens to one blob, and the clients that read it meanwhile."""

    def __init__(self) -> None:
        self.scene = Scene()
        self.world = self.scene.world
        self.script = self.world.store.script
        self.readers: list[Reader] = []
        self.gates: list[Gate] = []
        self.cuts = 0
        self.open(0, SIZE)

    def run(self, plan: list[tuple]) -> None:
        for what, *about in plan:
            getattr(self, what)(*about)
            self.check_now()

    def line(self, which: int) -> Line | None:
        running = self.scene.running
        return running[which % len(running)] if running else None

    def give(self, which: int, count: int) -> None:
        line = self.line(which)
        if line is not None:
            line.give(count)

    def wait(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    def cut(self, which: int) -> None:
        line = self.line(which)
        if line is not None:
            self.cuts += 1
            self.scene.begin_anew()
            line.feed.fail(UpstreamUnreachable(NAME, "reset"))

    def serve(self, how: str) -> None:
        self.scene.remote.script.fail("blobs.piece", REFUSALS[how], times=1)

    def open(self, start: int, count: int) -> None:
        if len(self.world.proxy.fills) or not self.readers:
            seen = self.scene.open()
            if not seen.waiting:
                stop = min(SIZE, start + count)
                self.readers.append(Reader(seen.result.body(start, stop), start, stop))

    def read(self, which: int, count: int) -> None:
        reader = self.readers[which % len(self.readers)]
        if not reader.read(count) and not reader.ended and reader.error is None:
            reader.body.ready().addErrback(lambda failure: failure.trap(RegproxyError))

    def close(self, which: int) -> None:
        reader = self.readers[which % len(self.readers)]
        reader.error = reader.error or RegproxyError("it left")
        reader.body.close()

    def slow_disk(self) -> None:
        self.gates.append(self.script.hold(*WRITES))

    def quick_disk(self) -> None:
        self.script.heal()
        for gate in self.gates:
            gate.open()
        self.gates = []

    def full(self) -> None:
        self.quick_disk()
        for operation in WRITES:
            self.script.fail(operation, StorageFailed("full"))

    def check_now(self) -> None:
        for reader in self.readers:
            right = CONTENT[reader.start : reader.start + len(reader.got)]
            assert reader.got == right or not reader.whole or not reader.ended
            assert reader.start + len(reader.got) <= reader.stop

    def finish(self) -> None:
        """From now on all goes well: everything comes, everyone reads to the end."""
        self.scene.remote.script.heal()
        for _ in range(300):
            for line in self.scene.running:
                line.give(1000)
            self.world.clock.advance(0.5)
            for which in range(len(self.readers)):
                while self.readers[which].read(5000):
                    pass
                self.read(which, 1)
            over = all(reader.ended or reader.error is not None for reader in self.readers)
            if over and not len(self.world.proxy.fills):
                break
        self.check_now()

    def check_end(self) -> None:
        for reader in self.readers:
            reader.body.close()
        self.world.clock.pump([LINGER_S] * 3)
        assert len(self.world.proxy.fills) == 0
        assert self.world.proxy.fills.lines._of(NAME).open == 0
        assert all(line.feed.open_count == 0 for line in self.scene.lines)
        assert self.world.clock.getDelayedCalls() == []
        assert all(spool.state != "open" for spool in self.world.store.spools)
        assert all(file.closed for spool in self.world.store.spools for file in spool.files)
        assert self.world.store.contents.get(self.scene.digest, CONTENT) == CONTENT


@common
@given(steps)
def test_right_bytes_reach_everyone_who_stays(plan: list[tuple]) -> None:
    with Small():
        history = History()
        history.run(plan)
        history.quick_disk()
        history.finish()
        if history.cuts < retries.MAX_FAILURES:
            assert all(reader.ended or str(reader.error) == "it left" for reader in history.readers)
            assert history.world.store.contents[history.scene.digest] == CONTENT
            assert history.scene.remote.script.count("blobs.open") == 1, "nothing was fetched again"
        assert all(
            reader.got == CONTENT[reader.start : reader.stop] for reader in history.readers if reader.ended
        )
        history.check_end()


@common
@given(steps, steps)
def test_so_they_do_where_the_disk_is_full(plan: list[tuple], more: list[tuple]) -> None:
    with Small():
        history = History()
        history.run(plan)
        history.full()
        history.scene.remote.feed(history.scene.repository, history.scene.digest, Feed.whole(CONTENT))
        history.run([step for step in more if "disk" not in step[0] and step[0] != "cut"])
        history.finish()
        if history.cuts < retries.MAX_FAILURES:
            assert all(reader.ended or str(reader.error) == "it left" for reader in history.readers)
        assert all(
            reader.got == CONTENT[reader.start : reader.stop] for reader in history.readers if reader.ended
        )
        history.check_end()


@common
@given(steps, lines, steps)
def test_wrong_bytes_make_no_whole_answer(plan: list[tuple], which: int, more: list[tuple]) -> None:
    with Small():
        history = History()
        history.run(plan)
        line = history.line(which)
        if line is not None:
            line.content = bytes(SIZE)
        history.run(more)
        history.quick_disk()
        history.scene.remote.feed(history.scene.repository, history.scene.digest, Feed.whole(CONTENT))
        history.finish()
        for reader in history.readers:
            assert not (reader.whole and reader.ended) or reader.got == CONTENT
        history.check_end()


@common
@given(steps)
def test_a_stop_at_any_moment_leaves_nothing(plan: list[tuple]) -> None:
    with Small():
        history = History()
        history.run(plan)
        history.world.proxy.stop()
        history.quick_disk()
        for reader in history.readers:
            while reader.read(5000):
                pass
        history.check_end()
