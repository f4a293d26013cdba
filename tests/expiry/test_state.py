"""The state file survives everything: cuts, kills, rubbish, other versions, disks that refuse."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from regproxy.compose import Expiry
from regproxy.expiry import saving
from regproxy.expiry import scheduler as scheduler_module
from regproxy.expiry.entries import Entry, key_of, parse_key
from regproxy.expiry.files import StateFiles
from regproxy.expiry.lines import journal_header, journal_line, member, parse_header, parse_line, state_header
from regproxy.expiry.slices import Slices
from regproxy.interfaces import Held, Kind
from regproxy.oci.tag import Tag
from regproxy.storage.thread import DiskThread
from tests.expiry.world import CORP, DAY_S, NGINX, TAG, TTL_S, WALL_S, Shelf, World, digest

ONE, TWO = digest(1), digest(2)
STATE = "scheduler-state.json"


def document(world: World) -> Any:
    return json.loads((world.folder / STATE).read_bytes())


def uses(world: World) -> dict[str, tuple[str, float, int, int]]:
    """What the scheduler knows, with wall times."""
    found = {}
    entries = world.scheduler._entries
    for key in entries:
        entry = entries.get(key)
        assert entry is not None
        wall_s = world.scheduler._timeline.to_wall(entry.used_s)
        found[key] = (entry.type, round(wall_s, 3), entry.size_bytes, entry.pulls)
    return found


def populate(world: World) -> None:
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.shelf.put(CORP, TWO, Kind.MANIFEST)
    world.shelf.put(CORP, TAG, None)
    world.pass_s(DAY_S)
    world.scheduler.used(NGINX, ONE)


def test_the_state_is_json_with_an_entry_a_line(world: World) -> None:
    """As people can read it, and grep it."""
    populate(world)
    world.end()
    lines = (world.folder / STATE).read_text().splitlines()
    assert len(lines) == 5
    assert (
        f'"docker.io/library/nginx@{ONE}":{{"type":"blob","used":{int(WALL_S + DAY_S)},"size":10,"pulls":2}}'
        in (line.rstrip(",") for line in lines)
    )
    whole = document(world)
    assert (whole["version"], whole["saved"]) == (1, "2027-01-16T08:00:00Z")
    assert whole["entries"][f"registry.corp:5000/team/app:{TAG}"]["type"] == "tag"
    assert len(whole["entries"]) == 3


def test_an_empty_state_is_json_too(world: World) -> None:
    """It is written at first start."""
    world.begin()
    assert document(world)["entries"] == {}


def test_a_restart_in_the_middle_keeps_the_rest_of_the_time(world: World) -> None:
    """Stopped cleanly."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(3 * DAY_S)
    world.end()
    world.begin()
    world.pass_s(4 * DAY_S - 1)
    assert world.shelf.expired == []
    world.pass_s(61)
    assert world.shelf.expired == [(NGINX, ONE)]


def test_a_kill_loses_seconds_of_last_used_and_no_entry(world: World) -> None:
    """The journal has all but the last five seconds."""
    populate(world)
    world.pass_s(5)
    before = uses(world)
    world.shelf.put(NGINX, TWO)
    world.kill()
    world.begin(survey=False)
    assert uses(world) == before
    world.shelf.survey()
    assert set(uses(world)) == {*before, f"{NGINX}@{TWO}"}


def test_what_expired_while_the_daemon_was_down_goes_soon_after_start(world: World) -> None:
    """In slices, within a slot."""
    world.begin()
    for number in range(300):
        world.shelf.put(NGINX, digest(number))
    world.end()
    world.clock.advance(TTL_S + DAY_S)
    world.begin()
    world.pass_s(61)
    assert len(world.shelf.expired) == 300


def test_after_a_very_long_time_nothing_goes_at_once(world: World) -> None:
    """More than 30 days: a wrong clock is likelier; the time that was left counts from now."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(DAY_S)
    world.end()
    world.clock.advance(31 * DAY_S)
    world.begin()
    world.pass_s(TTL_S - DAY_S - 1)
    assert world.shelf.expired == []
    world.pass_s(61)
    assert world.shelf.expired == [(NGINX, ONE)]


def test_a_clock_before_the_state(world: World) -> None:
    """The time that was left counts, and a later right clock is no jump into expiry."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(DAY_S)
    world.end()
    world.wall.ahead_s -= 400 * DAY_S
    world.begin()
    world.pass_s(TTL_S - DAY_S - 1)
    assert world.shelf.expired == []
    world.pass_s(61)
    assert world.shelf.expired == [(NGINX, ONE)]


@pytest.mark.parametrize("header", [b"rubbish", b'{"version":1,"saved":"yesterday","entries":{', b""])
@pytest.mark.parametrize("ahead_s", [365 * DAY_S, 31 * DAY_S + TTL_S])
def test_a_clock_far_ahead_and_a_damaged_first_line(world: World, header: bytes, ahead_s: float) -> None:
    """When it was saved is not known then; the uses in it tell the time as well."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(DAY_S)
    world.shelf.put(NGINX, TWO)
    world.end()
    path = world.folder / STATE
    _, *lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([header + b"\n", *lines]))
    world.wall.ahead_s += ahead_s
    world.begin()
    world.pass_s(TTL_S - DAY_S - 1)
    assert world.shelf.expired == []
    world.pass_s(61)
    assert world.shelf.expired == [(NGINX, ONE)]
    world.pass_s(DAY_S)
    assert world.shelf.expired == [(NGINX, ONE), (NGINX, TWO)]


def test_a_short_life_is_written_sooner(world: World) -> None:
    """A use is on disk within a quarter of the life, so that a kill right after it removes nothing early."""
    world.ttls[CORP.upstream] = 2.0
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.shelf.put(CORP, TWO)
    world.pass_s(1.9)
    world.scheduler.used(NGINX, ONE)
    world.scheduler.used(CORP, TWO)
    world.pass_s(0.5)
    world.kill()
    world.begin(survey=False)
    assert uses(world)[f"{CORP}@{TWO}"][1] >= WALL_S + 1.9
    world.pass_s(1.4)
    assert world.shelf.expired == []


def test_a_use_in_the_future_counts_as_now(world: World) -> None:
    """It lives no longer than a full life from the start."""
    world.begin()
    world.end()
    line = f'"{NGINX}@{ONE}":{{"type":"blob","used":{int(WALL_S + 90 * DAY_S)},"size":1,"pulls":1}}\n'
    path = world.folder / STATE
    path.write_bytes(path.read_bytes().replace(b'"entries":{\n', b'"entries":{\n' + line.encode()))
    world.begin(survey=False)
    assert uses(world)[f"{NGINX}@{ONE}"][1] == WALL_S


def test_a_changed_ttl_applies_to_old_entries(world: World) -> None:
    """Uses are stored, deadlines computed (P35)."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(2 * DAY_S)
    world.end()
    world.ttl_s = DAY_S
    world.begin()
    world.pass_s(60)
    assert world.shelf.expired == [(NGINX, ONE)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 4096,
        b"[]\n",
        b"{}",
        b'{"version":1}',
        b"\xff\xfe rubbish\n" * 50,
        b"x" * 1_000_000,
        b'{"version":2,"saved":"2027-01-16T08:00:00Z","entries":{\n"a.b/c:d":{"type":"tag","used":5}\n}}\n',
        b'{"version":1,"saved":"yesterday","journal":0,"entries":{\n}}\n',
        b'{"version":1,"saved":"2027-01-16T08:00:00Z","journal":-1,"entries":{\n}}\n',
    ],
)
def test_a_state_that_is_none_is_moved_aside(world: World, content: bytes) -> None:
    """The daemon starts; what is on disk gets entries with a full life (P12)."""
    (world.folder / STATE).write_bytes(content)
    world.shelf.put(NGINX, ONE)
    world.begin()
    assert (world.folder / f"{STATE}.damaged").read_bytes() == content
    assert uses(world) == {f"{NGINX}@{ONE}": ("blob", WALL_S, 10, 0)}
    world.pass_s(6)
    world.kill()
    world.begin(survey=False)
    assert list(uses(world)) == [f"{NGINX}@{ONE}"]


def test_valid_lines_among_rubbish_count(world: World) -> None:
    """And the journal on top of them."""
    populate(world)
    world.pass_s(60)
    world.end()
    path = world.folder / STATE
    first, *lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, b'"rubbish\n', *lines]))
    journal = sorted(world.folder.glob("scheduler-state.journal.*"))[-1]
    with journal.open("ab") as more:
        more.write(
            f'{{"{NGINX}@{TWO}":{{"type":"blob","used":{int(WALL_S)},"size":3,"pulls":9}}}}\n'.encode()
        )
        more.write(f'{{"{CORP}:{TAG}":null}}\n{{"torn'.encode())
    world.begin(survey=False)
    found = uses(world)
    assert found[f"{NGINX}@{TWO}"] == ("blob", WALL_S, 3, 9)
    assert found[f"{NGINX}@{ONE}"] == ("blob", WALL_S + DAY_S, 10, 2)
    assert f"{CORP}:{TAG}" not in found
    assert path.with_name(f"{STATE}.damaged").exists()
    assert len(document(world)["entries"]) == 3


def test_no_state_but_journals(world: World) -> None:
    """Somebody removed it: the journal still counts."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(6)
    before = uses(world)
    world.kill()
    (world.folder / STATE).unlink()
    world.begin(survey=False)
    assert uses(world) == before


def test_a_folder_under_its_name(world: World) -> None:
    """Whatever stands there, the daemon starts."""
    (world.folder / STATE).mkdir()
    world.shelf.put(NGINX, ONE)
    world.begin()
    assert list(uses(world)) == [f"{NGINX}@{ONE}"]


def whole_state() -> bytes:
    """A state of twenty entries, last used on different days."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        world.begin()
        for number in range(20):
            world.shelf.put(NGINX, digest(number))
            world.pass_s(3600)
        world.end()
        return (Path(folder) / STATE).read_bytes()


WHOLE = whole_state()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.booleans())
def test_cut_at_any_byte(cut: int, zeros: bool) -> None:
    """Nothing expires early, every whole line counts, and the rest comes from the disk."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        world.clock.advance(20 * 3600)
        content = WHOLE[:cut] + (b"\0" * (len(WHOLE) - cut) if zeros else b"")
        (world.folder / STATE).write_bytes(content)
        for number in range(20):
            world.shelf.held[NGINX, digest(number)] = Held(NGINX, digest(number), Kind.BLOB, 10)
        world.begin()
        found = uses(world)
        assert len(found) == 20
        whole_lines = WHOLE[:cut].count(b"\n") - 1
        used = [found[f"{NGINX}@{digest(number)}"][1] for number in range(20)]
        kept = sum(used_s == WALL_S + number * 3600 for number, used_s in enumerate(used))
        assert kept >= min(20, max(0, whole_lines))
        assert min(used) >= WALL_S
        assert len(document(world)["entries"]) >= kept
        world.pass_s(TTL_S - 20 * 3600 - 120)
        assert world.shelf.expired == []
        world.pass_s(TTL_S + 120)
        assert len(world.scheduler) == 0
        world.end()


def whole_journal() -> bytes:
    """A journal of twenty entries behind an empty state."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        world.begin()
        for number in range(20):
            world.shelf.put(NGINX, digest(number))
            world.pass_s(3600)
        world.kill()
        (path,) = Path(folder).glob("*.journal.*")
        return path.read_bytes()


JOURNAL = whole_journal()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(JOURNAL) - 1), st.booleans())
def test_a_journal_cut_at_any_byte(cut: int, zeros: bool) -> None:
    """Every whole line counts; what it lost the survey finds."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        world.clock.advance(20 * 3600)
        content = JOURNAL[:cut] + (b"\0" * (len(JOURNAL) - cut) if zeros else b"")
        (world.folder / "scheduler-state.journal.7").write_bytes(content)
        for number in range(20):
            world.shelf.held[NGINX, digest(number)] = Held(NGINX, digest(number), Kind.BLOB, 10)
        world.begin()
        used = [uses(world)[f"{NGINX}@{digest(number)}"][1] for number in range(20)]
        kept = sum(used_s == WALL_S + number * 3600 for number, used_s in enumerate(used))
        assert kept >= max(0, JOURNAL[:cut].count(b"\n") - 1)
        assert min(used) >= WALL_S
        world.pass_s(TTL_S - 20 * 3600 - 120)
        assert world.shelf.expired == []
        world.end()


class MortalFiles(StateFiles):
    """Dies at its ``last`` step, perhaps in the middle of writing."""

    STEPS = (
        "begin_journal", "append", "begin_state", "write_state", "sync_state", "name_state", "remove_journal",
        "abandon_state", "close_journal",
    )  # fmt: skip

    def __init__(self, folder: Path, last: int, torn: bool) -> None:
        super().__init__(folder)
        self.steps = 0
        self.last = last
        self.torn = torn
        self.cutting = False

    def _write(self, descriptor: int, content: bytes) -> None:
        if self.cutting:
            self.cutting = False
            super()._write(descriptor, content[: len(content) // 2])
            raise OSError("killed")
        super()._write(descriptor, content)

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in MortalFiles.STEPS:
            return found

        def step(*args: Any) -> Any:
            if self.steps >= self.last:
                if not self.torn or self.steps > self.last or name not in ("append", "write_state"):
                    raise OSError("killed")
                self.cutting = True
            self.steps += 1
            return found(*args)

        return step


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("last", range(1, 30))
def test_a_kill_at_any_step_of_a_fold(
    world: World, monkeypatch: pytest.MonkeyPatch, last: int, torn: bool
) -> None:
    """Before and after it the same entries, but for what the last five seconds brought."""
    monkeypatch.setattr(saving, "_WRITE_BYTES", 200)
    world.begin()
    for number in range(8):
        world.shelf.put(NGINX, digest(number))
    world.pass_s(3600)
    world.end()
    world.files = files = MortalFiles(world.folder, 10_000, torn)
    world.begin(survey=False)
    world.scheduler.used(NGINX, ONE)
    world.shelf.expire(NGINX, TWO, lambda: True)
    world.shelf.put(NGINX, digest(99))
    world.pass_s(6)
    before = uses(world)
    files.steps, files.last = 0, last
    world.scheduler._saver.want_fold()
    world.scheduler.used(NGINX, digest(3))
    world.pass_s(6)
    after = uses(world)
    world.kill()
    world.begin(survey=False)
    changed = f"{NGINX}@{digest(3)}"
    found = uses(world)
    assert found.pop(changed) in (before.pop(changed), after.pop(changed))
    assert found == before == after
    assert len(list(world.folder.glob("scheduler-state.journal.*"))) <= 4
    world.end()
    assert len(document(world)["entries"]) == 8
    assert len(list(world.folder.glob("scheduler-state.journal.*"))) == 1


def test_a_disk_that_refuses_for_a_while_loses_nothing(world: World) -> None:
    """The changes wait; lines that it cut harm no later ones."""
    world.files = files = MortalFiles(world.folder, 10_000, True)
    world.begin()
    files.steps, files.last = 0, 0
    world.shelf.put(NGINX, ONE)
    world.pass_s(60)
    files.last = 10_000
    world.shelf.put(NGINX, TWO)
    world.pass_s(12)
    before = uses(world)
    world.kill()
    world.begin(survey=False)
    assert uses(world) == before


class FullAtFirst(StateFiles):
    """A disk without room for the first bytes of the first journal, and with room after that."""

    refusals = 1

    def _write(self, descriptor: int, content: bytes) -> None:
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.ENOSPC, "full")
        super()._write(descriptor, content)


def test_a_disk_that_was_full_at_the_start_is_written_later(world: World) -> None:
    """A journal that could not be begun is no reason never to begin one."""
    world.files = FullAtFirst(world.folder)
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(60)
    before = uses(world)
    world.kill()
    world.begin(survey=False)
    assert uses(world) == before
    assert f"{NGINX}@{ONE}" in before


def test_a_read_only_folder(world: World) -> None:
    """It starts, and expires nothing that it cannot remove."""
    world.files = MortalFiles(world.folder, 0, False)
    world.shelf.put(NGINX, ONE)
    world.begin()
    assert list(uses(world)) == [f"{NGINX}@{ONE}"]
    world.pass_s(60)
    world.end()
    assert os.listdir(world.folder) == []


def test_long_journals_are_folded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither many uses nor a long time make them grow without end."""
    monkeypatch.setattr(saving, "FOLD_LINES", 50)
    world.begin()
    world.shelf.put(NGINX, ONE)
    sizes = []
    for _ in range(300):
        world.scheduler.used(NGINX, ONE)
        world.pass_s(6)
        sizes.append(sum(path.stat().st_size for path in world.folder.glob("*.journal.*")))
    assert max(sizes) < 60 * 150
    assert len(list(world.folder.glob("*.journal.*"))) == 1


def test_a_day_old_journal_is_folded(world: World) -> None:
    """So that `saved` is never much older than the last use."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(DAY_S + 60)
    world.scheduler.used(NGINX, ONE)
    world.pass_s(6)
    assert document(world)["saved"] == "2027-01-16T08:01:05Z"


# the end


def test_a_stop_without_time_for_the_whole_state(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal has it all, the old state stays, and no half of a new one."""
    monkeypatch.setattr(saving, "_BATCH", 1)
    monkeypatch.setattr(scheduler_module, "END_S", -1.0)
    monkeypatch.setattr(scheduler_module, "Slices", partial(Slices, slice_s=0.0))
    populate(world)
    before, known = (world.folder / STATE).read_bytes(), uses(world)
    world.end()
    assert (world.folder / STATE).read_bytes() == before
    assert not [path for path in os.listdir(world.folder) if path.endswith(".tmp")]
    monkeypatch.undo()
    world.begin(survey=False)
    assert uses(world) == known


def test_a_stop_ends_a_fold_under_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of a million entries would take longer than a stop may."""
    monkeypatch.setattr(saving, "_BATCH", 1)
    monkeypatch.setattr(scheduler_module, "Slices", partial(Slices, slice_s=0.0))
    world.begin()
    for number in range(200):
        world.shelf.put(NGINX, digest(number))
    world.pass_s(6)
    monkeypatch.setattr(scheduler_module, "END_S", -1.0)
    known = uses(world)
    world.scheduler._saver.want_fold()
    world.scheduler._work("saving", world.scheduler._save)
    for _ in range(40):
        world.one_call()
    assert "saving" in world.scheduler._busy
    stopping = world.scheduler.stop()
    for _ in range(60):
        if not stopping.called:
            world.one_call()
    assert stopping.called
    world.begin(survey=False)
    assert uses(world) == known


async def test_the_thread_ends_also_when_the_end_is_given_up() -> None:
    """A state that cannot be written in time keeps no thread alive."""
    thread = DiskThread(reactor, "test-state")
    await thread.run(int)
    never = Stuck()
    expiry = Expiry(never, None, thread, None)  # type: ignore[arg-type]
    ending = Deferred.fromCoroutine(expiry.end())
    ending.addErrback(lambda failure: failure.trap(CancelledError))
    ending.cancel()
    assert "stopping" in repr(thread)
    await thread.stop()


class Stuck:
    """A scheduler that does not come to its end."""

    def stop(self) -> Deferred[None]:
        return Deferred()


# while it is being read


def test_uses_and_changes_while_the_state_is_read(world: World) -> None:
    """The daemon serves meanwhile: what happens then counts more than what is read."""
    populate(world)
    world.end()
    world.pass_s(DAY_S)
    made = world.make()
    made.used(NGINX, ONE)
    made.gone(CORP, TWO)
    made.added(Held(NGINX, TWO, Kind.BLOB, 4))
    made.used(NGINX, Tag("unknown"))
    made.start()
    world.settle()
    assert uses(world) == {
        f"{NGINX}@{ONE}": ("blob", WALL_S + 2 * DAY_S, 10, 3),
        f"{NGINX}@{TWO}": ("blob", WALL_S + 2 * DAY_S, 4, 1),
        f"{CORP}:{TAG}": ("tag", WALL_S, 0, 0),
    }
    world.pass_s(6)
    world.kill()
    world.begin(survey=False)
    assert len(uses(world)) == 3


def test_a_stop_while_the_state_is_read_writes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the entries would be lost."""
    populate(world)
    world.end()
    before = {path.name: path.read_bytes() for path in world.folder.iterdir()}
    monkeypatch.setattr("tests.expiry.world.at_once", lambda job, *args: Deferred())
    world.make()
    loading = world.scheduler.start()
    world.scheduler.used(NGINX, ONE)
    world.shelf.put(NGINX, digest(5))
    assert not loading.called
    world.end()
    assert loading.called
    assert {path.name: path.read_bytes() for path in world.folder.iterdir()} == before


def test_nothing_is_due_before_the_state_is_read(world: World) -> None:
    """Not begun, it does nothing, and leaves nothing behind."""
    world.make()
    world.shelf.put(NGINX, ONE)
    world.scheduler.used(NGINX, ONE)
    assert not world.clock.getDelayedCalls()
    assert not world.scheduler.loaded
    world.end()
    assert os.listdir(world.folder) == []


# lines


@given(
    st.integers(0, 2**40), st.integers(0, 2**62), st.integers(0, 2**40), st.sampled_from(["blob", "manifest"])
)
def test_lines_are_read_as_they_were_written(used: int, size: int, pulls: int, kind: str) -> None:
    """In the state and in a journal."""
    used %= 10**11
    entry = Entry(kind, float(used), size, pulls)
    key = f"{CORP}@{ONE}"
    for text in (
        member(key, entry, used) + ",",
        member(key, entry, used),
        journal_line(key, entry, used)[:-1],
    ):
        line = parse_line(text.encode())
        assert line is not None
        assert line.entry is not None
        assert (line.key, line.entry.type, line.entry.used_s) == (key, kind, used)
        assert (line.entry.size_bytes, line.entry.pulls) == (size, pulls)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_line_or_rubbish(content: bytes) -> None:
    """Never an error."""
    parse_line(content)
    parse_header(content)


@pytest.mark.parametrize(
    "line",
    [
        b'"a/b":{"type":"blob","used":1}',
        b'"docker.io/a:b":{"type":"blob","used":1}',
        b'"docker.io/a:b":{"type":"tag","used":-1}',
        b'"docker.io/a:b":{"type":"tag","used":1.5}',
        b'"docker.io/a:b":{"type":"tag","used":true}',
        b'"docker.io/a:b":{"type":"tag","used":99999999999999}',
        b'"docker.io/a:b":{"type":"tag","used":1,"size":null}',
        b'"docker.io/../a:b":{"type":"tag","used":1}',
        b'"docker.io/a:b":{"type":"tag","used":1},"docker.io/a:c":{"type":"tag","used":1}',
        b'"docker.io/a:b":[]',
        b'"docker.io/a:b":' + b"[" * 3000,
    ],
)
def test_rubbish_lines(line: bytes) -> None:
    """What does not make sense is not taken."""
    assert parse_line(line) is None


@pytest.mark.parametrize(
    "key", ["docker.io/library/nginx:1.29", f"registry.corp:5000/team/app@{ONE}", "h:1/a:b"]
)
def test_keys_are_read_back(key: str) -> None:
    named = parse_key(key)
    assert named is not None
    mark = "@" if "@" in key else ":"
    assert f"{named[0]}{mark}{named[1]}" == key


def test_headers() -> None:
    header = parse_header(state_header(7, WALL_S))
    assert header is not None
    assert (header.version, header.journal, header.saved_s) == (1, 7, WALL_S)


def test_the_shelf_is_a_store() -> None:
    """The double is one."""
    from zope.interface.verify import verifyObject

    from regproxy.interfaces import IRemovals

    assert verifyObject(IRemovals, Shelf())


def test_a_use_while_entries_are_put_in_order_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was used before: the first use comes while what was read is moved onto the time line."""
    held = [(NGINX, digest(number)) for number in range(5)]
    world.begin()
    for one in held:
        world.shelf.put(*one)
    world.pass_s(6 * DAY_S)
    world.end()
    world.files = StateFiles(world.folder)
    made = world.make()
    with monkeypatch.context() as patched:
        patched.setattr(Slices, "over", property(lambda self: True))
        loading = made.start()
        while not made._filing:
            world.one_call()
        assert not loading.called
        for one in held:
            made.used(*one)
        world.settle()
    world.shelf.survey()
    world.pass_s(2 * DAY_S)
    assert world.shelf.expired == []


@pytest.mark.parametrize("days", [10, -10, 365, -365])
def test_a_clock_that_is_set_just_before_a_stop(world: World, days: float) -> None:
    """Nobody looked at the clocks in between."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(DAY_S)
    world.wall.ahead_s += days * DAY_S
    world.end()
    world.files = StateFiles(world.folder)
    world.begin()
    world.pass_s(60)
    assert world.shelf.expired == []


@pytest.mark.parametrize("days", [10, -10, 365, -365])
def test_a_clock_that_is_set_while_nothing_happens(world: World, days: float) -> None:
    """It is noticed within a minute, and a kill after that changes nothing."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(DAY_S)
    world.wall.ahead_s += days * DAY_S
    world.pass_s(70)
    world.kill()
    world.begin()
    world.pass_s(60)
    assert world.shelf.expired == []


STEPS = (
    "begin_journal",
    "append",
    "begin_state",
    "write_state",
    "sync_state",
    "name_state",
    "remove_journal",
)


@pytest.mark.parametrize("days", [-10, 365, -365])
@pytest.mark.parametrize("last", STEPS)
def test_a_kill_while_a_jump_is_written_down(
    world: World, days: float, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal speaks of the clock of its state until a new state is there."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.shelf.put(NGINX, TWO)
    world.pass_s(DAY_S)
    world.wall.ahead_s += days * DAY_S
    world.scheduler.used(NGINX, TWO)
    dead = []

    def mortal(step: str, todo: Any) -> Any:
        def run(*args: Any) -> Any:
            if step == last or dead:
                dead.append(step)
                raise OSError(errno.EIO, "killed")
            return todo(*args)

        return run

    with monkeypatch.context() as patched:
        for step in STEPS:
            patched.setattr(world.files, step, mortal(step, getattr(world.files, step)))
        world.pass_s(6)
    assert dead
    world.kill()
    world.begin()
    world.pass_s(60)
    assert world.shelf.expired == []
    world.pass_s(8 * DAY_S)
    assert len(world.shelf.expired) == 2


def test_a_journal_from_before_the_state_says_nothing(world: World) -> None:
    """A kill came before it was removed: what it says has been folded, and may be over since."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.end()
    number = document(world)["journal"]
    old = number - 1
    for journal in world.files.journals():
        world.files.remove_journal(journal)
    stale = journal_line(key_of(NGINX, TWO), Entry("blob", 0.0, 10, 7), WALL_S)
    world.files.journal(old).write_bytes(journal_header(old) + stale.encode())
    made = world.begin(survey=False)
    assert made.entry(NGINX, ONE) is not None
    assert made.entry(NGINX, TWO) is None
