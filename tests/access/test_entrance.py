"""The one place that lets requests in, and what it is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor

from regproxy.access.challenges import Challenges
from regproxy.access.entrance import Entrance
from regproxy.access.identity import ANONYMOUS, Identity, Proof
from regproxy.access.opening import open_entrance
from regproxy.access.policy import Policy
from regproxy.access.tokens import Tokens
from regproxy.errors import AccessDenied, IdentityNeeded
from regproxy.oci.repository import Repository
from regproxy.settings import AccessSettings, TokenSettings
from regproxy.smallfile import Unusable
from tests.access.known import ALICE, basic, entrance
from tests.access.signing import AUDIENCE, EC_KEY, ISSUER, NOW_S, public_pem, signed
from tests.access.test_tokens import KEYS
from tests.logged import logging

TOKENS = Tokens(ISSUER, AUDIENCE, lambda: KEYS, lambda: NOW_S)


def who(at: Entrance, sent: bytes) -> Any:
    found: list[Any] = []
    at.identify(sent, "10.0.0.1").addBoth(found.append)
    return found[0]


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        (basic("alice", "hunter2-right").encode(), "alice"),
        (b"bAsIc  " + basic("alice", "hunter2-right").encode()[6:] + b" ", "alice"),
        (b"Bearer " + signed(), "ci"),
        (b"bearer " + signed(), "ci"),
    ],
)
def test_each_way_to_say_who_one_is(sent: bytes, name: str) -> None:
    assert who(entrance(tokens=TOKENS), sent).name == name


@given(st.binary(max_size=200) | st.binary(max_size=80).map(lambda rest: b"Basic " + rest))
def test_any_header_is_somebody_or_nobody(sent: bytes) -> None:
    assert who(entrance(tokens=TOKENS), sent) is ANONYMOUS


def test_each_way_only_where_it_is_wanted() -> None:
    assert who(entrance(), b"Bearer " + signed()) is ANONYMOUS
    only_tokens = Entrance(Policy([]), Challenges(False, None, "mirror"), None, TOKENS)
    assert who(only_tokens, basic("alice", "hunter2-right").encode()) is ANONYMOUS


def test_what_a_refusal_becomes() -> None:
    """401 where another proof may help and can be asked for; 403 elsewhere."""
    repository = Repository("docker.io", "a")
    with pytest.raises(IdentityNeeded) as asked:
        entrance().check_pulls(ANONYMOUS, repository)
    assert asked.value.challenges == ('Basic realm="regproxy"',)
    with pytest.raises(AccessDenied, match="client certificate"):
        Entrance(Policy([], anonymous=False)).check_enters(ANONYMOUS)
    entrance().check_pulls(Identity("x", Proof.CERTIFICATE), repository)


def opened(tmp_path: Path, **changes: Any) -> Entrance:
    made, close = open_entrance(AccessSettings(**changes), [], reactor, lambda: NOW_S)
    close()
    return made


def test_from_the_settings(tmp_path: Path) -> None:
    (tmp_path / "users").write_bytes(b"alice:" + ALICE)
    (tmp_path / "keys").write_bytes(public_pem(EC_KEY))
    settings = TokenSettings(ISSUER, AUDIENCE, tmp_path / "keys", "https://auth.test/token")
    made = opened(tmp_path, htpasswd=tmp_path / "users", tokens=settings, anonymous=False)
    assert made.asks
    assert who(made, b"Bearer " + signed()).name == "ci"
    with pytest.raises(IdentityNeeded) as asked:
        made.check_enters(ANONYMOUS)
    assert [each.split()[0] for each in asked.value.challenges] == ["Bearer", "Basic"]
    assert not opened(tmp_path).asks


def test_lines_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    (tmp_path / "users").write_bytes(b"alice:" + ALICE + b"\ncarol:$apr1$hunter2\n")
    with logging() as logged:
        opened(tmp_path, htpasswd=tmp_path / "users")
    (line,) = logged.lines("warn")
    assert line.startswith(f"access.htpasswd: {tmp_path}/users, line 2: only bcrypt hashes")


@pytest.mark.parametrize("content", [None, b"carol:plain"])
def test_users_of_no_use_stop_the_start(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "users").write_bytes(content)
    with pytest.raises(Unusable, match=f"access.htpasswd: {tmp_path}/users: "):
        opened(tmp_path, htpasswd=tmp_path / "users")


def test_keys_of_no_use_stop_the_start(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"{}")
    tokens = TokenSettings(ISSUER, AUDIENCE, tmp_path / "keys")
    with pytest.raises(Unusable, match=r"access\.tokens\.keys_file: .*there is no public key in it"):
        opened(tmp_path, tokens=tokens)
