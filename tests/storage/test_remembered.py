"""What is remembered of small files counts only while they are the same files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from regproxy.storage.remembered import TICK_NS, Remembered


class Shelf:
    """Files named by number, and a count of how often they were read."""

    def __init__(self, root: Path, limit: int = 100) -> None:
        self.root = root
        self.reads: list[str] = []
        self.later_ns = TICK_NS
        self.remembered: Remembered[int, bytes | None] = Remembered(
            lambda number: root / str(number),
            self.read,
            None,
            limit,
            lambda value: 1 if value is None else len(value),
            lambda: max(os.lstat(each).st_ctime_ns for each in root.iterdir()) + self.later_ns,
        )

    def read(self, path: Path) -> tuple[bytes | None, os.stat_result | None]:
        self.reads.append(path.name)
        return path.read_bytes(), path.stat()

    def get(self, number: int) -> bytes | None:
        return self.remembered.get(number)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "1").write_bytes(b"one")
    return Shelf(tmp_path)


def test_a_file_is_read_once(shelf: Shelf) -> None:
    assert [shelf.get(1) for _ in range(3)] == [b"one"] * 3
    assert shelf.reads == ["1"]


def test_another_file_of_that_name_is_read(shelf: Shelf) -> None:
    shelf.get(1)
    (shelf.root / "new").write_bytes(b"ONE")
    os.replace(shelf.root / "new", shelf.root / "1")
    assert shelf.get(1) == b"ONE"
    assert shelf.reads == ["1", "1"]


def test_one_that_was_written_into_is_read(shelf: Shelf) -> None:
    """Of the same size, with its old modification time: the change time tells."""
    shelf.get(1)
    before = os.stat(shelf.root / "1")
    with open(shelf.root / "1", "r+b") as file:
        file.write(b"ONE")
    os.utime(shelf.root / "1", ns=(before.st_atime_ns, before.st_mtime_ns))
    while os.stat(shelf.root / "1").st_ctime_ns == before.st_ctime_ns:
        os.utime(shelf.root / "1", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert shelf.get(1) == b"ONE"


@pytest.mark.parametrize("later_ns", [0, TICK_NS - 1, -(10**12)])
def test_what_changed_a_moment_ago_is_not_remembered(shelf: Shelf, later_ns: int) -> None:
    """Nor what changed in the future: the clock was set back."""
    shelf.later_ns = later_ns
    assert [shelf.get(1), shelf.get(1)] == [b"one", b"one"]
    assert shelf.reads == ["1", "1"]


def test_a_file_that_comes_and_goes(shelf: Shelf) -> None:
    assert shelf.get(2) is None
    (shelf.root / "2").write_bytes(b"two")
    assert shelf.get(2) == b"two"
    os.unlink(shelf.root / "2")
    assert shelf.get(2) is None
    assert shelf.reads == ["2"]


def test_a_folder_that_is_a_file_is_no_file(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"")
    assert shelf.get(1) is None


def test_what_lstat_cannot_say_the_reader_tells(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "no")

    monkeypatch.setattr(os, "lstat", refuse)
    assert shelf.get(1) == b"one"
    assert shelf.reads == ["1"]


def test_it_is_bounded_and_the_oldest_leave(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, limit=10)
    for number in range(5):
        (tmp_path / str(number)).write_bytes(b"1234")
        shelf.get(number)
    assert len(shelf.remembered) == 2
    shelf.reads.clear()
    shelf.get(4)
    shelf.get(3)
    assert shelf.reads == []
    shelf.get(0)
    assert shelf.reads == ["0"]


def test_who_looks_at_many_leaves_memory_as_it_is(tmp_path: Path) -> None:
    """The same values, of changed and missing files too; what others asked for stays remembered."""
    shelf = Shelf(tmp_path, limit=10)
    for number in range(5):
        (tmp_path / str(number)).write_bytes(b"1234")
    assert (shelf.get(0), shelf.get(1)) == (b"1234", b"1234")
    shelf.reads.clear()
    assert [shelf.remembered.peek(number) for number in range(6)] == [b"1234"] * 5 + [None]
    assert shelf.reads == ["2", "3", "4"]
    (tmp_path / "0").write_bytes(b"12345")
    assert shelf.remembered.peek(0) == b"12345"
    os.unlink(tmp_path / "1")
    assert shelf.remembered.peek(1) is None
    assert len(shelf.remembered) == 2
    shelf.reads.clear()
    assert (shelf.get(0), shelf.get(1)) == (b"12345", None)
    assert shelf.reads == ["0"]


def test_what_is_missing_weighs_as_well(tmp_path: Path) -> None:
    """Clients can name any number of things that are not there."""
    remembered: Remembered[int, bytes] = Remembered(
        lambda key: tmp_path / str(key), lambda path: (b"", None), b"", 1000, lambda value: 100 + len(value)
    )
    for number in range(50):
        assert remembered.get(number) == b""
    assert len(remembered) == 10


def test_what_may_not_be_remembered_is_read_each_time(shelf: Shelf) -> None:
    remembered = Remembered(lambda key: shelf.root / "1", lambda path: (path.read_bytes(), None), b"", 10)
    assert remembered.get(1) == b"one"
    (shelf.root / "1").write_bytes(b"two")
    assert remembered.get(1) == b"two"
