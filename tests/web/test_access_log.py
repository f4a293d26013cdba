"""Records of requests and the lines they become."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogEvent, globalLogPublisher

from regproxy.web.access_log import (
    COMPLAIN_S,
    MAX_METHOD,
    MAX_PATH,
    AccessLog,
    AccessRecord,
    quote_method,
    quote_path,
)

RECORD = AccessRecord("10.0.0.1", "GET", "/v2/a", 200, 12, 3.14159, "hit", "docker.io", "sha256:ab")
SPARSE = AccessRecord("unix", "HEAD", "/v2/", 404, 0, 0.0, complete=False)


def line(record: AccessRecord, form: str) -> str:
    sink = io.StringIO()
    AccessLog(sink, form, lambda: 1_795_500_000.25)(record)
    text = sink.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    return text.rstrip("\n")


def test_text() -> None:
    when = "2026-11-24T06:00:00.250Z"
    assert line(RECORD, "text") == f"{when} 10.0.0.1 GET /v2/a 200 12 3.1ms hit docker.io sha256:ab"
    assert line(SPARSE, "text") == f"{when} unix HEAD /v2/ 404 0 0.0ms - - - cut"


def test_json() -> None:
    found = json.loads(line(RECORD, "json"))
    assert found["time"] == "2026-11-24T06:00:00.250Z"
    assert (found["ms"], found["sent_bytes"], found["complete"]) == (3.1, 12, True)
    assert "how" not in json.loads(line(SPARSE, "json"))


@given(st.binary(max_size=2000))
def test_a_path_cannot_forge_a_line(path: bytes) -> None:
    text = quote_path(path)
    assert all("!" <= char <= "~" and char not in "\"'" for char in text)
    assert len(text) <= 3 * MAX_PATH


def test_escapes_stay_and_ns_is_told() -> None:
    assert quote_path(b"/v2/a%2Fb", "ghcr.io:443") == "/v2/a%2Fb?ns=ghcr.io:443"


@pytest.mark.parametrize("form", ["text", "json"])
def test_each_record_is_a_line(form: str) -> None:
    sink = io.StringIO()
    log = AccessLog(sink, form, lambda: 0.0)
    log(RECORD)
    log(SPARSE)
    assert len(sink.getvalue().splitlines()) == 2


def test_a_path_and_a_method_are_bounded() -> None:
    assert quote_path(b"a" * 5000) == "a" * MAX_PATH
    assert quote_path(b"\xff" * 5000) == "%FF" * MAX_PATH
    assert quote_method(b"A" * 5000) == "A" * MAX_METHOD
    assert quote_method(b"B\xffD ") == "B%FFD%20"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("closed file")])
def test_a_sink_that_refuses_costs_lines_and_is_told_now_and_then(error: Exception) -> None:
    class Broken:
        def write(self, text: str) -> None:
            raise error

    told: list[LogEvent] = []
    now = [0.0]
    log = AccessLog(Broken(), "text", lambda: 0.0, lambda: now[0])
    globalLogPublisher.addObserver(told.append)
    try:
        for now[0] in (0.0, 1.0, COMPLAIN_S - 1, COMPLAIN_S, COMPLAIN_S + 1):
            log(RECORD)
    finally:
        globalLogPublisher.removeObserver(told.append)
    assert [event["count"] for event in told] == [1, 4]
