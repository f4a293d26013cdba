"""The file of users."""

from __future__ import annotations

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.access.htpasswd import _HASH, MAX_COST, parse_htpasswd
from regproxy.access.identity import MAX_NAME
from regproxy.smallfile import Unusable
from tests.access.known import ALICE, BOB


def test_users_comments_and_empty_lines() -> None:
    users = parse_htpasswd(b"# ours\n\nalice:" + ALICE + b"\r\nbob:" + BOB.replace(b"$2b$", b"$2y$") + b"\n")
    assert users.hashes == {b"alice": ALICE, b"bob": BOB.replace(b"$2b$", b"$2y$")}
    assert users.unusable == ""


def test_an_empty_file_has_no_users() -> None:
    assert parse_htpasswd(b"").hashes == {}


BAD = [
    b"carol:$apr1$mGKgLQ2P$QVNXYbyNjVJLNT9xgjz1F.",
    b"carol:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
    b"carol:plain",
    b"carol:",
    b"carol",
    b":" + ALICE,
    b"c" * (MAX_NAME + 1) + b":" + ALICE,
    b"\xff:" + ALICE,
    b"carol:" + ALICE + b":more",
    b"carol:" + ALICE[:28] + b"A" + ALICE[29:],
    b"carol:" + ALICE.replace(b"$04$", b"$%d$" % (MAX_COST + 1)),
]


@pytest.mark.parametrize("line", BAD)
def test_a_line_that_cannot_be_used_is_named_and_passed_over(line: bytes) -> None:
    users = parse_htpasswd(b"alice:" + ALICE + b"\n" + line + b"\n")
    assert list(users.hashes) == [b"alice"]
    assert users.unusable.startswith("line 2: only bcrypt hashes")
    assert "htpasswd -B" in users.unusable


@pytest.mark.parametrize("line", BAD)
def test_a_file_of_nothing_else_is_refused(line: bytes) -> None:
    """htpasswd without -B makes such files, and nobody could log in."""
    with pytest.raises(Unusable, match=r"line 2, 3: only bcrypt .* htpasswd -B"):
        parse_htpasswd(b"#\n" + line + b"\n" + line)


@given(st.from_regex(_HASH, fullmatch=True))
def test_a_hash_that_is_taken_can_be_checked(written: bytes) -> None:
    """One that cannot would be a 500 for its user, and for users that are unknown."""
    assert not bcrypt.checkpw(b"x", b"$2b$04$" + written[7:])


def test_not_every_line_is_named() -> None:
    assert "line 1, 2, 3, 4, 5 and 95 more" in parse_htpasswd(b"x:y\n" * 100 + b"a:" + ALICE).unusable


def test_no_hash_is_shown() -> None:
    users = parse_htpasswd(b"alice:" + ALICE)
    assert ALICE.decode() not in repr(users)


@given(st.binary(max_size=200))
def test_any_bytes_are_users_or_unusable(content: bytes) -> None:
    try:
        users = parse_htpasswd(content)
    except Unusable:
        return
    assert all(users.hashes.values())
