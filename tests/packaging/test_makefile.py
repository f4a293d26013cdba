"""The Makefile says what it lacks, and installs once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require_program

ROOT = Path(__file__).resolve().parents[2]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = require_program("make")
    ours = ("MAKE", "ARGS", "PYTHON", "VENV")  # `make test ARGS=...` exports what it was told
    environ = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return subprocess.run(
        [str(program), "--no-print-directory", "-C", str(ROOT), *arguments],
        env=environ,
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )


def installed(venv: Path) -> Path:
    """A virtual environment in which everything seems to be installed already."""
    (venv / "bin").mkdir(parents=True)
    newest = max((ROOT / name).stat().st_mtime for name in ("pyproject.toml", "setup.py")) + 1
    for name in ("bin/python", ".run", ".test", ".dev"):
        (venv / name).touch()
        os.utime(venv / name, (newest, newest))
    return venv


@pytest.mark.parametrize("target", ["run", "test", "fuzz", "check", "demo", "clean"])
def test_help_names_the_target(target: str) -> None:
    assert f"make {target} " in make().stdout


def test_an_old_python_is_refused_by_name(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\ntest "$1" = -V && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    ended = make("run", f"PYTHON={old}", f"VENV={tmp_path}/venv")
    assert ended.returncode != 0
    assert "regproxy needs Python 3.10 or newer" in ended.stderr
    assert "Python 3.9.2" in ended.stderr


def test_a_python_without_venv_is_refused_with_the_package(tmp_path: Path) -> None:
    bare = tmp_path / "python3"
    bare.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\n')
    bare.chmod(0o755)
    ended = make("run", f"PYTHON={bare}", f"VENV={tmp_path}/venv")
    assert ended.returncode != 0
    assert "install python3-venv" in ended.stderr


def test_a_second_run_installs_nothing(tmp_path: Path) -> None:
    venv = installed(tmp_path / "venv")
    assert make("-n", "run", f"VENV={venv}").stdout.split() == [
        "exec",
        f"{venv}/bin/twistd",
        "--nodaemon",
        "--pidfile=",
        "regproxy",
    ]


def test_changed_dependencies_are_installed(tmp_path: Path) -> None:
    venv = installed(tmp_path / "venv")
    os.utime(venv / ".run", (1, 1))
    assert "pip install" in make("-n", "run", f"VENV={venv}").stdout


def test_ci_checks_everything_in_one_command() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "exec make check" in script.read_text("utf-8")
    planned = make("-n", "check", "CI=true").stdout
    assert all(step in planned for step in ("-m pytest", "ruff check", "ruff format --check", "mypy"))
