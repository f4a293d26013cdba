"""A secret in a file: read where nobody else can read it, and refused in words that do not tell it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from regproxy.errors import SecretUnusable
from regproxy.secretfile import MAX_BYTES, MIN_LENGTH, read_secret
from regproxy.testing.secrets import MARKER

SECRET = f"{MARKER}-{'x' * 40}"


def written(folder: Path, content: bytes, mode: int = 0o640) -> Path:
    path = folder / "admin.token"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def refused(path: Path) -> str:
    with pytest.raises(SecretUnusable) as caught:
        read_secret(path)
    assert MARKER not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\nsecond line\n"])
@pytest.mark.parametrize("mode", [0o640, 0o600, 0o440, 0o400])
def test_its_first_line_is_the_secret(tmp_path: Path, ending: str, mode: int) -> None:
    assert read_secret(written(tmp_path, (SECRET + ending).encode(), mode)) == SECRET.encode()


def test_it_is_read_each_time(tmp_path: Path) -> None:
    path = written(tmp_path, SECRET.encode())
    read_secret(path)
    path.write_text(SECRET.replace("x", "y"))
    assert read_secret(path) == SECRET.replace("x", "y").encode()


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o601, 0o660, 0o666])
def test_one_that_others_can_open_is_refused(tmp_path: Path, mode: int) -> None:
    assert f"its mode {mode:03o}" in refused(written(tmp_path, SECRET.encode(), mode))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"\nsecret on the second line, which is none\n", "empty"),
        (f"{MARKER}{'x' * (MIN_LENGTH - len(MARKER) - 1)}".encode(), f"less than {MIN_LENGTH} signs"),
        (f"{MARKER} {SECRET}".encode(), "blanks"),
        (f"{SECRET}\x00".encode(), "printable"),
        (f"{SECRET}ä".encode(), "printable"),
        (SECRET.encode() * MAX_BYTES, "larger"),
    ],
)
def test_what_is_no_secret_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refused(written(tmp_path, content))


def test_the_shortest_is_long_enough(tmp_path: Path) -> None:
    assert len(read_secret(written(tmp_path, b"x" * MIN_LENGTH))) == MIN_LENGTH


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """A pipe that nobody writes would be waited for."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "not a regular file" in refused(tmp_path / "pipe")
    assert "not a regular file" in refused(tmp_path)
    assert "No such file" in refused(tmp_path / "none")


def test_a_link_to_one_is_one(tmp_path: Path) -> None:
    """As volumes with secrets in them are made."""
    target = written(tmp_path, SECRET.encode())
    (tmp_path / "link").symlink_to(target)
    assert read_secret(tmp_path / "link") == SECRET.encode()
