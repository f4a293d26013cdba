"""Bearer tokens: whose, for whom, until when, for what."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from regproxy.access.identity import MAX_NAME, Identity, Proof
from regproxy.access.keys import parse_keys
from regproxy.access.tokens import LEEWAY_S, MAX_REMEMBERED, Tokens
from tests.access.signing import (
    ALL,
    AUDIENCE,
    EC_KEY,
    ED_KEY,
    ISSUER,
    NOW_S,
    RSA_KEY,
    claims,
    forged,
    jwk,
    key_set,
    public_pem,
    signed,
)

KEYS = parse_keys(key_set(*(jwk(key, name, kid=f"key-{name}") for name, key in ALL.items())))


class Room:
    def __init__(self) -> None:
        self.now_s = NOW_S
        self.keys = KEYS
        self.tokens = Tokens(ISSUER, AUDIENCE, lambda: self.keys, lambda: self.now_s)

    def ask(self, token: bytes) -> Identity | None:
        return self.tokens.identify(token)


@pytest.mark.parametrize("algorithm", list(ALL))
@pytest.mark.parametrize("named", [True, False])
def test_a_token_of_each_algorithm(algorithm: str, named: bool) -> None:
    found = Room().ask(signed(algorithm, kid=f"key-{algorithm}" if named else None))
    assert found == Identity("ci", Proof.TOKEN, frozenset({"docker.io/library/nginx"}), False)


def test_a_kid_of_another_issuers_is_no_reason_to_refuse() -> None:
    """PEM files have none; the key decides."""
    assert Room().ask(signed(kid="ABCD:EFGH")) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.test"},
        {"iss": None},
        {"aud": "other.test"},
        {"aud": None},
        {"aud": ["other.test"]},
        {"exp": NOW_S - LEEWAY_S},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": 1e308},
        {"exp": {}},
        {"nbf": NOW_S + LEEWAY_S + 1},
        {"nbf": "yesterday"},
        {"sub": "x" * (MAX_NAME + 1)},
        {"sub": ["ci"]},
    ],
)
def test_what_is_not_believed(changes: dict[str, Any]) -> None:
    assert Room().ask(signed(**changes)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ["other.test", AUDIENCE]},
        {"exp": NOW_S - LEEWAY_S + 1},
        {"nbf": NOW_S + LEEWAY_S},
        {"nbf": None},
        {"iat": NOW_S + 3600},
        {"sub": None},
        {"jti": 7},
    ],
)
def test_what_is(changes: dict[str, Any]) -> None:
    """Clocks differ by some seconds; what nobody needs is not asked for."""
    assert Room().ask(signed(**changes)) is not None


STRANGERS = {"ES256": ec.generate_private_key(ec.SECP256R1()), "RS256": rsa.generate_private_key(65537, 2048)}


@pytest.mark.parametrize("algorithm", list(STRANGERS))
def test_a_strangers_key(algorithm: str) -> None:
    room = Room()
    assert room.ask(signed(algorithm, STRANGERS[algorithm])) is None
    assert room.ask(signed(algorithm, STRANGERS[algorithm], kid=f"key-{algorithm}")) is None


@pytest.mark.parametrize("name", ["none", "None", "NONE", "", "HS256"])
def test_unsigned_ones(name: str) -> None:
    assert Room().ask(forged({"alg": name, "typ": "JWT"}, claims())) is None


@pytest.mark.parametrize("key", [RSA_KEY, EC_KEY, ED_KEY])
@pytest.mark.parametrize("alg", ["HS256", "RS256", "ES256"])
def test_a_public_key_is_no_secret(key: Any, alg: str) -> None:
    """Signed with the published key, as if it were shared (CVE-2015-9235 and its kin)."""
    unsigned = forged({"alg": alg, "typ": "JWT"}, claims()).rpartition(b".")[0]
    signature = hmac.new(public_pem(key), unsigned, hashlib.sha256).digest()
    assert Room().ask(forged({"alg": alg, "typ": "JWT"}, claims(), signature)) is None


@pytest.mark.parametrize("name", ["jwk", "x5c", "jku", "x5u"])
def test_keys_that_a_token_brings_are_not_looked_at(name: str) -> None:
    stranger = STRANGERS["ES256"]
    token = jwt.encode(claims(), stranger, "ES256", {name: jwk(stranger, "ES256")})
    assert Room().ask(token.encode()) is None


@given(st.binary(max_size=200) | st.tuples(*[st.binary(max_size=30)] * 3).map(b".".join))
def test_any_bytes_are_nobody(token: bytes) -> None:
    assert Room().ask(token) is None


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_byte_of_a_token_can_be_changed(at: int, by: int) -> None:
    token = bytearray(TOKEN)
    at %= len(token) - 1  # the last sign has bits that are not the signature's
    token[at] ^= by
    assert Room().ask(bytes(token)) is None


TOKEN = signed()


def test_a_token_expires_also_where_it_is_remembered() -> None:
    room = Room()
    assert room.ask(TOKEN) is not None
    room.now_s += 300 + LEEWAY_S
    assert room.ask(TOKEN) is None


def test_a_key_that_is_taken_away_counts_no_more() -> None:
    room = Room()
    assert room.ask(TOKEN) is not None
    room.keys = parse_keys(key_set(jwk(ED_KEY, "EdDSA")))
    assert room.ask(TOKEN) is None
    assert room.ask(signed("EdDSA")) is not None


def test_a_signature_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room()
    room.ask(TOKEN)
    monkeypatch.setattr("regproxy.access.tokens.jwt.decode", None)
    assert room.ask(TOKEN) is not None


def test_what_is_remembered_is_bounded_and_no_token() -> None:
    room = Room()
    room.ask(TOKEN)
    known = next(iter(room.tokens._known.values()))
    for number in range(MAX_REMEMBERED):
        room.tokens._known[b"%d" % number] = known
    room.ask(signed(sub="other"))
    assert len(room.tokens._known) <= MAX_REMEMBERED + 1
    assert not any(len(key) > 16 for key in room.tokens._known)


@pytest.mark.parametrize(
    ("access", "grants"),
    [
        (None, set()),
        ("all", set()),
        ({"type": "repository"}, set()),
        ([{"type": "repository", "name": "a", "actions": ["push", "delete"]}], set()),
        ([{"type": "repository", "name": "a", "actions": "pull"}], set()),
        ([{"type": "repository", "name": ["a"], "actions": ["pull"]}], set()),
        ([{"type": "repository", "name": "a", "actions": [["pull"]]}], set()),
        ([{"type": "registry", "name": "a", "actions": ["pull", "*"]}], set()),
        ([7, None, {"type": "repository", "name": "a", "actions": ["push", "pull"]}], {"a"}),
        ([{"type": "repository", "name": "a", "actions": ["*"]}], {"a"}),
    ],
)
def test_what_a_token_lets_pull(access: Any, grants: set[str]) -> None:
    found = Room().ask(signed(access=access))
    assert found is not None
    assert (found.grants, found.lists) == (grants, False)


def test_a_token_for_the_catalog() -> None:
    found = Room().ask(signed(access=[{"type": "registry", "name": "catalog", "actions": ["*"]}]))
    assert found is not None
    assert (found.grants, found.lists) == (frozenset(), True)
