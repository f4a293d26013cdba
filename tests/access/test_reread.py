"""Files that are read again when they change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from regproxy.access.reread import LOOK_S, Reread
from regproxy.smallfile import MAX_FILE_BYTES, Unusable, read_small
from tests.logged import logging


def parse(content: bytes) -> bytes:
    if content == b"bad":
        raise Unusable("it is bad")
    return content


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    return path


def opened(path: Path) -> tuple[Reread[bytes], Clock]:
    clock = Clock()
    return Reread.open(path, parse, clock.seconds), clock


def test_a_change_is_seen_within_a_second(path: Path) -> None:
    file, clock = opened(path)
    path.write_bytes(b"other")
    assert file.current() == b"one"
    clock.advance(LOOK_S)
    assert file.current() == b"other"


def test_a_file_of_the_same_size_and_time_is_seen_by_its_inode(path: Path) -> None:
    file, clock = opened(path)
    found = path.stat()
    other = path.with_name("new")
    other.write_bytes(b"two")
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    other.replace(path)
    clock.advance(LOOK_S)
    assert file.current() == b"two"


def test_an_unchanged_file_is_not_read(path: Path) -> None:
    clock = Clock()
    read: list[bytes] = []
    file = Reread.open(path, lambda content: read.append(content) or content, clock.seconds)
    for _ in range(5):
        clock.advance(LOOK_S)
        file.current()
    assert read == [b"one"]


@pytest.mark.parametrize("content", [b"bad", None, b"x" * (MAX_FILE_BYTES + 1)])
def test_the_old_one_holds_while_the_new_one_cannot_be_used(path: Path, content: bytes | None) -> None:
    """One line for each version, however often it is looked at."""
    file, clock = opened(path)
    path.unlink() if content is None else path.write_bytes(content)
    with logging() as logged:
        for _ in range(5):
            clock.advance(LOOK_S)
            assert file.current() == b"one"
    (line,) = logged.lines("error")
    assert line.startswith(f"{path} cannot be used, what it said before holds: ")
    path.write_bytes(b"three")
    clock.advance(LOOK_S)
    assert file.current() == b"three"


def test_the_first_one_must_be_usable(path: Path) -> None:
    path.write_bytes(b"bad")
    with pytest.raises(Unusable, match=f"{path}: it is bad"):
        opened(path)


def test_a_pipe_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Unusable, match="not a regular file"):
        read_small(tmp_path / "pipe")
    with pytest.raises(Unusable, match="No such file"):
        read_small(tmp_path / "none")
