"""What is read and has no effect yet is told."""

from __future__ import annotations

from pathlib import Path

from regproxy.config import load


def warnings(tmp_path: Path, text: str) -> tuple[str, ...]:
    file = tmp_path / "regproxy.yml"
    file.write_text(text)
    return load(file, {}).warnings


def test_nothing_is_said_of_nothing(tmp_path: Path) -> None:
    assert warnings(tmp_path, "") == ()


def test_limits_of_the_disk(tmp_path: Path) -> None:
    said = warnings(tmp_path, "storage: {max_size: 1 GiB, min_free: 5 GiB}")
    assert [line.split()[0] for line in said] == ["storage.max_size", "storage.min_free"]
