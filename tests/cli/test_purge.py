"""``regproxy purge``: what it sends, what it makes of every answer, and to whom the token goes."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from regproxy.cli import main
from regproxy.cli.asking import AskFailed
from regproxy.cli.purge import told
from regproxy.testing.secrets import MARKER
from tests.cli.test_asking import Handler, serving

TOKEN = f"{MARKER}-{'t' * 40}"
DONE: dict[str, Any] = {
    "program": "regproxy",
    "version": 1,
    "action": "purge",
    "image": "docker.io/library/nginx:1.29",
    "dry_run": False,
    "tags": 1,
    "manifests": 2,
    "blobs": 7,
    "freed_files": 6,
    "freed_bytes": 53 << 20,
    "shared_files": 0,
    "shared_bytes": 0,
    "later_files": 0,
    "later_bytes": 0,
    "listed": [],
}


def purge(*arguments: str, **environ: str) -> Result:
    return CliRunner(env={"REGPROXY_CONFIG": None, **environ}).invoke(main, ["purge", *arguments])


class Daemon:
    """Answers one request, and keeps it."""

    def __init__(self, body: object, status: str = "200 OK") -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
        self.head = ""
        self.body: Any = None

    @property
    def handle(self) -> Handler:
        def handle(connection: socket.socket) -> None:
            got = b""
            while b"\r\n\r\n" not in got or not got.endswith(b"}"):
                more = connection.recv(4096)
                if not more:
                    return
                got += more
            head, _, body = got.partition(b"\r\n\r\n")
            self.head, self.body = head.decode(), json.loads(body)
            connection.sendall(self._answer)

        return handle


def token_file(folder: Path, content: str = TOKEN, mode: int = 0o600) -> Path:
    path = folder / "admin.token"
    path.write_text(content)
    path.chmod(mode)
    return path


def settings(folder: Path, **more: object) -> Path:
    path = folder / "regproxy.yml"
    path.write_text(json.dumps({"storage": {"root": str(folder / "root")}, **more}))
    return path


def test_what_it_sends_and_what_it_says(tmp_path: Path) -> None:
    daemon = Daemon(DONE)
    with serving(daemon.handle, tmp_path / "a.sock"):
        result = purge("nginx:1.29", "--admin", str(tmp_path / "a.sock"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "docker.io/library/nginx:1.29: 1 tag, 2 manifests, 7 blobs gone, 53.0 MiB freed\n"
    assert daemon.head.startswith("POST /actions/purge HTTP/1.1\r\nHost: ")
    assert "Content-Type: application/json\r\n" in daemon.head
    assert "Authorization" not in daemon.head
    assert daemon.body == {"image": "nginx:1.29", "dry_run": False}


def test_what_stays_is_told(tmp_path: Path) -> None:
    lines = list(told({**DONE, "dry_run": True, "shared_bytes": 3 << 20, "later_bytes": 1 << 10}))
    assert lines[0].endswith("1 tag, 2 manifests, 7 blobs would go, 53.0 MiB would be freed")
    assert lines[1] == "  3.00 MiB stay, since other repositories hold them"
    assert lines[2].startswith("  1.00 KiB go later")


def test_the_answer_on_one_line() -> None:
    daemon = Daemon(json.dumps(DONE, indent=1).encode())
    with serving(daemon.handle) as address:
        result = purge("nginx", "--json", "-n", "--admin", f"http://{address}")
    assert (result.exit_code, json.loads(result.stdout), result.stdout.count("\n")) == (0, DONE, 1)
    assert daemon.body["dry_run"] is True


def test_the_token_goes_to_tcp_and_not_to_the_socket(tmp_path: Path) -> None:
    path = str(token_file(tmp_path))
    daemon = Daemon(DONE)
    with serving(daemon.handle) as address:
        assert purge("a", "--admin", f"http://{address}", "--token-file", path).exit_code == 0
    assert f"\r\nAuthorization: Bearer {TOKEN}\r\n" in daemon.head
    daemon = Daemon(DONE)
    with serving(daemon.handle, tmp_path / "a.sock"):
        assert purge("a", "--admin", str(tmp_path / "a.sock"), "--token-file", path).exit_code == 0
    assert TOKEN not in daemon.head


def test_the_settings_name_listeners_and_token(tmp_path: Path) -> None:
    token_file(tmp_path)
    daemon = Daemon(DONE)
    with serving(daemon.handle) as address:
        where = f"tcp:{address.port}:interface=127.0.0.1"
        config = settings(tmp_path, admin=[where], admin_token_file="admin.token")
        assert purge("a", "-c", str(config)).exit_code == 0
    assert TOKEN in daemon.head


def test_a_token_of_the_settings_that_may_not_be_read_is_left_out(tmp_path: Path) -> None:
    """It is the daemon's; who asks by the socket needs none."""
    token_file(tmp_path, mode=0o644)
    daemon = Daemon(DONE)
    with serving(daemon.handle, tmp_path / "a.sock"):
        config = settings(tmp_path, admin=[f"unix:{tmp_path}/a.sock"], admin_token_file="admin.token")
        assert purge("a", "-c", str(config)).exit_code == 0


def test_a_token_of_another_daemon_goes_nowhere(tmp_path: Path) -> None:
    """``--admin`` alone: what the settings of this machine say is not for that address."""
    token_file(tmp_path)
    config = settings(tmp_path, admin_token_file="admin.token")
    daemon = Daemon(DONE)
    with serving(daemon.handle) as address:
        assert purge("a", "--admin", f"http://{address}", REGPROXY_CONFIG=str(config)).exit_code == 0
    assert TOKEN not in daemon.head


@pytest.mark.parametrize(("content", "mode"), [("short", 0o600), (TOKEN, 0o644)], ids=["short", "open"])
def test_a_named_token_that_is_no_good_is_told_and_nobody_asked(
    tmp_path: Path, content: str, mode: int
) -> None:
    path = token_file(tmp_path, content, mode)
    result = purge("a", "--admin", "http://127.0.0.1:1", "--token-file", str(path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert str(path) in result.stderr
    assert MARKER not in result.stderr


NONE = {**DONE, "tags": 0, "manifests": 0, "blobs": 0, "freed_bytes": 0}


@pytest.mark.parametrize(
    ("status", "body", "code", "said"),
    [
        ("200 OK", NONE, 7, ""),
        ("503 Unavailable", {**DONE, "error": "the disk refused the rest"}, 8, "regproxy: the disk refused"),
        ("503 Unavailable", {"error": "the token file"}, 8, "the token file"),
        ("500 Fault", {"error": "a fault"}, 8, "a fault"),
        ("400 Bad", {"error": "no such name"}, 2, "no such name"),
        ("401 No", {"error": "needs the token"}, 4, "not permitted: needs the token"),
        ("403 No", {"error": "admin_token_file"}, 4, "not permitted: admin_token_file"),
        ("404 No", {"error": "no such operation"}, 5, "takes no operations (404)"),
        ("405 No", {"error": "only GET and HEAD"}, 5, "takes no operations (405)"),
        ("200 OK", {"status": "ok"}, 5, "takes no operations (200)"),
        ("200 OK", {**DONE, "tags": "many"}, 5, "another version"),
        ("200 OK", {**DONE, "freed_bytes": None}, 5, "another version"),
        ("200 OK", b"nonsense}", 5, "takes no operations"),
        ("400 Bad", b"nonsense}", 5, "takes no operations"),
        ("200 OK", b"[" * 100_000 + b"}", 5, "takes no operations"),
    ],
)
def test_exit_codes(status: str, body: object, code: int, said: str) -> None:
    with serving(Daemon(body, status).handle) as address:
        result = purge("a", "--admin", f"http://{address}")
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    assert said in result.stderr
    assert result.stderr.count("\n") == (1 if said else 0)
    assert (str(address) in result.stderr) is (code in (4, 5) and "another version" not in said)


def test_what_the_disk_keeps_is_not_said_to_be_absent() -> None:
    refused = {**NONE, "error": "the disk refused the rest: the disk is read-only (EROFS)"}
    assert list(told(refused)) == ["docker.io/library/nginx:1.29: nothing of it has gone"]
    assert list(told(NONE)) == ["docker.io/library/nginx:1.29: nothing of it is here"]


def test_what_a_daemon_says_reaches_no_terminal_as_it_is() -> None:
    with serving(Daemon({**DONE, "image": "a\x1b[2Jb", "error": "\x1b]0;x\x07"}, "503 No").handle) as address:
        result = purge("a", "--admin", f"http://{address}")
    assert "\x1b" not in result.output
    assert "\x07" not in result.output


@given(st.dictionaries(st.sampled_from([*DONE]), st.none() | st.integers() | st.text() | st.booleans()))
def test_any_answer_is_told_or_not_understood(found: dict[str, Any]) -> None:
    try:
        lines = list(told({**DONE, **found}))
    except AskFailed:
        return
    assert all(line.isprintable() for line in lines)


def test_nobody_there(tmp_path: Path) -> None:
    assert purge("a", "--admin", str(tmp_path / "none")).exit_code == 3


def test_wrong_usage() -> None:
    for arguments in ((), ("a", "b"), ("a", "--admin", "localhost:5001"), ("a", "--force")):
        assert purge(*arguments).exit_code == 2


def test_the_help_has_the_exit_codes() -> None:
    shown = purge("--help").stdout
    assert all(f"{code} " in shown for code in range(9))
    assert "What is pinned goes too" in " ".join(shown.split())
