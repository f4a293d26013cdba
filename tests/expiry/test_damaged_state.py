"""A state that was cut, or is none: every whole line counts, the rest comes from the disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regproxy.expiry.entries import Entry, key_of
from regproxy.expiry.lines import journal_header, journal_line
from regproxy.interfaces import Held, Kind
from tests.expiry.world import (
    CORP,
    DAY_S,
    NGINX,
    ONE,
    STATE,
    TAG,
    TTL_S,
    TWO,
    WALL_S,
    World,
    digest,
    document,
    populate,
    uses,
)


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
