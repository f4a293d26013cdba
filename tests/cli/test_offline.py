"""``regproxy offline`` and ``regproxy online``: what they send, and what they make of every answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from regproxy.cli import main
from regproxy.cli.asking import AskFailed
from regproxy.cli.offline import told
from tests.cli.test_asking import serving
from tests.cli.test_purge import TOKEN, Daemon, token_file

DONE: dict[str, Any] = {
    "program": "regproxy",
    "version": 1,
    "action": "offline",
    "upstream": "docker.io",
    "offline": True,
    "dry_run": False,
    "changed": True,
    "until_restart": False,
}


def run(verb: str, *arguments: str) -> Result:
    return CliRunner(env={"REGPROXY_CONFIG": None}).invoke(main, [verb, *arguments])


@pytest.mark.parametrize(
    ("verb", "offline", "said"),
    [
        ("offline", True, "docker.io: offline, it is asked nothing, what is cached is served\n"),
        ("online", False, "docker.io: online, it is asked again\n"),
    ],
)
def test_what_they_send_and_what_they_say(tmp_path: Path, verb: str, offline: bool, said: str) -> None:
    daemon = Daemon({**DONE, "offline": offline})
    with serving(daemon.handle, tmp_path / "a.sock"):
        result = run(verb, "docker.io", "--admin", str(tmp_path / "a.sock"))
    assert (result.exit_code, result.stdout, result.stderr) == (0, said, "")
    assert daemon.head.startswith("POST /actions/offline HTTP/1.1\r\n")
    assert daemon.body == {"upstream": "docker.io", "offline": offline, "dry_run": False}


def test_json_dry_run_and_token(tmp_path: Path) -> None:
    daemon = Daemon({**DONE, "dry_run": True})
    with serving(daemon.handle) as address:
        where = ("--admin", f"http://{address}", "--token-file", str(token_file(tmp_path)))
        result = run("offline", "docker.io", "--json", "-n", *where)
    assert (result.exit_code, json.loads(result.stdout)["dry_run"]) == (0, True)
    assert daemon.body["dry_run"] is True
    assert TOKEN in daemon.head


@pytest.mark.parametrize(
    ("status", "body", "code", "said"),
    [
        ("200 OK", {**DONE, "changed": False}, 7, ""),
        ("503 No", {**DONE, "error": "it counts now, and a restart forgets it"}, 8, "a restart forgets it"),
        ("500 Fault", {"error": "a fault"}, 8, "a fault"),
        ("400 Bad", {"error": "no such upstream"}, 2, "no such upstream"),
        ("401 No", {"error": "needs the token"}, 4, "not permitted"),
        ("404 No", {"error": "no such operation"}, 5, "takes no operations"),
        ("200 OK", {**DONE, "changed": "yes"}, 5, "another version"),
    ],
)
def test_exit_codes(status: str, body: object, code: int, said: str) -> None:
    with serving(Daemon(body, status).handle) as address:
        result = run("offline", "docker.io", "--admin", f"http://{address}")
    assert result.exit_code == code, result.output
    assert said in result.stderr


def test_what_is_told() -> None:
    assert list(told({**DONE, "dry_run": True})) == ["docker.io: would be offline"]
    assert list(told({**DONE, "changed": False})) == ["docker.io: it is offline already"]
    lines = list(told({**DONE, "offline": False, "until_restart": True}))
    assert lines[1] == "  until the next start: the settings have it offline"


@given(st.dictionaries(st.sampled_from([*DONE]), st.none() | st.integers() | st.text() | st.booleans()))
def test_any_answer_is_told_or_not_understood(found: dict[str, Any]) -> None:
    try:
        lines = list(told({**DONE, **found}))
    except AskFailed:
        return
    assert all(line.isprintable() for line in lines)


def test_wrong_usage_and_nobody_there(tmp_path: Path) -> None:
    assert run("offline").exit_code == 2
    assert run("online", "a", "b").exit_code == 2
    assert run("online", "a", "--admin", str(tmp_path / "none")).exit_code == 3


@pytest.mark.parametrize("verb", ["offline", "online"])
def test_the_help_has_the_exit_codes(verb: str) -> None:
    shown = run(verb, "--help").stdout
    assert all(f"{code} " in shown for code in range(9))
