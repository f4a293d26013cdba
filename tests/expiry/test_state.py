"""The state outlives the daemon: what it says, and what a restart makes of it."""

from __future__ import annotations

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
