"""What pins keep: known at once, never too little, and let go when it is not needed any more."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import Deferred

from regproxy.eviction.limits import Limits
from regproxy.eviction.pinned import SOON_S
from regproxy.oci.images import ImagePattern
from tests.eviction.world import MIB, NGINX, REDIS, World, digest, key_of


def world(tmp_path: Path, *pins: str) -> World:
    made = World(tmp_path, Limits(None, 0), *pins)
    made.shelf.image(NGINX, 100, 1, 2, tag="v1")
    made.shelf.image(NGINX, 101, 2, 3, tag="v2")
    made.shelf.image(REDIS, 102, 1, tag="v1")
    return made


def kept(made: World) -> set[str]:
    return {
        key.rpartition("library/")[2].replace("sha256:" + "0" * 60, "")
        for key in made.shelf.entries
        if made.evictor.pinned.holds(key)
    }


def short(*numbers: int, where: str = "nginx") -> set[str]:
    return {f"{where}@{number:04x}" for number in numbers}


def test_an_image_with_all_that_it_needs(tmp_path: Path) -> None:
    made = world(tmp_path, f"{NGINX}:v1")
    made.begin()
    assert kept(made) == {"nginx:v1", *short(100, 1, 2)}
    assert made.evictor.pinned.disk_bytes == 2 * MIB


def test_before_all_is_known_nothing_of_a_pinned_repository_goes(tmp_path: Path) -> None:
    """Pins of operators are not even read yet, first."""
    made = world(tmp_path, f"{NGINX}:v1")
    assert kept(made) == kept(made) | {"redis:v1"}
    made.evictor.start()
    made.settle()
    assert kept(made) == {"nginx:v1", "nginx:v2", *short(100, 101, 1, 2, 3)}


def test_without_pins_nothing_is_looked_at(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.begin()
    assert kept(made) == set()
    looks = made.shelf.looks
    made.shelf.put(NGINX, 9)
    made.later(SOON_S)
    assert made.shelf.looks == looks


def test_a_tag_that_moves_keeps_the_new_and_lets_the_old_go(tmp_path: Path) -> None:
    made = world(tmp_path, f"{NGINX}:v1")
    made.begin()
    made.shelf.image(NGINX, 103, 4, tag="v1")
    assert key_of(NGINX, digest(103)) in made.shelf.entries
    assert short(100, 1, 2, 103, 4) <= kept(made), "in between all of it stays"
    made.later(SOON_S)
    assert kept(made) == {"nginx:v1", *short(103, 4)}


def test_what_an_image_needs_and_comes_later_is_kept_too(tmp_path: Path) -> None:
    made = world(tmp_path, f"{NGINX}:v1")
    made.shelf.named[digest(100)] = (digest(1), digest(2), digest(5))
    made.begin()
    made.shelf.put(NGINX, 7)
    made.shelf.put(NGINX, 5)
    assert kept(made) == {"nginx:v1", *short(100, 1, 2, 5)}
    made.later(SOON_S)
    assert kept(made) == {"nginx:v1", *short(100, 1, 2, 5)}


def test_pinned_and_unpinned_while_it_runs(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.begin()
    pattern = ImagePattern.parse("docker.io/library/r*:v1")
    Deferred.fromCoroutine(made.pins.add(pattern))
    made.settle()
    assert kept(made) == {"redis:v1", *short(102, 1, where="redis")}
    Deferred.fromCoroutine(made.pins.remove(pattern))
    made.settle()
    assert kept(made) == set()


def test_a_change_while_it_is_worked_out(tmp_path: Path) -> None:
    made = world(tmp_path, f"{NGINX}:v1")
    made.evictor.start()
    made.evictor.surveyed()
    made.clock.advance(0)  # it gathers uses now
    made.shelf.image(NGINX, 103, 4, tag="v1")
    made.settle()
    assert short(103, 4) <= kept(made)
    made.later(SOON_S)
    assert kept(made) == {"nginx:v1", *short(103, 4)}


def test_a_manifest_that_cannot_be_read_keeps_all_that_it_may_need(tmp_path: Path) -> None:
    """Until its bytes are here again: nobody knows what it names."""
    made = world(tmp_path, f"{NGINX}:v1")
    names = made.shelf.named.pop(digest(100))
    made.begin()
    assert kept(made) == {"nginx:v1", *short(100, 101, 1, 2, 3)}
    made.shelf.named[digest(100)] = names
    made.shelf.put(NGINX, 100, 0, type="manifest")
    made.later(SOON_S)
    assert kept(made) == {"nginx:v1", *short(100, 1, 2)}


def test_a_pinned_tag_whose_manifest_comes_back_alone(tmp_path: Path) -> None:
    """It was fetched by its digest: no tag record is written, and what it needs is kept all the same."""
    made = world(tmp_path, f"{NGINX}:v1")
    del made.shelf.entries[key_of(NGINX, digest(100))]
    made.begin()
    assert kept(made) == {"nginx:v1"}
    made.shelf.put(NGINX, 100, 0, type="manifest")
    assert short(100, 1, 2) <= kept(made)
    made.later(SOON_S)
    assert kept(made) == {"nginx:v1", *short(100, 1, 2)}


def test_who_asks_right_after_the_survey_waits_until_it_is_known(tmp_path: Path) -> None:
    """Else all of a pinned repository would be fetched again that was lost, and not what is pinned alone."""
    made = world(tmp_path, f"{NGINX}:v1")
    made.evictor.start()
    made.evictor.surveyed()
    seen: list[set[str]] = []
    made.evictor.pinned.settled().addCallback(lambda _: seen.append(kept(made)))
    assert seen == []
    made.settle()
    assert seen == [{"nginx:v1", *short(100, 1, 2)}]
