"""The scrub: what is hashed when, what goes before it, what a restart remembers, what is told."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from regproxy.interfaces import Examined, Kind, Verdict
from regproxy.upkeep.record import Bad, Record
from regproxy.upkeep.scrubber import MAX_UNREADABLE, SAVE_S
from tests.conftest import LoggedFailures
from tests.upkeep.world import BEGAN_S, DAY_S, MIB, NGINX, World, digest

ALL = [digest(number, 8) for number in range(8)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_each_has_its_turn_once_in_a_pass(world: World) -> None:
    """In the order of the digits, spread over the pass, and again a pass later."""
    world.shelf.put(*ALL)
    world.begin()
    world.go_on(48.1 * DAY_S, 3600.0)
    assert world.order == [*ALL, *ALL, ALL[0]]
    for number, (_, at_s) in enumerate(world.shelf.hashed):
        assert at_s == pytest.approx(number * 3 * DAY_S, abs=3601)
    last = world.scrubber.state().last
    assert last is not None
    assert (last.blobs, last.bytes, last.bad, last.full) == (8, 8 * MIB, 0, False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10, deadline=None)
@given(data=st.data())
def test_whatever_comes_and_goes_no_blob_waits_longer_than_the_period(
    tmp_path: Path, data: st.DataObject
) -> None:
    """Restarts and kills included, some of them long."""
    world = World(tmp_path)
    world.file.write(Record())
    world.begin()
    born: dict[object, float] = {}
    for _ in range(40):
        world.go_on(data.draw(st.sampled_from([0.2, 1.0, 2.0])) * DAY_S, 3600.0)
        act = data.draw(st.sampled_from(["come", "come", "go", "restart", "kill"]))
        if act == "come":
            one = digest(data.draw(st.integers(0, 255)))
            if one not in world.shelf.blobs:
                world.shelf.put(one, mtime_s=world.wall())
                born[one] = world.clock.seconds()
        elif act == "go" and world.shelf.blobs:
            world.shelf.blobs.pop(data.draw(st.sampled_from(sorted(world.shelf.blobs))))
        elif act in ("restart", "kill"):
            world.restart(kill=act == "kill")
    for one in world.shelf.blobs:
        seen = [at_s for digest, at_s in world.shelf.hashed if digest == one and at_s >= born[one]]
        moments = [born[one], *seen, world.clock.seconds()]
        gaps = [after - before for before, after in pairwise(moments)]
        assert max(gaps) <= 30 * DAY_S + 2 * 3600


def test_off_hashes_nothing_until_somebody_asks(tmp_path: Path) -> None:
    world = World(tmp_path, None)
    world.shelf.put(*ALL)
    world.begin()
    world.go_on(90 * DAY_S, 3600.0)
    assert world.order == []
    assert world.scrubber.now()
    assert world.order == ALL


def test_now_is_all_of_it_at_once_and_once(world: World) -> None:
    """Whatever clients do; the usual schedule does not change, but what was just hashed is left out."""
    world.shelf.put(*ALL)
    world.begin()
    world.go_on(4 * DAY_S, 3600.0)
    assert world.order == ALL[:2]
    world.busy = True
    assert world.scrubber.now()
    assert world.order == [*ALL[:2], *ALL]
    state = world.scrubber.state()
    assert not state.full
    assert state.last is not None
    assert (state.last.full, state.last.blobs) == (True, 8)
    world.busy = False
    world.go_on(4 * DAY_S, 3600.0)
    assert world.order == [*ALL[:2], *ALL], "its turn came within the days that it may wait"
    world.go_on(4.1 * DAY_S, 3600.0)
    assert world.order == [*ALL[:2], *ALL, ALL[4]]


def test_now_while_one_blob_is_hashed_slowly_hurries_it(world: World) -> None:
    world.shelf.put(ALL[0], size_bytes=4096 * MIB)
    world.begin()
    world.go_on(60, 1.0)
    assert world.order == []
    assert world.scrubber.now()
    assert world.order == [ALL[0], ALL[0]]


def test_one_that_runs_is_enough(world: World) -> None:
    assert world.scrubber.now()
    assert not world.scrubber.now()
    world.shelf.put(*ALL)
    world.begin()
    assert world.order == ALL, "what was asked for before the state was read is not forgotten"


def test_the_pace(world: World) -> None:
    """4 GiB of one blob in a period of 30 days: the least pace, 1 MiB a second."""
    world.shelf.put(ALL[0], size_bytes=600 * MIB)
    world.begin()
    world.go_on(590, 1.0)
    assert world.order == []
    world.go_on(20, 1.0)
    assert world.order == [ALL[0]]


def test_clients_go_first_but_not_for_ever(world: World) -> None:
    world.shelf.put(*ALL)
    world.busy = True
    world.begin()
    world.go_on(2 * DAY_S, 600.0)
    assert world.order == []
    world.go_on(1 * DAY_S, 600.0)
    assert world.order[0] == ALL[0]
    world.go_on(24 * DAY_S, 600.0)
    assert set(ALL) <= set(world.order)


def test_a_restart_goes_on_where_it_was(world: World) -> None:
    world.shelf.put(*ALL)
    world.begin()
    world.go_on(7 * DAY_S, 3600.0)
    assert world.order == ALL[:3]
    world.restart()
    world.go_on(3 * DAY_S, 3600.0)
    assert world.order == ALL[:4]
    state = world.scrubber.state()
    assert state.blobs == 4
    assert state.share == pytest.approx(3 / 8)


def test_a_pass_that_was_asked_for_goes_on_after_a_kill(tmp_path: Path) -> None:
    """What was written is a minute old at most."""
    world = World(tmp_path, None)
    world.shelf.put(*ALL)
    world.begin()
    world.scrubber.record = Record()
    world.shelf.broken = True
    assert world.scrubber.now()
    world.go_on(SAVE_S)
    world.shelf.broken = False
    world.file.write(world.scrubber.record)
    world.restart(kill=True)
    assert world.order == ALL


def test_a_file_that_nobody_understands_begins_a_pass(world: World, caplog: object) -> None:
    world.file.path.write_bytes(b"\0\0")
    world.shelf.put(*ALL)
    world.begin()
    assert world.scrubber.record.usual is not None
    assert world.scrubber.record.usual.began_s == BEGAN_S


def test_a_bad_one_is_told_counted_and_remembered(world: World) -> None:
    world.shelf.put(*ALL)
    world.shelf.verdicts[ALL[2]] = Verdict.WRONG
    world.begin()
    assert world.scrubber.now()
    assert world.bad == [(ALL[2], ((NGINX, Kind.BLOB),))]
    assert world.counted.count(("right", MIB)) == 8
    assert world.counted.count(("wrong", MIB)) == 1
    state = world.scrubber.state()
    assert state.found == (Bad(ALL[2], world.wall(), "wrong"),)
    assert state.last is not None
    assert state.last.bad == 1
    kept = world.file.read()
    assert kept is not None
    assert kept.bad == state.found


def test_one_that_went_meanwhile_is_no_bad_one(world: World) -> None:
    world.shelf.put(*ALL[:2])
    world.begin()
    world.go_on(1)
    world.shelf.blobs.clear()
    world.go_on(20 * DAY_S, 3600.0)
    assert world.bad == []
    assert world.scrubber.state().bad == 0


def test_a_disk_that_fails_is_left_alone(world: World) -> None:
    """It must not cost all that is there."""
    many = [digest(number) for number in range(64)]
    world.shelf.put(*many)
    world.shelf.verdicts.update(dict.fromkeys(many, Verdict.UNREADABLE))
    world.begin()
    assert world.scrubber.now()
    assert len(world.bad) == MAX_UNREADABLE
    world.go_on(500)
    assert len(world.bad) == MAX_UNREADABLE
    world.go_on(200)
    assert len(world.bad) == 2 * MAX_UNREADABLE


def test_a_folder_that_cannot_be_listed_is_tried_again(world: World) -> None:
    world.shelf.put(*ALL)
    world.shelf.broken = True
    world.begin()
    world.go_on(3000)
    assert world.shelf.listings <= 6
    world.shelf.broken = False
    world.go_on(700)
    assert world.order == ALL[:1]


def test_a_disk_that_takes_no_writes_does_not_stop_it(world: World) -> None:
    world.shelf.put(*ALL)
    world.folder.rmdir()
    world.begin()
    assert world.scrubber.now()
    assert world.order == [ALL[0], *ALL]


def test_a_clock_that_is_set_back_or_far_ahead(world: World) -> None:
    """Neither stands still for years, nor hashes for nothing again and again."""
    world.shelf.put(*ALL)
    world.begin()
    world.go_on(7 * DAY_S, 3600.0)
    world.shift_s = -1000 * DAY_S
    world.go_on(3.1 * DAY_S, 3600.0)
    assert world.order == ALL[:4]
    world.shift_s = 1000 * DAY_S
    world.go_on(7 * DAY_S, 3600.0)
    assert len(world.order) < 20
    assert set(ALL) <= set(world.order)


def test_stopping_in_the_middle_of_a_blob(world: World) -> None:
    """It is let go of, nothing is left to be called, and how far it was is written."""
    world.shelf.put(ALL[0], ALL[1], size_bytes=4096 * MIB)
    world.begin()
    world.go_on(60, 1.0)
    world.restart()
    assert len(world.clock.getDelayedCalls()) == 1
    kept = world.file.read()
    assert kept is not None
    assert kept.usual is not None


def test_a_survey_is_remembered(world: World) -> None:
    from tests.upkeep.world import done

    world.begin()
    world.go_on(100)
    done(world.scrubber.surveyed())
    world.restart(kill=True)
    assert world.scrubber.state().surveyed_s == BEGAN_S + 100


def test_one_that_cannot_be_looked_at_does_not_keep_the_others_from_their_turn(
    world: World, said: list[str]
) -> None:
    """Of another user, or behind a fault of the file system: it is tried again once."""
    world.shelf.put(*ALL)
    world.shelf.refused = {ALL[2]}
    world.begin()
    assert world.scrubber.now()
    assert world.order == [ALL[0], *ALL[:2]]
    world.go_on(700)
    assert world.order == [ALL[0], *ALL[:2], *ALL[3:]]
    assert world.scrubber.state().last is not None
    assert world.bad == []
    assert len([line for line in said if str(ALL[2]) in line]) == 1
    world.go_on(60 * DAY_S, 3600.0)
    last = world.scrubber.state().last
    assert last is not None
    assert not last.full
    assert last.blobs == len(ALL) - 1


def test_a_fault_of_ours_ends_it_until_the_next_survey_only(
    world: World, logged_failures: LoggedFailures
) -> None:
    world.shelf.put(*ALL)
    examine, world.shelf.examine = world.shelf.examine, fault  # type: ignore[method-assign]
    world.begin()
    world.go_on(60)
    assert world.order == []
    assert len(logged_failures.flush(RuntimeError)) == 1
    world.shelf.examine = examine  # type: ignore[method-assign]
    world.scrubber.begin()
    world.go_on(60)
    assert world.order == ALL[:1]


def fault(*_: object) -> Deferred[Examined]:
    raise RuntimeError("a fault")


def test_what_comes_into_a_folder_that_was_listed_has_its_turn_in_this_pass(world: World) -> None:
    first, second, third = (digest(number, 4096) for number in (1, 5, 9))
    world.shelf.put(first, third)
    world.begin()
    world.go_on(700)
    assert world.order == [first]
    world.shelf.put(second)
    world.go_on(4500)
    assert world.order == [first, second, third]


def test_unreadable_ones_with_right_ones_between_are_no_bad_disk(world: World) -> None:
    """The pass goes on: each is a bad blob."""
    many = [digest(number) for number in range(4 * MAX_UNREADABLE)]
    world.shelf.put(*many)
    world.shelf.verdicts.update(dict.fromkeys(many[::2], Verdict.UNREADABLE))
    world.begin()
    assert world.scrubber.now()
    assert len(world.bad) == 2 * MAX_UNREADABLE
