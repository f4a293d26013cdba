"""From uses to holdings: in slices, with the garbage collector held back, and names that are remembered."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from regproxy.eviction.gathering import BREATH, Gathering, parse_key, split_key
from regproxy.eviction.holdings import Holdings
from regproxy.oci.digest import Digest
from regproxy.oci.tag import Tag
from tests.eviction.world import NGINX, REDIS, Shelf, at_once, digest


class Room:
    """A gathering over a shelf, whose thread is the test's."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.shelf = Shelf(self.clock)
        self.gathering = Gathering(self.shelf, self.shelf, at_once)

    def look(self, decide: Callable[[Holdings], Any], **more: Any) -> Any:
        found: list[Any] = []
        Deferred.fromCoroutine(self.gathering.look(decide, **more)).addBoth(found.append)
        self.clock.advance(0)
        [value] = found
        if hasattr(value, "raiseException"):
            value.raiseException()
        return value


@pytest.fixture
def room() -> Room:
    return Room()


def test_what_lies_there_with_what_names_it(room: Room) -> None:
    manifest = room.shelf.image(NGINX, 1, 2, 3, tag="1.29")
    room.shelf.put(REDIS, 9, size=1)

    def decide(held: Holdings) -> Any:
        things = {(each.repository, each.digest): each.disk_bytes for each in held.things}
        return things, {(each.tag, each.digest) for each in held.tags}, dict(held.names)

    things, tags, names = room.look(decide)
    assert {name for name, _ in things} == {str(NGINX), str(REDIS)}
    assert things[str(REDIS), str(digest(9))] == 4096, "whole blocks"
    assert tags == {("1.29", str(manifest))}
    assert names == {str(manifest): (str(digest(2)), str(digest(3)))}


def test_only_the_repositories_that_are_wanted(room: Room) -> None:
    room.shelf.image(NGINX, 1, 2)
    room.shelf.put(REDIS, 9)
    assert room.look(lambda held: {each.repository for each in held.things}, wanted=str(REDIS).__eq__) == {
        str(REDIS)
    }


def test_a_manifest_is_read_once_and_one_that_could_not_be_again(room: Room) -> None:
    asked: list[Digest] = []
    names = room.shelf.names

    def counted(digest: Digest) -> tuple[Digest, ...]:
        asked.append(digest)
        return names(digest)

    room.shelf.names = counted  # type: ignore[method-assign]
    whole = room.shelf.image(NGINX, 1, 2)
    unreadable = room.shelf.image(NGINX, 5)
    for _ in range(3):
        room.look(lambda held: None)
    assert (asked.count(whole), asked.count(unreadable)) == (1, 3)


def test_what_manifests_named_that_are_gone_is_forgotten(room: Room) -> None:
    for number in range(0, 4000, 2):
        room.shelf.image(NGINX, number, number + 1)
    room.look(lambda held: None)
    room.shelf.entries.clear()
    kept = room.shelf.image(NGINX, 1, 2)
    room.look(lambda held: None)
    assert set(room.gathering._names) == {str(kept)}
    assert set(room.gathering._texts) == {str(digest(2))}


class TestQuiet:
    """The garbage collector begins nothing by itself in a look, and gets a few of the newest at a time."""

    def test_while_it_looks_and_no_longer(self, room: Room) -> None:
        room.shelf.put(NGINX, 1)
        assert gc.isenabled()
        assert room.look(lambda held: gc.isenabled()) is False
        assert gc.isenabled()

    def test_one_that_breaks_leaves_it_on(self, room: Room) -> None:
        room.shelf.put(NGINX, 1)
        with pytest.raises(ZeroDivisionError):
            room.look(lambda held: 1 / 0)
        assert gc.isenabled()

    def test_two_at_a_time(self, room: Room) -> None:
        """It is on again when both have ended."""
        other = Room()
        for one in (room, other):
            one.shelf.put(NGINX, 1)

        def decide(held: Holdings) -> tuple[bool, bool]:
            inner = other.look(lambda held: gc.isenabled())
            return inner, gc.isenabled()

        assert room.look(decide) == (False, False)
        assert gc.isenabled()

    def test_where_it_was_off_it_stays_off(self, room: Room) -> None:
        room.shelf.put(NGINX, 1)
        gc.disable()
        try:
            room.look(lambda held: None)
            assert not gc.isenabled()
        finally:
            gc.enable()

    def test_the_newest_are_looked_through_a_few_at_a_time(
        self, room: Room, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And others have a turn as often."""
        generations: list[int] = []
        breaths: list[float] = []
        monkeypatch.setattr(gc, "collect", generations.append)
        monkeypatch.setattr(time, "sleep", breaths.append)
        for number in range(4 * BREATH):
            room.shelf.put(NGINX, number)
        room.look(lambda held: None)
        assert generations == [0] * 4
        assert len([pause_s for pause_s in breaths if pause_s]) == 4


@pytest.mark.parametrize(
    "key",
    [
        "",
        "nginx",
        "docker.io/library/nginx",
        "docker.io/../etc@sha256:00",
        "docker.io/a:b:c d",
        "@",
        ":",
        "docker.io/a@sha256:xyz",
    ],
)
def test_what_is_no_key(key: str) -> None:
    """State on the disk may say anything."""
    assert parse_key(key) is None


def test_keys() -> None:
    assert split_key("docker.io/library/nginx:1.29") == ("docker.io/library/nginx", "1.29", True)
    assert parse_key("docker.io/library/nginx:1.29") == (NGINX, Tag.parse("1.29"))
    assert parse_key(f"docker.io/library/nginx@{digest(1)}") == (NGINX, digest(1))
