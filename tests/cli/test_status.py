"""``regproxy status``: options, exit codes, where it asks, and what it costs to start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from regproxy import __file__ as main_file
from regproxy.cli import main
from tests.cli.pages import full
from tests.cli.test_asking import GOOD, answering, sending, serving


def status(*arguments: str, **environ: str) -> Result:
    return CliRunner(env={"REGPROXY_CONFIG": None, "COLUMNS": "60", **environ}).invoke(
        main, ["status", *arguments]
    )


def written(folder: Path, *admin: str) -> Path:
    path = folder / "regproxy.yml"
    path.write_text(json.dumps({"admin": list(admin), "storage": {"root": str(folder / "root")}}))
    return path


def test_the_picture_as_wide_as_it_may_be(tmp_path: Path) -> None:
    with serving(answering(GOOD), tmp_path / "a.sock"):
        result = status("--admin", str(tmp_path / "a.sock"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("regproxy 1.2.3  ready  up 1d 2h\n")
    assert max(map(len, result.stdout.splitlines())) <= 60
    assert "\x1b" not in result.stdout


def test_the_document_on_one_line() -> None:
    with serving(answering(json.dumps(full(version=7), indent=1).encode())) as address:
        result = status("--json", "--admin", f"http://{address}")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == full(version=7)
    assert result.stdout.count("\n") == 1


def test_the_settings_say_where(tmp_path: Path) -> None:
    path = written(tmp_path, f"unix:{tmp_path}/a.sock")
    for arguments, environ in (
        (("-c", str(path)), {}),
        (("--config", str(path)), {"REGPROXY_CONFIG": "/nowhere"}),
        ((), {"REGPROXY_CONFIG": str(path)}),
    ):
        with serving(answering(GOOD), tmp_path / "a.sock"):
            assert status(*arguments, **environ).exit_code == 0
        (tmp_path / "a.sock").unlink()


def test_without_a_file_the_built_in_ones_do(tmp_path: Path) -> None:
    with serving(answering(GOOD), tmp_path / "admin.sock"):
        assert status(RUNTIME_DIRECTORY=str(tmp_path)).exit_code == 0


def told(result: Result) -> tuple[int, str]:
    """Exit code and the one line; nothing else, and no traceback."""
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.exit_code, result.stderr


def test_exit_codes(tmp_path: Path) -> None:
    code, line = told(status("--admin", str(tmp_path / "none")))
    assert (code, line) == (3, f"regproxy: {tmp_path}/none: no daemon there (No such file or directory)\n")
    with serving(answering(b'{"error": "not you"}', "403 Forbidden")) as address:
        assert told(status("--admin", f"http://{address}"))[0] == 4
    with serving(sending(b"SSH-2.0\r\n")) as address:
        assert told(status("--admin", f"http://{address}"))[0] == 5
    with serving(answering(json.dumps(full(version=2)).encode())) as address:
        assert told(status("--admin", f"http://{address}"))[0] == 5
    with serving(answering(json.dumps(full(disk=7)).encode())) as address:
        assert "disk is not an object" in told(status("--admin", f"http://{address}"))[1]


def test_settings_that_cannot_be_used_are_told_as_check_tells_them(tmp_path: Path) -> None:
    path = tmp_path / "r.yml"
    path.write_text("ttl: 7\n")
    code, line = told(status("-c", str(path)))
    assert code == 1
    assert line.startswith(f"{path}:1: ttl: ")


def test_settings_without_a_listener_to_ask(tmp_path: Path) -> None:
    code, line = told(status("-c", str(written(tmp_path))))
    assert code == 3
    assert "--admin" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("--admin", "localhost:5001"),
        ("--admin", "tcp:0"),
        ("--interval", "0"),
        ("--interval", "nan"),
        ("--interval", "inf"),
        ("--interval", "1s"),
        ("--wach",),
        ("file",),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    result = status(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_the_help_has_the_exit_codes() -> None:
    shown = status("--help").stdout
    assert all(f"{code} " in shown for code in (0, 1, 3, 4, 5, 6))


def run(code: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(main_file).parents[1])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.system
def test_it_starts_without_a_reactor_and_all_that_hangs_on_it() -> None:
    """What makes it start fast: a fifth of the time that the daemon's modules take."""
    ended = run(
        "import sys, regproxy.cli.status;"
        "print([n for n in ('twisted', 'klein', 'treq', 'OpenSSL', 'prometheus_client') if n in sys.modules])"
    )
    assert ended.stdout == "[]\n", ended


@pytest.mark.system
def test_a_reader_that_leaves_ends_it_quietly(tmp_path: Path) -> None:
    """``regproxy status --json | true``: no traceback."""
    with serving(answering(GOOD), tmp_path / "a.sock"):
        ended = subprocess.run(
            ["sh", "-c", f'{sys.executable} -m regproxy status --json --admin "{tmp_path}/a.sock" | true'],
            env={"PYTHONPATH": str(Path(main_file).parents[1]), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert ended.stderr == ""


def test_an_output_that_takes_nothing_is_a_line(tmp_path: Path) -> None:
    with serving(answering(GOOD), tmp_path / "a.sock"), open("/dev/full", "wb") as full_disk:
        done = subprocess.run(
            [sys.executable, "-m", "regproxy", "status", "--json", "--admin", str(tmp_path / "a.sock")],
            cwd=Path(main_file).parents[1],
            stdout=full_disk,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    said = done.stderr.decode()
    assert said == "regproxy: standard output cannot be written: No space left on device\n"
