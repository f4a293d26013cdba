"""``regproxy check`` looks at the places that settings name, and makes none of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from regproxy.cli import main
from regproxy.testing.certificates import self_signed


def check(folder: Path, **changed: Any) -> Result:
    path = folder / "r.yml"
    path.write_text(json.dumps({"admin": [], "storage": {"root": str(folder / "data")}, **changed}))
    return CliRunner().invoke(main, ["check", str(path)])


def tls(key: object, certificate: object) -> list[str]:
    return [f"ssl:5000:privateKey={key}:certKey={certificate}"]


def test_what_is_there_is_good(tmp_path: Path) -> None:
    certificate, key = self_signed().write(tmp_path, "mirror")
    (tmp_path / "access.log").write_text("")
    before = sorted(tmp_path.iterdir())
    admin = [f"unix:{tmp_path}/admin.sock"]
    log = {"access": str(tmp_path / "access.log")}
    result = check(tmp_path, listen=tls(key, certificate), admin=admin, log=log)
    assert result.exit_code == 0, result.output
    assert "warning" not in result.output
    assert sorted(tmp_path.iterdir()) == [*before, tmp_path / "r.yml"]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"listen": tls("{0}/no.key", "{0}/no.pem")}, "{0}/no.key: No such file or directory"),
        ({"listen": tls("{0}/a.key", "{0}/b.pem")}, "the key or the certificate cannot be used"),
        ({"listen": tls("{0}/r.yml", "{0}/r.yml")}, "the key or the certificate cannot be used"),
        ({"log": {"access": "{0}/no/access.log"}}, "log.access: there is no folder {0}/no"),
        ({"log": {"access": "{0}"}}, "log.access: {0} is a folder"),
        ({"storage": {"root": "{0}/a.key/data"}}, "storage.root: {0}/a.key is not a folder"),
        ({"storage": {"root": "{0}/astray"}}, "storage.root: {0}/astray is not a folder"),
        ({"admin": ["unix:{0}/no/admin.sock"]}, "there is no folder {0}/no"),
        ({"admin_token_file": "{0}/none"}, "admin_token_file {0}/none: No such file or directory"),
        ({"admin_token_file": "{0}/a.pem"}, "admin_token_file {0}/a.pem: its mode 644 is open to others"),
        (
            {"upstreams": {"a.example": {"listen": tls("{0}/no.key", "{0}/no.pem")}}},
            "{0}/no.key: No such file or directory",
        ),
    ],
)
def test_what_would_end_a_start_is_told(changed: dict[str, Any], says: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        self_signed().write(tmp_path, name)
    (tmp_path / "a.pem").chmod(0o644)
    (tmp_path / "astray").symlink_to("/nowhere/at/all")
    changed = json.loads(json.dumps(changed).replace("{0}", str(tmp_path)))
    result = check(tmp_path, **changed)
    assert result.exit_code == 1
    assert says.replace("{0}", str(tmp_path)) in result.stderr
    assert result.stdout == ""


def test_what_only_this_user_may_not_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon may be another one; root may write everywhere, so nobody is asked here."""
    monkeypatch.setattr(os, "access", lambda path, mode, **_: mode != os.W_OK)
    result = check(tmp_path, log={"access": str(tmp_path / "access.log")})
    assert result.exit_code == 0
    assert f"log.access: {tmp_path} cannot be written by this user" in result.stdout


def test_a_token_that_only_the_daemon_may_read_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.secret").write_text("short")
    monkeypatch.setattr(os, "access", lambda path, mode, **_: not str(path).endswith("/a.secret"))
    result = check(tmp_path, admin_token_file="a.secret")
    assert result.exit_code == 0
    assert f"admin_token_file {tmp_path}/a.secret: " in result.stdout


@pytest.mark.parametrize("name", ["storage.root", "log.access", "unix:"])
def test_what_this_user_may_not_see_is_a_warning(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of the daemon's own, looked at by somebody else."""
    hidden, stat = str(tmp_path / "hidden"), os.stat

    def refuse(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if str(path).startswith(f"{hidden}/"):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refuse)
    changed: dict[str, dict[str, Any]] = {
        "storage.root": {"storage": {"root": f"{hidden}/data"}},
        "log.access": {"log": {"access": f"{hidden}/access.log"}},
        "unix:": {"admin": [f"unix:{hidden}/run/admin.sock"]},
    }
    result = check(tmp_path, **changed[name])
    assert result.exit_code == 0, result.output
    assert "cannot be seen by this user" in result.stdout
    assert name in result.stdout
