"""The log as lines of JSON, and who decides that it is."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import Logger, LogLevel, jsonFileLogObserver, textFileLogObserver
from twisted.python.failure import Failure

from regproxy import logs


def logged(emit: Any, namespace: str = "regproxy.test") -> dict[str, Any]:
    out = io.StringIO()
    emit(Logger(namespace, observer=logs.json_file_observer(out)))
    (line,) = out.getvalue().splitlines()
    return dict(json.loads(line))


def test_an_event_is_one_object_with_a_time_in_utc() -> None:
    record = json.loads(
        logs.json_line(
            {"log_time": 0.25, "log_level": LogLevel.warn, "log_namespace": "other", "log_format": "a\nb"}
        )
    )
    assert record == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "warn",
        "logger": "other",
        "message": "a\nb",
    }


def test_our_own_fields_are_kept_when_they_are_plain() -> None:
    record = logged(lambda log: log.info("pulled {name}", name="nginx", size=7, thing=object()))
    assert (record["message"], record["name"], record["size"]) == ("pulled nginx", "nginx", 7)
    assert "thing" not in record


def test_a_field_cannot_pose_as_one_of_the_record() -> None:
    assert logged(lambda log: log.info("true", message="false"))["message"] == "true"


def test_fields_of_libraries_stay_out() -> None:
    assert "secret" not in logged(lambda log: log.info("x", secret="hunter2"), "treq")


def test_a_failure_is_its_traceback() -> None:
    record = logged(lambda log: log.failure("broken", Failure(ValueError("why"))))
    assert record["message"] == "broken"
    assert "ValueError: why" in record["traceback"]


def test_an_event_that_cannot_be_formatted_is_a_line_all_the_same() -> None:
    assert "Unable to format event" in logged(lambda log: log.info("{missing.field}"))["message"]


def test_json_is_chosen_for_twistd() -> None:
    parent: dict[str, Any] = {"logger": None, "logfile": "x.log", "nodaemon": 0}
    logs.choose("json", parent)
    assert parent["logger"] == "regproxy.logs.twistd_json"


@pytest.mark.parametrize("given", [{"logger": "my.own"}, {"logger": None, "syslog": 1}])
def test_what_twistd_was_told_wins(given: dict[str, Any]) -> None:
    parent = dict(given)
    logs.choose("json", parent)
    assert parent == given


def test_text_leaves_twistd_as_it_is() -> None:
    parent: dict[str, Any] = {"logger": None}
    logs.choose("text", parent)
    assert parent == {"logger": None}


@pytest.mark.parametrize(
    ("form", "observer"), [("text", textFileLogObserver), ("json", logs.json_file_observer)]
)
def test_the_settings_decide_under_twist(form: str, observer: object) -> None:
    parent: dict[str, Any] = {"fileLogObserverFactory": jsonFileLogObserver}
    logs.choose(form, parent)
    assert parent["fileLogObserverFactory"] is observer


def test_twistd_json_goes_to_the_log_file_that_was_named(tmp_path: Path) -> None:
    choice = logs.TwistdJson()
    choice.logfile = str(tmp_path / "x.log")
    Logger("regproxy.test", observer=choice()).info("hello")
    assert json.loads((tmp_path / "x.log").read_text())["message"] == "hello"


def test_no_access_log() -> None:
    assert logs.open_access_log("off", daemonised=False) is None


def test_access_lines_reach_their_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text("old\n")
    out = logs.open_access_log(str(path), daemonised=False)
    assert out is not None
    with out:
        out.write("new\n")
        assert path.read_text() == "old\nnew\n"


def test_a_daemon_has_no_standard_output_but_the_log() -> None:
    assert logs.open_access_log("-", daemonised=True) is sys.stdout


def test_a_rotated_access_log_is_followed(tmp_path: Path) -> None:
    path, now = tmp_path / "access.log", [0.0]
    with logs.RotatedFile(str(path), lambda: now[0]) as out:
        out.write("1\n")
        path.rename(tmp_path / "access.log.1")
        now[0] = 0.5
        out.write("2\n")
        now[0] = 1.5
        out.write("3\n")
        path.unlink()
        path.write_text("new\n")
        now[0] = 3.0
        out.write("4\n")
    assert (tmp_path / "access.log.1").read_text() == "1\n2\n"
    assert path.read_text() == "new\n4\n"


def test_a_name_that_cannot_be_had_again_keeps_the_file(tmp_path: Path) -> None:
    folder, now = tmp_path / "log", [0.0]
    folder.mkdir()
    with logs.RotatedFile(str(folder / "access.log"), lambda: now[0]) as out:
        moved = folder.rename(tmp_path / "moved")
        now[0] = 2.0
        with pytest.raises(OSError, match="No such file"):
            out.write("lost\n")
        out.write("kept\n")
    assert (moved / "access.log").read_text() == "kept\n"


def test_a_line_that_is_refused_is_not_tried_again_and_a_torn_one_is_ended() -> None:
    """A pipe that takes a part of a line, then nothing, then all."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    out = logs.Lines(io.FileIO(writing, "w", closefd=False))
    room = _fill(writing) // 4096 * 4096
    os.read(reading, 4096)
    with pytest.raises(OSError, match="a part of a line"):
        out.write("a" * 10000 + "\n")
    with pytest.raises(BlockingIOError):
        out.write("lost\n")
    said = os.read(reading, room)
    out.write("whole\n")
    assert said.endswith(b"a")
    assert os.read(reading, room) == b"\nwhole\n"
    os.close(reading)
    os.close(writing)


def _fill(writing: int) -> int:
    taken = 0
    try:
        while True:
            taken += os.write(writing, b"x" * 4096)
    except BlockingIOError:
        return taken


def test_an_access_log_that_was_cut_to_nothing_goes_on_at_its_beginning(tmp_path: Path) -> None:
    """logrotate's copytruncate."""
    path = tmp_path / "access.log"
    with logs.RotatedFile(str(path)) as out:
        out.write("1\n")
        os.truncate(path, 0)
        out.write("2\n")
    assert path.read_bytes() == b"2\n"


def test_a_pipe_that_nobody_reads_holds_nobody_up() -> None:
    """A line is left out; what comes once it is read says how many were."""
    reading, writing = os.pipe()
    with FileIO(reading, "rb") as reader, FileIO(writing, "wb") as out:
        lines = logs.Lines(out)
        for _ in range(16):
            lines.write("x" * 4095 + "\n")
        with pytest.raises(BlockingIOError):
            lines.write("refused\n")
        log = logs.Patient(lines)
        log.write("lost\n")
        assert len(reader.read(1 << 20)) == 65536
        log.write("taken\n")
        assert reader.read(65536) == b"(1 lines of the log were not taken)\ntaken\n"


def test_an_event_that_is_larger_than_what_a_pipe_still_takes_holds_nobody_up() -> None:
    """Its beginning goes, the rest is left out; what comes next begins a line of its own."""
    reading, writing = os.pipe()
    with FileIO(reading, "rb") as reader, FileIO(writing, "wb") as out:
        log = logs.Patient(logs.Lines(out))
        long = threading.Thread(target=log.write, args=("x" * 200_000 + "\n",), daemon=True)
        long.start()
        long.join(5)
        held = long.is_alive()
        said = reader.read(1 << 20)
        long.join(5)
        assert not held
        assert said == b"x" * 65536
        log.write("taken\n")
        assert reader.read(65536) == b"\n(1 lines of the log were not taken)\ntaken\n"
