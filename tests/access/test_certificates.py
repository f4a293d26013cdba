"""Whom a client certificate names."""

from __future__ import annotations

import pytest
from twisted.internet.testing import StringTransport

from regproxy.access.certificates import certificate_identity, named_by
from regproxy.access.identity import MAX_NAME
from regproxy.testing.certificates import self_signed

AUTHORITY = self_signed()


@pytest.mark.parametrize(
    ("common_name", "hosts", "name"),
    [
        ("node-7", ["other.test"], "node-7"),
        (None, ["node-8.test", "x.test"], "node-8.test"),
        (None, [], None),
        (None, ["10.0.0.1"], None),
        ("n" * 64, [], "n" * 64),
    ],
)
def test_the_common_name_else_the_first_alternative_one(
    common_name: str | None, hosts: list[str], name: str | None
) -> None:
    assert named_by(AUTHORITY.sign(common_name, hosts).certificate) == name


def test_a_name_that_is_too_long_is_nobodys() -> None:
    host = ".".join(["a" * 60] * 3)
    assert len(host) > MAX_NAME
    assert named_by(AUTHORITY.sign(None, [host]).certificate) is None


def test_without_tls_there_is_none() -> None:
    assert certificate_identity(StringTransport()) is None
