"""State against disk: entries of what is not there go, what has none gets one, paths in it open nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from regproxy.interfaces import Held, Kind
from tests.expiry.world import CORP, NGINX, ONE, STATE, TAG, TWO, WALL_S, World, digest


def state_of(*keys: str) -> bytes:
    lines = [f'{json.dumps(key)}:{{"type":"blob","used":{int(WALL_S)},"size":10,"pulls":3}}' for key in keys]
    entries = ",\n".join(lines)
    return (
        f'{{"version":1,"saved":"2027-01-15T08:00:00Z","journal":0,"entries":{{\n{entries}\n}}}}\n'.encode()
    )


def keys(world: World) -> set[str]:
    return set(world.scheduler._entries)


def test_entries_of_what_is_gone_go_with_the_survey(world: World) -> None:
    """As after a folder was restored from an old backup; what is there keeps what is known of its use."""
    (world.folder / STATE).write_bytes(state_of(f"{NGINX}@{ONE}", f"{NGINX}@{TWO}", f"{CORP}@{TWO}"))
    world.shelf.put(NGINX, ONE)
    world.begin(survey=False)
    assert len(keys(world)) == 3
    world.shelf.survey()
    world.pass_s(1)
    assert keys(world) == {f"{NGINX}@{ONE}"}
    used = world.scheduler.entry(NGINX, ONE)
    assert used is not None
    assert used[1] == 3
    world.pass_s(10)
    world.kill()
    world.begin(survey=False)
    assert keys(world) == {f"{NGINX}@{ONE}"}, "also in the file"


def test_what_comes_while_it_runs_stays(world: World) -> None:
    """Whether the walk came by before or after."""
    world.shelf.put(NGINX, ONE)
    world.begin(survey=False)
    world.shelf.watcher.found([Held(NGINX, ONE, Kind.BLOB, 10)])
    world.shelf.put(NGINX, TWO)
    world.shelf.put(NGINX, TAG, None)
    world.shelf.watcher.surveyed()
    world.pass_s(1)
    assert keys(world) == {f"{NGINX}@{ONE}", f"{NGINX}@{TWO}", f"{NGINX}:{TAG}"}


def test_each_survey_by_itself(world: World) -> None:
    for number in range(50):
        world.shelf.put(NGINX, digest(number))
    world.begin()
    world.pass_s(1)
    assert len(keys(world)) == 50
    for number in range(0, 50, 2):
        del world.shelf.held[NGINX, digest(number)]
    world.shelf.survey()
    world.pass_s(1)
    world.shelf.survey()
    world.pass_s(1)
    assert len(keys(world)) == 25


@pytest.mark.parametrize(
    "key",
    [
        "docker.io/../../../etc:passwd",
        "docker.io/library/..:x",
        "../x/y:latest",
        "/etc/passwd:x",
        "docker.io/a@sha256:../../../../etc/passwd",
        "docker.io/a\\u0000b:x",
        "docker.io/_layers/x:y",
        "docker.io/a:../b",
    ],
)
def test_paths_in_the_state_are_no_entries(world: World, key: str) -> None:
    """Nothing is removed, or looked at, by what they say; the daemon starts."""
    outside = Path(world.folder).parent / "etc"
    outside.mkdir(exist_ok=True)
    (outside / "passwd").write_text("kept")
    (world.folder / STATE).write_bytes(state_of(key, f"{NGINX}@{ONE}"))
    world.shelf.put(NGINX, ONE)
    world.begin()
    world.pass_s(30 * 86_400)
    assert all(repository == NGINX for repository, _ in world.shelf.expired)
    assert (outside / "passwd").read_text() == "kept"
