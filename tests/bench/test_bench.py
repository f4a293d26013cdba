"""The whole bench with tiny sizes: every case, every target, both files; ended in the middle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.cases import CASES
from bench.figures import FIGURES
from tests.conftest import require_program

ROOT = Path(__file__).resolve().parent.parent.parent
TINY = ["--runs", "1", "--size", "1MiB", "--shared-size", "64KiB", "--layer-size", "4KiB", "--layers", "3"]
TINY += [
    "--clients",
    "5",
    "--readers",
    "4",
    "--nodes",
    "3",
    "--far-size",
    "64KiB",
    "--seconds",
    "0.1",
    "--limit",
    "120",
]

pytestmark = pytest.mark.system


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    require_program("docker-registry")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *TINY, "--output", str(tmp_path / "out"), *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_every_case_on_every_target(tmp_path: Path) -> None:
    process = start(tmp_path)
    out, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    medians = json.loads((tmp_path / "out" / "bench.json").read_text())["medians"]
    assert set(medians) == {case.name for case in CASES}
    for case, targets in medians.items():
        ours = next(one.ours for one in CASES if one.name == case)
        assert set(targets) == ({"regproxy"} if ours else {"upstream", "docker-registry", "regproxy"}), case
        assert all(set(figures) <= set(FIGURES) for figures in targets.values()), case
    assert medians["many-clients"]["regproxy"]["upstream_gets"] == 1
    assert medians["manifest-tag"]["regproxy"]["requests_s"] > 0
    assert (tmp_path / "out" / "bench.md").read_text() in out
    assert not list((tmp_path / "temporary").iterdir())


def test_ended_in_the_middle_it_leaves_a_report_and_nothing_else(tmp_path: Path) -> None:
    process = start(tmp_path, "--only", "cold-blob", "--runs", "1000")
    assert process.stderr is not None
    while "run 2" not in (line := process.stderr.readline()):
        assert line, "it ended by itself"
    process.terminate()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "| cold blob of 1 MiB | seconds |" in out, "what was measured so far is told"
    assert "ended by a signal" in err
    assert not list((tmp_path / "temporary").iterdir())
    _expect_nobody(str(tmp_path / "temporary"))


def _expect_nobody(folder: str) -> None:
    """No process is left whose command line names the folder."""
    end = time.monotonic() + 5
    while left := [path for path in Path("/proc").glob("[0-9]*/cmdline") if folder in _text(path)]:
        assert time.monotonic() < end, left
        time.sleep(0.05)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_a_commit_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    process = start(tmp_path, "--against", "no-such-commit")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err.startswith("bench: git: ")
    assert "Traceback" not in err


def test_a_size_that_is_none_is_said(tmp_path: Path) -> None:
    process = start(tmp_path, "--size", "huge")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "'huge' is no size" in err
