"""``regproxy explain``: what it asks, and what it makes of every answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner, Result
from hypothesis import given

from regproxy.admin.explain import document
from regproxy.cli import main
from regproxy.cli.asking import AskFailed
from regproxy.cli.explain import told
from regproxy.interfaces import Allowance, Circuit, Kind, Meaning, Standing, TagRecord, Thrift
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor
from regproxy.oci.media_type import OCI_INDEX
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.proxy.closure import Closure
from regproxy.proxy.completeness import Chosen
from regproxy.proxy.explaining import Content, Decision, Explanation
from regproxy.settings import TagRule
from tests.cli.pages import anything
from tests.cli.test_asking import serving
from tests.cli.test_purge import TOKEN, Daemon, token_file

DIGEST, BEFORE = Digest("sha256", "ab" * 32), Digest("sha256", "cd" * 32)
HISTORY = (
    Meaning(BEFORE, 1_795_300_000.0, 1_795_400_000.0),
    Meaning(DIGEST, 1_795_400_000.0, 1_795_500_000.0),
)
FOUND = Explanation(
    Repository.parse("docker.io", "library/nginx"),
    Tag("1.27"),
    1_795_500_093.0,
    Standing(Circuit.OPEN, 1_795_500_033.0, "it refuses connections", 3.0),
    Allowance(Thrift.LONGER, 100, 12, 21600.0),
    TagRule("*", line=12),
    TagRecord(Descriptor(DIGEST, 1000, OCI_INDEX), None, 1_795_500_000.0, HISTORY),
    Content(DIGEST, Kind.MANIFEST, OCI_INDEX, 1000, 1_795_500_000.0, "fetch", True, Closure(2, 1, 9, 3)),
    Decision("serve what is cached with a warning, ask nobody", "the upstream is not asked now"),
    ("deprecated",),
    in_outage=Chosen(Descriptor(BEFORE, 900, OCI_INDEX), 0, newest=False),
)
ANSWER = document("docker.io/library/nginx:1.27", FOUND, {"anonymous": True, "reason": None})
TEXT = f"""\
docker.io/library/nginx:1.27
  route      upstream docker.io, repository library/nginx
  access     everyone whom access lets in
  rule       "*" (line 12 of the settings): fresh 1m, grace 0s, waits 2s, stale if error 30d, \
on_missing drop, on_denied refuse
  tag        {DIGEST}, confirmed 1m 33s ago (2026-11-24T06:00:00Z)
  before     1 other digest, the last one {BEFORE} until 2026-11-23T02:13:20Z
  on disk    {OCI_INDEX}, 1000 B
  right      yes, its upstream showed it at 2026-11-24T06:00:00Z, by fetch
  whole      no: 1 of 2 manifests that it names, 3 of 9 blobs missing of these
  in outage  an older one, {BEFORE}
  circuit    open for 1m: it refuses connections; tried again in 3s
  rate limit 12 of 100 left in 6h, running low: tags are believed longer
  it warns   deprecated
  now        serve what is cached with a warning, ask nobody: the upstream is not asked now
  asked      nothing
"""


def explain(*arguments: str, **environ: str) -> Result:
    return CliRunner(env={"REGPROXY_CONFIG": None, **environ}).invoke(main, ["explain", *arguments])


def test_what_it_asks_and_what_it_says(tmp_path: Path) -> None:
    daemon = Daemon(ANSWER)
    with serving(daemon.handle, tmp_path / "a.sock"):
        result = explain("nginx:1.27", "--admin", str(tmp_path / "a.sock"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == TEXT
    assert daemon.head.startswith("POST /actions/explain HTTP/1.1\r\nHost: ")
    assert daemon.body == {"image": "nginx:1.27"}


def test_the_answer_on_one_line_and_the_token(tmp_path: Path) -> None:
    daemon = Daemon(ANSWER)
    with serving(daemon.handle) as address:
        path = str(token_file(tmp_path))
        result = explain("nginx:1.27", "--json", "--admin", f"http://{address}", "--token-file", path)
    assert (result.exit_code, json.loads(result.stdout), result.stdout.count("\n")) == (0, ANSWER, 1)
    assert TOKEN in daemon.head


def test_where_nothing_is_known() -> None:
    lines = list(told({"program": "regproxy", "version": 1, "action": "explain", "image": "a/b:1"}))
    assert lines[0] == "a/b:1"
    assert "  on disk    nothing" in lines
    assert "  asked      nothing" in lines


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"access": {"anonymous": False, "reason": "log in"}}, "  access     not everyone: log in"),
        ({"content": {"digest": "sha256:x", "right": False}}, "  right      none"),
        (
            {"content": {"digest": "sha256:x", "right": False, "since": "s", "source": "head"}},
            "  right      no, its upstream showed it at s, by head",
        ),
        ({"content": {"digest": "sha256:x"}}, "  on disk    not there"),
        (
            {"rule": {"match": "v*", "line": None}},
            '  rule       "v*" (built in): fresh 0s, grace 0s, waits 0s, stale if error 0s',
        ),
        ({"image": "a\x1b[2J"}, "a?[2J"),
        ({"decision": {"act": "x\ny", "asked": "GET\x1b"}}, "  asked      GET?"),
    ],
)
def test_each_row(changed: dict[str, Any], line: str) -> None:
    assert line in list(told({**ANSWER, **changed}))


def test_no_daemon_is_a_clear_error(tmp_path: Path) -> None:
    result = explain("nginx:1.27", "--admin", str(tmp_path / "none.sock"))
    assert (result.exit_code, result.stdout) == (3, "")
    assert "no daemon there" in result.stderr


@pytest.mark.parametrize(
    ("status", "body", "code", "said"),
    [
        ("400 Bad Request", {"error": "a whole repository cannot be explained"}, 2, "whole repository"),
        ("403 Forbidden", {"error": "nothing is changed by way of this listener"}, 4, "not permitted"),
        ("404 Not Found", {"error": "no such operation: there is purge"}, 5, "an older one"),
        ("503 Service Unavailable", {"error": "the disk cannot be read"}, 8, "the disk"),
        ("200 OK", {**ANSWER, "version": 2}, 5, "another version"),
        ("200 OK", {**ANSWER, "rule": 7}, 5, "rule is not an object"),
    ],
)
def test_what_is_no_answer_is_a_line_and_a_code(
    tmp_path: Path, status: str, body: dict[str, Any], code: int, said: str
) -> None:
    with serving(Daemon(body, status).handle, tmp_path / "a.sock"):
        result = explain("nginx:1.27", "--admin", str(tmp_path / "a.sock"))
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr


@given(anything)
def test_any_answer_is_told_or_refused(answer: Any) -> None:
    """What another program says reaches no terminal as it is."""
    for name in ("rule", "content", "decision", "image", "warnings", "circuit"):
        try:
            lines = list(told({**ANSWER, name: answer}))
        except AskFailed:
            continue
        assert all(" " <= sign <= "~" for line in lines for sign in line)


@pytest.mark.parametrize(
    ("newest", "missing", "line"),
    [
        (True, 0, ""),
        (True, 1, "  in outage  the newest, 1 blob missing\n"),
        (False, 2, f"  in outage  an older one, {BEFORE}, 2 blobs missing\n"),
    ],
)
def test_what_is_served_in_an_outage(newest: bool, missing: int, line: str) -> None:
    chosen = Chosen(Descriptor(BEFORE, 900, OCI_INDEX), missing, newest)
    answer = document("x", attrs.evolve(FOUND, in_outage=chosen), None)
    text = "".join(f"{each}\n" for each in told(answer))
    assert line in text
    assert ("in outage" in text) == bool(line)
