"""Credentials: read when needed, shown nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from regproxy.errors import UpstreamRefused
from regproxy.settings import Credentials
from regproxy.upstream.credentials import CredentialSource, Login


def test_none() -> None:
    source = CredentialSource("up", None)
    assert not source
    assert source.login() is None


def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    """Its first line, without the line end (P17)."""
    path = tmp_path / "password"
    source = CredentialSource("up", Credentials("me", password_file=path))
    for content, password in (
        (b"one\n", "one"),
        (b"two\r\nnot this", "two"),
        (b" three ", " three "),
        (b"", ""),
    ):
        path.write_bytes(content)
        assert source.login() == Login("me", password)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    source = CredentialSource("up", Credentials("me", password_file=tmp_path / "password"))
    with pytest.raises(UpstreamRefused, match="cannot read its password file") as refused:
        source.login()
    assert str(tmp_path) not in str(refused.value)
    assert f"{tmp_path / 'password'}: No such file" in refused.value.for_log
    (tmp_path / "password").write_bytes(b"secret\xff")
    with pytest.raises(UpstreamRefused, match="not UTF-8") as caught:
        source.login()
    assert "secret" not in str(caught.value)


def test_nothing_shows_the_password() -> None:
    login = Login("me", "hunter2")
    assert "hunter2" not in repr(login) + str(login)
    assert login.basic == "Basic bWU6aHVudGVyMg=="
