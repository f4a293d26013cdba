"""Records of requests and the lines they become."""

from __future__ import annotations

import io
import json
import time

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogEvent, globalLogPublisher

from regproxy.seldom import MINUTE_S
from regproxy.web.access_log import (
    MAX_METHOD,
    MAX_PATH,
    AccessLog,
    AccessRecord,
    client_name,
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


def test_who_asked_is_told_and_cannot_forge_a_line() -> None:
    """Issuers and authorities may put anything into a name."""
    name = 'al ice"\n2026 user=bob\u2028'
    known = attrs.evolve(RECORD, user=name, complete=False)
    assert line(known, "text").endswith(" sha256:ab user=al%20ice%22%0A2026%20user%3Dbob%E2%80%A8 cut")
    assert json.loads(line(known, "json"))["user"] == name
    broken = attrs.evolve(RECORD, user="a\ud800")
    assert line(broken, "text").endswith(" user=a%5Cud800"), "a token may say that"
    assert json.loads(line(broken, "json"))["user"] == "a\ud800"
    assert line(attrs.evolve(RECORD, user="alice@corp"), "text").endswith(" user=alice@corp")
    assert "user" not in json.loads(line(RECORD, "json"))


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
        for now[0] in (0.0, 1.0, MINUTE_S - 1, MINUTE_S, MINUTE_S + 1):
            log(RECORD)
    finally:
        globalLogPublisher.removeObserver(told.append)
    assert [event["count"] for event in told] == [1, 4]


def test_what_never_was_a_request_says_what_it_was() -> None:
    hello = AccessRecord("10.0.0.1", "-", "-", 400, 95, 0.0, note="tls")
    assert line(hello, "text").endswith(" 10.0.0.1 - - 400 95 0.0ms - - - tls")
    assert json.loads(line(hello, "json"))["note"] == "tls"


def test_who_asks() -> None:
    assert [client_name(peer) for peer in ("::1", None, "")] == ["::1", "unix", "-"]


@given(st.text(max_size=40))
def test_a_client_cannot_forge_a_line(client: str) -> None:
    """A proxy in front (PROXY protocol) says who asks, and may say anything."""
    record = AccessRecord(client, "GET", "/v2/", 200, 0, 0.0)
    assert line(record, "text").count(" ") == 9
    assert json.loads(line(record, "json"))["path"] == "/v2/"


@given(st.floats(1e9, 4e9), st.text(max_size=20), st.floats(0, 1e6))
def test_a_json_line_is_json(now_s: float, word: str, ms: float) -> None:
    sink = io.StringIO()
    AccessLog(sink, "json", lambda: now_s)(AccessRecord("::1", word, word, 200, 1, ms, word, word, kind=word))
    found = json.loads(sink.getvalue())
    assert {found[name] for name in ("method", "path", "how", "upstream", "kind")} == {word}
    assert abs(found["ms"] - ms) < 0.06
    assert found["time"].startswith(time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(int(now_s))))


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_costs_little(form: str) -> None:
    """Aim: 10 microseconds with the write; the best of some runs, since others use this machine."""

    class Nothing:
        def write(self, text: str) -> None: ...

    log = AccessLog(Nothing(), form, time.time)
    best_s = min(_time_of(log) for _ in range(20))
    assert best_s < 10e-6


def _time_of(log: AccessLog, lines: int = 300) -> float:
    began = time.process_time()
    for _ in range(lines):
        log(RECORD)
    return (time.process_time() - began) / lines
