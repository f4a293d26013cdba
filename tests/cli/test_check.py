"""``regproxy check FILE``: what it says, its exit codes, and that it never ends in a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from regproxy import __file__ as main_file
from regproxy import __version__
from regproxy.cli import main
from regproxy.testing.certificates import self_signed

GOOD = """\
listen: [tcp:5000]
admin: []
storage: {root: data, max_size: 200 GiB, min_free: 5 GiB}
access: {networks: [10.0.0.0/8]}
upstreams:
  docker.io: {public: true, credentials: {username: u, password: hunter2}}
  r.corp:5000: {insecure: true, endpoints: ["http://r.corp:5000"]}
"""


def check(path: Path | str) -> Result:
    return CliRunner().invoke(main, ["check", str(path)])


def test_a_good_file_is_summed_up(tmp_path: Path) -> None:
    path = tmp_path / "r.yml"
    path.write_text(GOOD)
    result = check(path)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        f"{path}: the settings are good",
        "  listen     tcp:5000",
        "  admin      none",
        f"  storage    {tmp_path}/data, at most 200 GiB, leaves 5 GiB free, "
        "down to 90% when something has to go",
        "  ttl        7d",
        "  upstreams  docker.io (default, with credentials), r.corp:5000 (plain http)",
        "  networks   10.0.0.0/8",
        "  known by   nothing: all of these networks may ask",
    ]


def test_ways_to_an_upstream_are_told(tmp_path: Path) -> None:
    path = tmp_path / "r.yml"
    path.write_text("upstreams: {docker.io: {hosts: [hub.mirror.example], listen: ['tcp6:5002']}}")
    assert "docker.io (default, at hub.mirror.example, on tcp6:5002)" in check(path).stdout


def test_warnings_are_told_and_do_not_fail(tmp_path: Path) -> None:
    path = tmp_path / "r.yml"
    path.write_text("upstreams: {a.example: {insecure: true}}")
    result = check(path)
    assert result.exit_code == 0
    assert f"  warning    {path}:1: upstreams.a.example.insecure: has no effect" in result.stdout


def test_each_fault_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "r.yml"
    path.write_text("ttl: 7\nlisten: tcp6:5000\nstorag: {}\n")
    result = check(path)
    assert result.exit_code == 1
    assert result.stdout == ""
    first, second = result.stderr.splitlines()
    assert first.startswith(f"{path}:1: ttl: a number alone has no meaning here: expected")
    assert second == f"{path}:3: storag: no such key; did you mean storage?"


@pytest.mark.parametrize(
    "content",
    [
        b"\x7fELF\x02\x01\x01\0\0\0",
        b"\xff\xfe",
        b"a: [" * 50_000,
        b"[" * 1_000_000,
        b"#" * 2_000_000,
        b"&a [*a]",
        b"!!python/object/apply:os.system [id]",
        b"{",
        b"just words",
        b"a: 1\n" * 10_000,
    ],
    ids=range(10),
)
def test_what_is_no_settings_file_is_an_exit_code_and_lines(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.yml"
    path.write_bytes(content)
    result = check(path)
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == 1
    assert result.stderr
    assert all(line.startswith(f"{path}:") for line in result.stderr.splitlines())


def test_what_is_no_file_is_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "none", tmp_path / "fifo", tmp_path / ("a" * 300), "/dev/zero", ""):
        result = check(path)
        assert isinstance(result.exception, SystemExit)
        assert result.exit_code == 1
        assert len(result.stderr.splitlines()) == 1


def test_secrets_are_in_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "r.yml"
    for text in (GOOD, GOOD.replace("public: true, ", ""), GOOD.replace("hunter2", "{a: hunter2}")):
        path.write_text(text)
        assert "hunter2" not in check(path).output


def test_the_version() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert result.exit_code == 0
    assert result.output == f"regproxy, version {__version__}\n"


def test_the_help_names_the_verbs() -> None:
    assert "check" in CliRunner().invoke(main, ["-h"]).output


@pytest.mark.system
def test_as_a_process_on_a_terminal_that_lacks_the_letters(tmp_path: Path) -> None:
    path = tmp_path / "\u043a.yml"
    path.touch()
    run = subprocess.run(
        [sys.executable, "-c", "from regproxy.cli import main; main()", "check", os.fsencode(path)],
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONPATH": str(Path(main_file).parents[1])},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert run.stderr == b""
    assert run.returncode == 0
    assert run.stdout.startswith(os.fsencode(tmp_path) + b"/\\u043a.yml: the settings are good\n")


def test_how_clients_are_known_is_summed_up(tmp_path: Path) -> None:
    certificate, key = self_signed().write(tmp_path, "mirror")
    (tmp_path / "users").touch()
    path = tmp_path / "r.yml"
    path.write_text(
        f"listen: ssl:5443:privateKey={key}:certKey={certificate}:clientCA={certificate}\n"
        "admin: []\nstorage: {root: .}\naccess: {htpasswd: users}\n"
    )
    result = check(path)
    assert result.exit_code == 0, result.stderr
    assert "  known by   password, certificate" in result.stdout.splitlines()
    bound = path.with_name("bound.yml")
    bound.write_text(path.read_text().replace("listen: ", "upstreams: {a.example: {listen: '", 1))
    bound.write_text(bound.read_text().replace(f"clientCA={certificate}\n", f"clientCA={certificate}'}}}}\n"))
    assert "  known by   password, certificate" in check(bound).stdout.splitlines()
    path.write_text(path.read_text().replace(f"clientCA={certificate}", "clientCA=none.pem"))
    assert "none.pem: No such file or directory" in check(path).stderr


@pytest.mark.parametrize(
    ("users", "keys", "says"),
    [
        ("carol:$apr1$x", None, "access.htpasswd: {}/users: line 1: only bcrypt hashes"),
        (None, "{}", "access.tokens.keys_file: {}/keys: there is no public key in it"),
    ],
)
def test_files_that_let_nobody_in_are_told(
    tmp_path: Path, users: str | None, keys: str | None, says: str
) -> None:
    """What the daemon would end with."""
    (tmp_path / "users").write_text(users or "")
    (tmp_path / "keys").write_text(keys or PUBLIC)
    path = tmp_path / "r.yml"
    tokens = "{issuer: me, audience: a, keys_file: keys}"
    path.write_text(f"admin: []\nstorage: {{root: .}}\naccess: {{htpasswd: users, tokens: {tokens}}}\n")
    result = check(path)
    assert result.exit_code == 1
    assert result.stderr.startswith(says.format(tmp_path))
    (tmp_path / "users").write_text("carol:$apr1$x\nalice:$2b$04$" + "e" * 53)
    (tmp_path / "keys").write_text(PUBLIC)
    result = check(path)
    assert result.exit_code == 0
    assert f"  warning    access.htpasswd: {tmp_path}/users, line 1: only bcrypt" in result.stdout


PUBLIC = self_signed().certificate_pem.decode()
