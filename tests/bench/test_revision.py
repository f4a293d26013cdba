"""Another commit as a source tree."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench.errors import BenchFailed
from bench.revision import describe, unpack


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=someone", "-c", "user.email=someone@example.test"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, timeout=30)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    for name in ("regproxy", "twisted"):
        (root / name).mkdir(parents=True)
        (root / name / "file.py").write_text("first")
    git(tmp_path, "init", "--quiet", str(root))
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "first")
    git(root, "tag", "v1")
    (root / "regproxy" / "file.py").write_text("second")
    git(root, "commit", "--quiet", "-am", "second")
    return root


def test_a_commit_is_unpacked_and_the_tree_left_alone(repository: Path, tmp_path: Path) -> None:
    unpack(repository, "v1", tmp_path / "old")
    assert (tmp_path / "old" / "regproxy" / "file.py").read_text() == "first"
    assert (tmp_path / "old" / "twisted" / "file.py").is_file()
    assert (repository / "regproxy" / "file.py").read_text() == "second"


def test_its_name_says_whether_files_differ(repository: Path) -> None:
    clean = describe(repository)
    assert describe(repository, "v1") not in ("", clean)
    (repository / "regproxy" / "file.py").write_text("third")
    assert describe(repository) == f"{clean}+"


@pytest.mark.parametrize("wrong", ["nothing", "--output=/tmp/x", "v1:regproxy"])
def test_what_is_no_commit_is_said(repository: Path, tmp_path: Path, wrong: str) -> None:
    with pytest.raises(BenchFailed, match="git"):
        unpack(repository, wrong, tmp_path / "old")
