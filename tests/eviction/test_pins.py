"""Pins: the file, which anybody may have written, and what operators do."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from regproxy.errors import InvalidRequest, StorageFailed
from regproxy.eviction import pins as pins_module
from regproxy.eviction.evictor import LOOK_S
from regproxy.eviction.limits import Limits
from regproxy.eviction.pins import MAX_FILE_BYTES, Pin, PinFile, Pins
from regproxy.oci.images import ImagePattern
from regproxy.oci.tag import Tag
from tests.eviction.world import NGINX, REDIS, World, at_once, digest, key_of

ONE, TWO, THREE = (ImagePattern.parse(f"{NGINX}:{tag}") for tag in ("1.*", "2", "3"))


def done(doing: Coroutine[Any, Any, Any]) -> Any:
    """What it gives, which must be at hand."""
    found: list[Any] = []
    Deferred.fromCoroutine(doing).addCallback(found.append)
    [value] = found
    return value


def loaded(folder: Path, *written: ImagePattern) -> Pins:
    made = Pins(written, PinFile(folder), at_once)
    done(made.load())
    return made


def test_operators_pins_outlive_a_restart(tmp_path: Path) -> None:
    pins = loaded(tmp_path)
    assert done(pins.add(ONE)) is True
    assert done(pins.add(TWO)) is True
    assert done(pins.add(ONE)) is False
    assert done(pins.remove(TWO)) is True
    assert done(pins.remove(TWO)) is False
    again = loaded(tmp_path)
    assert again.list() == pins.list() == (Pin(ONE, False),)
    assert (tmp_path / "pins").read_text() == f"{NGINX}:1.*\n"
    assert (tmp_path / "pins").stat().st_mode & 0o007 == 0
    assert os.listdir(tmp_path) == ["pins"]


def test_a_change_before_the_file_was_read_costs_no_pin(tmp_path: Path) -> None:
    """An operator is quicker than the start."""
    (tmp_path / "pins").write_text(f"{ONE}\n")
    waiting: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    def in_thread(work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        given: Deferred[Any] = Deferred()
        waiting.append((given, partial(work, *arguments)))
        return given

    pins = Pins((), PinFile(tmp_path), in_thread)
    adding = Deferred.fromCoroutine(pins.add(TWO))
    loading, removing = Deferred.fromCoroutine(pins.load()), Deferred.fromCoroutine(pins.remove(ONE))
    for number in range(3):
        assert loading.called == (number > 1)
        [(given, work)] = waiting
        waiting.clear()
        given.callback(work())
    assert (adding.result, removing.result, waiting) == (True, True, [])
    assert (tmp_path / "pins").read_text() == f"{TWO}\n"
    assert pins.loaded


def test_what_a_kill_left_of_a_change_goes_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / ".pins.tmp").write_text(f"{TWO}\n")
    assert loaded(tmp_path).list() == ()
    assert os.listdir(tmp_path) == []


def test_a_file_that_cannot_be_read_is_not_replaced(tmp_path: Path, said: list[str]) -> None:
    """Once it can be, all of it counts."""
    (tmp_path / "pins").write_text(f"{ONE}\n")
    bad = [True]

    def in_thread(work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return fail(StorageFailed("an I/O error")) if bad[0] else at_once(work, *arguments)

    pins = Pins((), PinFile(tmp_path), in_thread)
    done(pins.load())
    assert (pins.loaded, len(pins)) == (False, 0)
    adding = Deferred.fromCoroutine(pins.add(TWO))
    assert isinstance(failure_of(adding), StorageFailed)
    bad[0] = False
    assert done(pins.add(TWO)) is True
    assert (tmp_path / "pins").read_text() == f"{ONE}\n{TWO}\n"
    assert [line for line in said if "cannot be read" in line] != []


def failure_of(doing: Deferred[Any]) -> BaseException | None:
    found: list[Failure] = []
    doing.addErrback(found.append)
    return found[0].value if found else None


def test_what_the_settings_pin_only_they_release(tmp_path: Path) -> None:
    pins = loaded(tmp_path, ONE)
    assert done(pins.add(ONE)) is False
    assert done(pins.remove(ONE)) is False
    assert pins.list() == (Pin(ONE, True),)


def test_what_is_covered(tmp_path: Path) -> None:
    pins = loaded(tmp_path, ONE, ImagePattern.parse(f"{REDIS}@{digest(1)}"))
    assert pins.covers(NGINX, Tag("1.29"))
    assert not pins.covers(NGINX, Tag("2"))
    assert pins.covers(REDIS, digest(1))
    assert not pins.covers(REDIS, digest(2))
    assert not pins.covers(NGINX, digest(1))


def test_each_change_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    pins = Pins((), PinFile(tmp_path), at_once)
    pins.changed = lambda: told.append("changed")
    done(pins.load())
    done(pins.add(ONE))
    done(pins.add(ONE))
    done(pins.remove(ONE))
    assert told == ["changed"] * 3


def test_lines_that_are_no_pins(tmp_path: Path, said: list[str]) -> None:
    lines = ["# ours", "", f"  {TWO}  ", "../../etc/passwd", "\x00", f"{NGINX}:1.*", "nginx", "\udcff"]
    (tmp_path / "pins").write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    assert loaded(tmp_path).list() == (Pin(TWO, False), Pin(ONE, False))
    assert any("4 lines of" in line for line in said)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.binary(max_size=300)
    | st.lists(st.sampled_from([str(ONE), "#", "\r", "x" * 600, "a/b:*"])).map(
        lambda lines: "\n".join(lines).encode()
    )
)
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    """The daemon starts, whatever is in it."""
    (tmp_path / "pins").write_bytes(content)
    for pin in loaded(tmp_path).list():
        assert str(pin.pattern).encode() in content


def test_a_file_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pins").write_bytes(f"{ONE}\n".encode() + b"#" * (MAX_FILE_BYTES + 10))
    assert loaded(tmp_path).list() == (Pin(ONE, False),)
    monkeypatch.setattr(pins_module, "MAX_PINS", 2)
    (tmp_path / "pins").write_text(f"{ONE}\n{TWO}\n{THREE}\n")
    pins = loaded(tmp_path)
    assert len(pins) == 2
    with pytest.raises(InvalidRequest, match="unpin"):
        pins.add(THREE).send(None)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/etc/passwd", path)])
def test_what_is_no_file_pins_nothing_and_is_told(tmp_path: Path, said: list[str], make: Any) -> None:
    make(tmp_path / "pins")
    pins = loaded(tmp_path)
    assert pins.loaded
    assert pins.list() == ()


def test_a_disk_that_takes_no_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is told that it is pinned can rely on it, also after a restart."""
    pins = loaded(tmp_path)

    def refuse(*_: object) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(os, "replace", refuse)
    failed: list[Any] = []
    Deferred.fromCoroutine(pins.add(ONE)).addErrback(failed.append)
    assert failed[0].check(StorageFailed)
    assert pins.list() == ()
    monkeypatch.undo()
    assert done(pins.add(ONE)) is True


def unreadable(*_: object) -> Any:
    raise OSError(errno.EMFILE, "too many open files")


def test_a_file_that_cannot_be_read_now_counts_as_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    """It is read later, told of once, and not written over meanwhile."""
    done(loaded(tmp_path).add(ONE))
    made = World(tmp_path, Limits(None, 0))
    key = key_of(REDIS, made.shelf.put(REDIS, 1))
    with monkeypatch.context() as patch:
        patch.setattr(made.file, "read", unreadable)
        made.begin()
        made.later(LOOK_S)
        assert made.evictor.pinned.holds(key)
        failed: list[Any] = []
        Deferred.fromCoroutine(made.pins.add(TWO)).addErrback(failed.append)
        assert failed[0].check(StorageFailed)
        assert (tmp_path / "pins").read_text() == f"{ONE}\n"
    made.later(LOOK_S)
    assert not made.evictor.pinned.holds(key)
    assert made.pins.list() == (Pin(ONE, False),)
    assert len([line for line in said if "cannot be read" in line]) == 1


def test_a_pin_that_comes_before_the_file_was_read_costs_none_of_it(tmp_path: Path) -> None:
    done(loaded(tmp_path).add(ONE))
    early = Pins((), PinFile(tmp_path), at_once)
    assert done(early.add(TWO)) is True
    done(early.load())
    assert early.list() == loaded(tmp_path).list() == (Pin(ONE, False), Pin(TWO, False))
    late = Pins((), PinFile(tmp_path), at_once)
    assert done(late.remove(ONE)) is True


def test_ten_thousand_pins_are_not_all_looked_at_for_each_thing(tmp_path: Path) -> None:
    """It is asked in the reactor's thread whenever something comes."""
    lines = [f"docker.io/team/app{number}@{digest(number)}\n" for number in range(pins_module.MAX_PINS - 2)]
    (tmp_path / "pins").write_text("".join([*lines, f"{NGINX}:1.*\n", "docker.io/li*/redis\n"]))
    pins = loaded(tmp_path)
    assert pins.covers_digest("docker.io/team/app7", str(digest(7)))
    assert not pins.covers_digest("docker.io/team/app7", str(digest(8)))
    assert pins.covers_tag(str(NGINX), "1.29")
    assert not pins.covers_tag(str(NGINX), "2")
    assert pins.touches(str(REDIS))
    assert pins.covers_digest(str(REDIS), str(digest(9)))
    looked = 0

    def count(pattern: ImagePattern, repository: str) -> bool:
        nonlocal looked
        looked += 1
        return touches(pattern, repository)

    touches = ImagePattern.touches
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImagePattern, "touches", count)
        for number in range(100):
            pins.covers_digest(f"docker.io/team/app{number}", str(digest(number)))
            pins.covers_tag(f"docker.io/team/app{number}", "latest")
    assert looked <= 100, "globs alone, and once for each repository"


def test_what_was_worked_out_by_other_pins_is_not_believed(tmp_path: Path) -> None:
    """A thread that asks while pins change must not leave what it found for the new ones."""
    pins = loaded(tmp_path)
    asking = pins._meanings
    done(pins.add(ONE))
    asking.of(str(NGINX))
    assert pins.touches(str(NGINX))
