"""Defaults that depend on the machine."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from regproxy.config import defaults, load


def test_the_folder_that_systemd_gives_comes_first(tmp_path: Path) -> None:
    given, system = tmp_path / "state", tmp_path / "lib"
    given.mkdir()
    system.mkdir()
    assert defaults.root({"STATE_DIRECTORY": f"{given}:/other"}, system) == given


def test_one_that_exists_comes_before_one_that_can_be_made(tmp_path: Path) -> None:
    home = tmp_path / "home/.local/state/regproxy"
    home.mkdir(parents=True)
    environ = {"HOME": str(tmp_path / "home")}
    assert defaults.root(environ, tmp_path / "lib/regproxy") == home


def test_without_any_the_first_that_can_be_made_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environ = {"STATE_DIRECTORY": f"{tmp_path}/file/under", "HOME": str(tmp_path)}
    assert defaults.root(environ, tmp_path / "a/b/c") == tmp_path / "a/b/c"
    assert defaults.root(environ, tmp_path / "file") == tmp_path / ".local/state/regproxy"
    assert defaults.root({**environ, "XDG_STATE_HOME": f"{tmp_path}/x"}, tmp_path / "file") == (
        tmp_path / "x/regproxy"
    )
    assert sorted(os.listdir(tmp_path)) == ["file"]


def test_a_folder_that_may_not_be_entered_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon's own, when a person runs a second one by hand."""
    system = tmp_path / "lib"
    system.mkdir()
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != system and allowed(path, mode))
    assert defaults.root({"HOME": str(tmp_path)}, system) == tmp_path / ".local/state/regproxy"


def test_where_nothing_can_be_made_the_first_one_says_why_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert defaults.root({}, tmp_path / "file/x") == tmp_path / "file/x"


@pytest.mark.parametrize("value", ["", "relative", ":/x", "/a\0b"])
def test_what_is_no_absolute_path_counts_as_not_set(value: str) -> None:
    assert defaults.folder({"X": value}, "X") is None


def test_the_admin_socket() -> None:
    port = "tcp:5001:interface=127.0.0.1"
    assert defaults.admin({}, Path("/srv/a:b")) == (r"unix:/srv/a\:b/admin.sock:mode=660", port)
    assert defaults.admin({"RUNTIME_DIRECTORY": "/run/regproxy"}, Path("/srv")) == (
        "unix:/run/regproxy/admin.sock:mode=660",
        port,
    )


def test_listening() -> None:
    assert defaults.listen(True) == ("tcp6:5000",)
    assert defaults.listen(False) == ("tcp:5000",)


def test_a_kernel_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "no such family")

    monkeypatch.setattr(socket, "socket", refuse)
    assert not defaults.kernel_has_ipv6()
    assert load(None, {}).listen == ("tcp:5000",)


def test_the_environment_is_that_which_is_passed_in(tmp_path: Path) -> None:
    found = load(None, {"STATE_DIRECTORY": str(tmp_path), "RUNTIME_DIRECTORY": "/run/r"})
    assert found.storage.root == tmp_path
    assert found.admin == ("unix:/run/r/admin.sock:mode=660", "tcp:5001:interface=127.0.0.1")
    assert not found.admin_written
