"""What operators took offline by hand, on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred

from regproxy.storage.offline import NAME, OfflineNotes
from tests.logged import logging


def at_once(work: Any, *arguments: Any) -> Deferred[Any]:
    return maybeDeferred(work, *arguments)


async def test_what_is_written_is_read_by_the_next_start(tmp_path: Path) -> None:
    notes = OfflineNotes(tmp_path, at_once)
    assert notes.read() == {}
    await notes.write({"docker.io": 1_800_000_000.0, "localhost:5000": 7.0})
    assert OfflineNotes(tmp_path, at_once).read() == {"docker.io": 1_800_000_000.0, "localhost:5000": 7.0}
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o640
    await notes.write({})
    assert list(tmp_path.iterdir()) == []
    await notes.write({})


@pytest.mark.parametrize(
    "content",
    [b"", b"no json", b"[]", b'{"docker.io": "since"}', b'{"../x": 1}', b'{"docker.io": -1}', b"[" * 70_000],
)
def test_what_is_no_note_says_nothing_but_a_line_in_the_log(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with logging() as logged:
        assert OfflineNotes(tmp_path, at_once).read() == {}
    (line,) = logged.lines("warn")
    assert "is damaged" in line
    assert NAME in line


def test_whose_notes_are_whole_is_told_nothing(tmp_path: Path) -> None:
    with logging() as logged:
        assert OfflineNotes(tmp_path, at_once).read() == {}
        (tmp_path / NAME).write_bytes(b'{"docker.io": 7}')
        assert OfflineNotes(tmp_path, at_once).read() == {"docker.io": 7.0}
    assert logged.lines() == []


def test_what_is_left_of_damaged_notes_is_named(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b'{"docker.io": 7, "quay.io": "x"}')
    with logging() as logged:
        assert OfflineNotes(tmp_path, at_once).read() == {"docker.io": 7.0}
    (line,) = logged.lines("warn")
    assert line.count("docker.io") == 1


def test_another_thing_by_that_name_is_no_note(tmp_path: Path) -> None:
    (tmp_path / NAME).symlink_to("/etc/passwd")
    assert OfflineNotes(tmp_path, at_once).read() == {}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    assert isinstance(OfflineNotes(tmp_path, at_once).read(), dict)
