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


def test_endpoints_that_are_not_asked(tmp_path: Path) -> None:
    [line] = warnings(
        tmp_path, "upstreams: {a.example: {endpoints: ['https://b.example', 'https://c.example']}}"
    )
    assert line.startswith("upstreams.a.example.endpoints")
