"""Fills, readers, ranges, faults and restarts in any order, against a model of what must hold.

Two upstreams hold one blob; clients of both read all of it or parts, at their own pace, and leave; lines
break, stall, refuse and lie; the disk is slow, full and itself again; rights are revoked; the daemon begins
anew. The model is small: which bytes are right, what each line has brought, who has been told what. Sabotage
of any part of the fill is noticed.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from regproxy.errors import (
    NotFound,
    RangeIgnored,
    RegproxyError,
    StorageFailed,
    Throttled,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from regproxy.extents import Extents
from regproxy.fill import readers, retries
from regproxy.fill.audience import Audience
from regproxy.fill.copy import Copy
from regproxy.fill.fill import Fill
from regproxy.fill.lines import Lines
from regproxy.fill.pace import Pace
from regproxy.fill.ranges import Ranges
from regproxy.fill.readers import FillReader
from regproxy.fill.relay import LINGER_S
from regproxy.fill.table import FillTable
from regproxy.fill.tail import Tail
from regproxy.fill.view import FillView
from regproxy.interfaces import IBody
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.proxy.registry import ProxyRegistry
from regproxy.settings import FillSettings
from regproxy.storage import durable
from regproxy.storage.opening import open_store
from regproxy.storage.store import DiskStore
from regproxy.testing.bodies import Feed, MemoryBlob
from regproxy.testing.checker import check
from regproxy.testing.remotes import MemoryRemote
from regproxy.testing.reply import Gate
from regproxy.testing.stores import MemoryStore
from tests.fill.ranged import CONTENT, SIZE, Line, Small
from tests.proxy.test_private_content import Threads
from tests.proxy.world import RULE, Seen

DIGEST = Digest.of(CONTENT)
HERE, THERE = "registry.test", "other.test"
REPOSITORIES = [Repository.parse(name, "team/app") for name in (HERE, THERE)]
WRITES = ("spool.append", "spool.place")
BATCH = 200
LEFT = RegproxyError("it left")
TROUBLES = ["breaks", "refusals", "lies", "revocations", "the disk", "restarts", "slow lines", "silence"]
SIZES = {
    "regproxy.fill.plan.KEEP_BYTES": 500,
    "regproxy.fill.slowness.SLOW_BYTES_S": 300,
    "regproxy.fill.slowness.SLOW_FOR_S": 3.0,
    "regproxy.fill.watch.SLOW_FOR_S": 3.0,
    "regproxy.fill.watch.LAGS_FOR_S": 2.0,
}
"""What is left is worth keeping, and a line is slow, at the size and speed that lines have here."""
IN_HAND = 3000
"""What may come twice where a fill pauses: what its connections have brought and no batch was made of."""

numbers = st.integers(0, 20)
counts = st.sampled_from([1, 150, 700, 2500, 6000])
spans = st.one_of(
    st.just((0, SIZE)),
    st.sampled_from([(0, 100), (SIZE - 51, SIZE), (9000, SIZE), (15_000, 15_800), (3000, 3001)]),
    st.tuples(st.integers(0, SIZE - 1), st.integers(1, 3000)).map(lambda one: (one[0], min(SIZE, sum(one)))),
)


class LinedRemote(MemoryRemote):
    """An upstream whose every answer with bytes is a line of its own."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ranged = True
        self.lines: list[Line] = []
        self.piece_from = lambda _, start, stop: self.line(start, stop)
        self.resumed_from = lambda _, start: self.line(start, SIZE)
        open_from = self.blobs.open_from
        self.blobs.open_from = lambda *what: open_from(*what).addCallback(self.goes_on)

    def goes_on(self, blob: MemoryBlob) -> MemoryBlob:
        """The line of ``blob`` brings it from its start on."""
        line = next(line for line in self.lines if line.feed is blob._feed)
        line.start = blob.start
        line.feed.give(bytes(blob.start))
        return blob

    def line(self, start: int, stop: int, feed: Feed | None = None) -> Feed:
        feed = Feed(SIZE) if feed is None else feed
        feed.give(bytes(start))
        self.lines.append(Line(start, stop, feed))
        return feed

    def find_feed(self, repository: Repository, digest: Digest) -> Feed:
        return Feed(SIZE)

    def open_feed(self, feed: Feed) -> MemoryBlob:
        self.line(0, SIZE, feed)
        return super().open_feed(feed)


class Reader:
    """One client: what it asked for, what it got, how it ended."""

    def __init__(self, span: tuple[int, int], opening: Seen, restarts: int, eager: bool = False) -> None:
        """``eager``: it reads as soon as it is told, as a sender does whose client takes all."""
        self.start, self.stop = span
        self.eager = eager
        self.opening = opening
        self.begun_after = restarts
        self.body: IBody | None = None
        self.got = bytearray()
        self.ended = False
        self.error: BaseException | None = None
        self.pending: Seen | None = None

    @property
    def over(self) -> bool:
        return self.ended or self.error is not None

    @property
    def whole(self) -> bool:
        return (self.start, self.stop) == (0, SIZE)

    def take_seat(self) -> None:
        """Where the blob is there, it is read."""
        if self.body is None and self.error is None and not self.opening.waiting:
            try:
                self.body = self.opening.result.body(self.start, self.stop)
            except RegproxyError as error:
                self.error = error
                return
            self.told()

    def told(self, _: object = None) -> None:
        """There is news."""
        while self.eager and self.read(5000):
            pass

    def read(self, count: int) -> int:
        """Bytes that came; where there are none it waits, as a sender does."""
        if self.over or self.body is None:
            return 0
        try:
            chunk = self.body.read(count)
        except RegproxyError as error:
            self.error = error
            return 0
        self.ended = chunk == b""
        self.got += chunk or b""
        if chunk is None and (self.pending is None or not self.pending.waiting):
            waiting = self.body.ready().addErrback(lambda failure: failure.trap(RegproxyError))
            self.pending = Seen(waiting)
            waiting.addCallback(self.told)
        return len(chunk or b"")

    def asleep(self) -> bool:
        """Whether it has not been told of anything since it found nothing."""
        return self.pending is not None and self.pending.waiting and not self.over

    def leave(self) -> None:
        self.error = self.error or LEFT
        if self.body is not None:
            self.body.close()
        elif not self.opening.waiting:
            with contextlib.suppress(RegproxyError, CancelledError):
                self.opening.result.close()
        else:
            self.opening.deferred.cancel()


class Histories(RuleBasedStateMachine):
    """The proxy between its store and two upstreams. ``only``: these troubles, this way to leave a fill."""

    only: tuple[set[str], str] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.small = Small()
        self.small.__enter__()
        self.abandon = "finish"
        self.pauses = 0
        self.patches = [patch(name, value) for name, value in SIZES.items()]
        self.patches.append(patch.object(Fill, "pause", self.counting(Fill.pause)))
        for one in self.patches:
            one.start()
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.remotes = {name: LinedRemote(name) for name in (HERE, THERE)}
        self.store: Any = self.make_store()
        self.proxy = self.make_proxy()
        self.readers: list[Reader] = []
        self.gates: list[Gate] = []
        self.silent: list[Gate] = []
        self.lies = 0
        self.breaks = 0
        self.restarts = 0
        self.refused = False
        self.denied = False
        self.troubles: set[str] = set()
        self.allowed_twice = 0

    def make_store(self) -> Any:
        return MemoryStore(self.clock)

    def make_proxy(self) -> ProxyRegistry:
        rules = dict.fromkeys(self.remotes, (RULE,))
        fill = FillSettings(abandon=self.abandon)
        return ProxyRegistry(self.store, self.remotes, rules, self.clock, self.clock.seconds, fill=fill)

    def counting(self, pause: Callable[[Fill], None]) -> Callable[[Fill], None]:
        def counted(fill: Fill) -> None:
            pauses = not fill.pausing
            pause(fill)
            self.pauses += pauses and fill.pausing

        return counted

    def settle(self) -> None:
        """Until nothing moves by itself."""
        self.clock.advance(0.02)
        for reader in self.readers:
            reader.take_seat()

    @property
    def lines(self) -> list[Line]:
        return [line for remote in self.remotes.values() for line in remote.lines]

    @property
    def running(self) -> list[Line]:
        return [line for line in self.lines if line.open]

    def one_of(self, number: int) -> Line:
        return self.running[number % len(self.running)]

    @initialize(
        troubles=st.sets(st.sampled_from(TROUBLES), max_size=3), abandon=st.sampled_from(["finish", "pause"])
    )
    def begin(self, troubles: set[str], abandon: str) -> None:
        """Only some kinds of trouble in each history, so that those without the others are tried as well."""
        self.troubles, self.abandon = self.only or (troubles, abandon)
        self.proxy = self.make_proxy()
        self.begun()

    def begun(self) -> None:
        """What happens in each of them before anything else."""

    # What clients do

    @rule(span=spans, where=st.sampled_from([0, 0, 1]), eager=st.booleans())
    def ask(self, span: tuple[int, int], where: int, eager: bool) -> None:
        if sum(not reader.over for reader in self.readers) < 6:
            opening = Seen(self.proxy.blobs.open(REPOSITORIES[where], DIGEST))
            self.readers.append(Reader(span, opening, self.restarts, eager))
            self.settle()

    @precondition(lambda self: self.readers)
    @rule(number=numbers, count=counts)
    def read(self, number: int, count: int) -> None:
        self.readers[number % len(self.readers)].read(count)

    @precondition(lambda self: self.readers)
    @rule(count=counts)
    def all_read(self, count: int) -> None:
        for reader in self.readers:
            reader.read(count)

    @precondition(lambda self: self.readers)
    @rule(number=numbers)
    def leave(self, number: int) -> None:
        self.readers[number % len(self.readers)].leave()
        self.settle()

    # What lines and upstreams do

    @precondition(lambda self: self.running)
    @rule(number=numbers, count=counts)
    def give(self, number: int, count: int) -> None:
        self.one_of(number).give(count)
        self.settle()

    @precondition(lambda self: self.running)
    @rule(seconds=st.sampled_from([0.2, 0.6, 2.0]))
    def flow(self, seconds: float) -> None:
        """Everything comes, each line at the same speed."""
        for _ in range(round(seconds * 10)):
            for line in self.running:
                line.give(100)
            self.clock.advance(0.08)
            self.settle()

    @precondition(lambda self: self.running and "breaks" in self.troubles)
    @rule(number=numbers, stalls=st.booleans())
    def break_off(self, number: int, stalls: bool) -> None:
        """A line is reset, or has said nothing for too long."""
        self.breaks += 1
        error = UpstreamTimeout(HERE, "30 s") if stalls else UpstreamUnreachable(HERE, "reset")
        self.one_of(number).feed.fail(error)
        self.settle()

    @precondition(lambda self: self.running and "slow lines" in self.troubles)
    @rule(number=numbers, seconds=st.sampled_from([2, 5]), elsewhere=st.booleans(), others=st.booleans())
    def crawl(self, number: int, seconds: int, elsewhere: bool, others: bool) -> None:
        """A line brings next to nothing, whether or not the ``others`` do."""
        slow = self.one_of(number)
        slow.feed.elsewhere = lambda: elsewhere
        for _ in range(seconds):
            for line in self.running:
                line.give(800 if others and line is not slow else 10)
            self.clock.advance(0.98)
            self.settle()

    @precondition(lambda self: "silence" in self.troubles)
    @rule(where=st.sampled_from([HERE, HERE, THERE]), what=st.sampled_from(["piece", "resume", "open"]))
    def fall_silent(self, where: str, what: str) -> None:
        """Requests of that kind get no answer until it speaks again."""
        kinds = {"open": ("blobs.open", "blobs.open_from")}.get(what, (f"blobs.{what}",))
        self.silent.append(self.remotes[where].script.hold(*kinds))

    @precondition(lambda self: self.silent)
    @rule()
    def speak(self) -> None:
        for gate in self.silent:
            gate.open()
        self.silent = []
        self.settle()

    @precondition(lambda self: "refusals" in self.troubles)
    @rule(
        where=st.sampled_from([HERE, HERE, THERE]),
        what=st.sampled_from(["piece", "resume", "open"]),
        how=st.sampled_from(["ignored", "throttled", "unreachable"]),
    )
    def refuse(self, where: str, what: str, how: str) -> None:
        """The next request of that kind."""
        error: Exception = UpstreamUnreachable(where, "no")
        if how == "throttled":
            error = Throttled(where, "429", 1)
        if how == "ignored" and what == "piece":
            error = RangeIgnored(where, "no")
        self.breaks += 1
        self.denied = self.denied or what == "open"
        self.remotes[where].script.fail(f"blobs.{what}", error, times=1)
        if what == "open":
            self.remotes[where].script.fail("blobs.open_from", error, times=1)

    @precondition(lambda self: self.running and "lies" in self.troubles)
    @rule(number=numbers, at=st.sampled_from(["all", "last"]))
    def lie(self, number: int, at: str) -> None:
        """From now on a line brings other bytes, or another last one."""
        self.lies += 1
        line = self.one_of(number)
        line.content = bytes(SIZE) if at == "all" else CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])

    @precondition(lambda self: "revocations" in self.troubles)
    @rule(number=numbers, gone=st.booleans())
    def revoke(self, number: int, gone: bool) -> None:
        """What was shown for a repository counts no longer; ``gone``: its upstream has nothing for it now."""
        repository = REPOSITORIES[number % 2]
        self.denied = True
        self.store.revoke(repository)
        if gone:
            for what in ("stat", "open", "open_from", "resume"):
                script = self.remotes[repository.upstream].script
                script.fail(f"blobs.{what}", NotFound(repository.upstream, "404"), times=1)
        self.settle()

    # What time, the disk and operators do

    @rule(seconds=st.sampled_from([0.3, 0.5, 8.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.settle()

    @precondition(lambda self: "the disk" in self.troubles)
    @rule(what=st.sampled_from(["slow", "full", "itself"]))
    def disk(self, what: str) -> None:
        if what == "slow" and not self.refused:
            self.gates.append(self.store.script.hold(*WRITES))
        if what == "full":
            self.heal_disk()
            self.fill_up()
        if what == "itself":
            self.heal_disk()
        self.settle()

    def fill_up(self) -> None:
        self.refused = True
        for write in (*WRITES, "spool"):
            self.store.script.fail(write, StorageFailed("full"))

    def heal_disk(self) -> None:
        self.store.script.heal()
        for gate in self.gates:
            gate.open()
        self.gates = []
        self.settle()

    @precondition(lambda self: "restarts" in self.troubles)
    @rule()
    def restart(self) -> None:
        """Whether the store keeps what a spool had is its affair: no byte need come twice, each may."""
        stopping = Seen(self.proxy.stop())
        self.heal_disk()
        self.clock.advance(0.1)
        self.finish_stopping(stopping)
        for reader in self.readers:
            reader.take_seat()
            while reader.read(SIZE):
                pass
            assert reader.over, "nobody told it that the daemon ends"
        for reader in self.readers:
            reader.leave()
        self.restarts += 1
        self.allowed_twice += self.brought().total
        self.reopen()
        self.proxy = self.make_proxy()

    def finish_stopping(self, stopping: Seen) -> None:
        assert not stopping.waiting, "it does not stop"

    def reopen(self) -> None:
        """The same store goes on; one on disk is opened anew."""

    # What must hold

    def brought(self) -> Extents:
        return Extents((line.start, line.start + taken(line)) for line in self.lines)

    @invariant()
    def every_byte_is_right(self) -> None:
        for reader in self.readers:
            right = CONTENT[reader.start : reader.start + len(reader.got)]
            assert len(reader.got) <= reader.stop - reader.start, "more than was asked for"
            if not self.lies:
                assert same(reader.got, right), "wrong bytes"
            if reader.whole and (reader.ended or len(reader.got) == SIZE):
                assert same(reader.got, CONTENT), "a whole answer that is wrong"
            assert not reader.ended or len(reader.got) == reader.stop - reader.start, "too short an answer"

    @invariant()
    def no_byte_comes_twice(self) -> None:
        """But for what a fault makes necessary: a spool that is gone, a transfer of his own for each reader
        of a disk that is full, and for wrong bytes one more over one connection from each source."""
        twice = sum(taken(line) for line in self.lines) - self.brought().total
        most = self.allowed_twice
        if self.denied:
            most += SIZE * 2  # a fill that nobody may go on with, and the next one
        most += SIZE * len(self.readers) if self.refused else 0
        most += SIZE * 4 * self.lies + IN_HAND * self.pauses
        assert twice <= most, f"{twice} bytes came twice"

    @invariant()
    def nobody_sleeps_while_there_are_bytes(self) -> None:
        for reader in self.readers:
            if reader.asleep():
                assert not reader.read(BATCH), "it was not told of bytes that are there"
                assert not reader.over, "it was not told of the end"

    @invariant()
    def nothing_wrong_is_kept(self) -> None:
        assert same(self.store.contents.get(DIGEST, CONTENT), CONTENT), "wrong bytes are kept"

    # The end

    def finish(self) -> None:
        """From now on all goes well: everything comes, everybody reads to the end."""
        self.heal_disk()
        for remote in self.remotes.values():
            remote.script.heal()
        self.speak()
        for _ in range(400):
            for line in self.running:
                line.give(1000)
            self.clock.advance(0.3)
            self.settle()
            for reader in self.readers:
                while reader.read(5000):
                    pass
            if all(reader.over for reader in self.readers) and not len(self.proxy.fills):
                return

    def teardown(self) -> None:
        try:
            self.finish()
            self.every_byte_is_right()
            self.no_byte_comes_twice()
            for reader in self.readers:
                assert reader.over, "it is never told of an end"
                harm = (
                    reader.begun_after < self.restarts
                    or self.lies
                    or self.denied
                    or self.breaks >= retries.MAX_FAILURES
                )
                assert harm or reader.error in (None, LEFT), f"a pull failed: {reader.error!r}"
            for reader in self.readers:
                reader.leave()
            self.clock.pump([LINGER_S] * 3)
            self.settle()
            self.nothing_is_left()
        finally:
            for reader in self.readers:
                reader.leave()
            self.end()
            for one in self.patches:
                one.stop()
            self.small.__exit__()

    def nothing_is_left(self) -> None:
        assert len(self.proxy.fills) == 0, "a fill goes on"
        for name in self.remotes:
            assert self.proxy.fills.lines._of(name).open == 0, "connections are counted that are closed"
        assert not [line for line in self.lines if line.feed.open_count], "connections are left open"
        assert self.clock.getDelayedCalls() == [], "timers are left"
        self.nothing_wrong_is_kept()
        self.disk_is_clean()

    def disk_is_clean(self) -> None:
        assert all(spool.state != "open" for spool in self.store.spools), "spools are left"
        files = [file for spool in self.store.spools for file in spool.files]
        assert all(file.closed for file in files), "files are left open"

    def end(self) -> None:
        self.proxy.stop()
        self.settle()


def taken(line: Line) -> int:
    """How many bytes of a line the mirror has taken."""
    return sum(max(0, body._position - line.start) for body in line.feed.bodies[:1])


def same(found: bytes, right: bytes) -> bool:
    """Not ``==`` in an assertion: what differs would be worked out in full where CI is set, for a minute."""
    return found == right


QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
CALM = settings(
    max_examples=120,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=QUIET,
)


def test_in_any_order() -> None:
    run_state_machine_as_test(Histories, settings=CALM)


class OnDisk(Histories):
    """The same over a real folder."""

    def make_store(self) -> DiskStore:
        self.folder, self.threads = TemporaryDirectory(), Threads(self.clock)
        self.full = False
        self.real = durable.write_all
        self.patching = patch.object(durable, "write_all", self.write_all)
        self.patching.start()
        return self.open()

    def open(self) -> DiskStore:
        return open_store(Path(self.folder.name), self.threads, self.clock.seconds)

    def write_all(self, descriptor: int, content: bytes, offset: int) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.real(descriptor, content, offset)

    def settle(self) -> None:
        store = self.store
        for _ in range(4):
            super().settle()
            for thread in (store._hasher, store._writer, store._syncer, store._reader):
                self.threads.wait(thread.run(lambda: None))

    @precondition(lambda self: "the disk" in self.troubles)
    @rule(what=st.sampled_from(["full", "itself"]))
    def disk(self, what: str) -> None:
        self.full = what == "full"
        self.refused = self.refused or self.full

    def heal_disk(self) -> None:
        self.full = False
        self.settle()

    def finish_stopping(self, stopping: Seen) -> None:
        if stopping.waiting:
            self.threads.wait(stopping.deferred)

    def reopen(self) -> None:
        self.settle()
        self.threads.wait(self.store.close())
        assert check(Path(self.folder.name)) == []
        self.store = self.open()

    @invariant()
    def nothing_wrong_is_kept(self) -> None:
        held = self.store.holds(DIGEST)
        assert held in (None, SIZE)

    def disk_is_clean(self) -> None:
        self.threads.wait(self.store.survey())
        assert check(Path(self.folder.name), surveyed=True) == []

    def end(self) -> None:
        super().end()
        self.patching.stop()
        closing: Deferred[None] = self.store.close()
        self.threads.wait(closing)
        self.folder.cleanup()


def test_on_a_real_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    for flush in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, flush, lambda descriptor: None)
    few = settings(CALM, max_examples=40, stateful_step_count=25)
    run_state_machine_as_test(OnDisk, settings=few)


def _nothing(*_: Any, **__: Any) -> None:
    """What should have been done is not."""


def _follows_wrong_bytes(self: FillReader) -> Any:
    """A reader that has given out bytes of a spool that was rejected goes on in the next."""
    self._start = self._offset
    return _BEGIN_ANEW(self)


async def _first_alone(self: Ranges) -> None:
    await self._whole.bring(self._landed)


def _all_fails(self: Fill, source: Any, tail: Any, error: StorageFailed) -> Any:
    raise error


_BEGIN_ANEW = FillReader._begin_anew
SABOTAGES: dict[str, tuple[Any, str, Any, str]] = {
    "nothing is held back": (
        readers,
        "readable_limit",
        lambda front, size, whole, verified: front,
        "a whole answer that is wrong",
    ),
    "a rejected spool is followed by the next": (
        FillReader,
        "_begin_anew",
        _follows_wrong_bytes,
        "a whole answer that is wrong",
    ),
    "nobody looks at the hash": (Copy, "is_right", lambda *_: True, "wrong"),
    "holes are read": (FillView, "reach", lambda self, offset: self.size or 0, "wrong bytes|too short"),
    "nobody joins a fill": (FillTable, "running", _nothing, "came twice|are closed"),
    "nobody tells readers": (Audience, "poke", _nothing, "not told|never told"),
    "a disk that is full fails the pull": (Fill, "_pass_on", _all_fails, "a pull failed"),
    "a connection is counted for ever": (Lines, "close", _nothing, "are counted that are closed"),
    "the first connection stays open": (Tail, "close", _nothing, "left open"),
    "files of readers stay open": (FillReader, "_close_file", _nothing, "files are left open"),
    "somebody looks at the pace for ever": (Pace, "stop", _nothing, "timers are left"),
    "a line that breaks is the end": (Ranges, "_first", _first_alone, "a pull failed|came twice"),
    "a pause throws away what came": (
        FillView,
        "leaves_some",
        property(lambda self: False),
        "came twice|does not stop",
    ),
    "the daemon ends without a word": (Fill, "_fail", _nothing, "told"),
}


ONLY: dict[str, tuple[set[str], str]] = {
    "nothing is held back": ({"lies"}, "finish"),
    "a rejected spool is followed by the next": ({"lies"}, "finish"),
    "nobody looks at the hash": ({"lies"}, "finish"),
    "a disk that is full fails the pull": ({"the disk"}, "finish"),
    "a line that breaks is the end": ({"breaks"}, "finish"),
    "a pause throws away what came": (set(), "pause"),
}
"""What leads to it, so that it need not be looked for among all that does not."""


class LeftOnce(Histories):
    """Somebody has left in the middle before anything else happens."""

    def begun(self) -> None:
        self.ask((0, SIZE), 0, True)
        self.give(0, 6000)
        self.leave(0)


@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_sabotage_is_noticed(sabotage: str) -> None:
    owner, name, instead, noticed = SABOTAGES[sabotage]
    base = LeftOnce if "pause" in sabotage else Histories
    machine = type("Sabotaged", (base,), {"only": ONLY.get(sabotage)})
    eager = settings(
        CALM,
        max_examples=1000,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
    )
    with patch.object(owner, name, instead), pytest.raises(AssertionError, match=noticed):
        run_state_machine_as_test(machine, settings=eager)
