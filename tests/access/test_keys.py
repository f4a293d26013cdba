"""The issuer's keys: a set, PEM keys, certificates; nothing secret among them."""

from __future__ import annotations

import contextlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from regproxy.access.keys import MAX_KEYS, parse_keys
from regproxy.smallfile import Unusable
from regproxy.testing.certificates import self_signed
from tests.access.signing import ALL, EC_KEY, ED_KEY, RSA_KEY, jwk, key_set, private_pem, public_pem


def test_a_set_of_all_kinds() -> None:
    content = key_set(*(jwk(key, name, kid=name) for name, key in ALL.items()))
    assert [(key.algorithm, key.kid) for key in parse_keys(content)] == [(name, name) for name in ALL]


def test_pem_keys_and_certificates() -> None:
    content = b"our issuer\n" + public_pem(RSA_KEY) + self_signed().certificate_pem + public_pem(ED_KEY)
    assert [key.algorithm for key in parse_keys(content)] == ["RS256", "ES256", "EdDSA"]


def test_one_key_alone() -> None:
    assert len(parse_keys(json.dumps(jwk(EC_KEY, "ES256")).encode())) == 1


def test_other_keys_in_a_set_are_passed_over() -> None:
    """Sets have keys for encryption, of other curves, and to be shared."""
    other = [
        jwk(RSA_KEY, "RS256", use="enc"),
        jwk(RSA_KEY, "RS256", alg="PS512"),
        jwk(ec.generate_private_key(ec.SECP384R1()), "ES384"),
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "RSA", "n": "!", "e": "AQAB"},
    ]
    (key,) = parse_keys(key_set(*other, jwk(ED_KEY, "EdDSA")))
    assert key.algorithm == "EdDSA"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no public key"),
        (b"{}", "no public key"),
        (b'{"keys": []}', "no public key"),
        (b'{"keys": 1}', "no JWK set"),
        (b'{"keys": [1]}', "no JWK set"),
        (b"{", "no JWK set"),
        (b"[" * 100_000, "no public key"),
        (b'{"keys":' + b"[" * 100_000, "no JWK set"),
        (b"-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----", "cannot be read"),
        (b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "no public key"),
        (key_set(jwk(EC_KEY, "ES256", d="AA")), "private key"),
        (public_pem(EC_KEY) + private_pem(EC_KEY), "private key"),
        (public_pem(rsa.generate_private_key(65537, 1024)), "less than 2048 bits"),
        (public_pem(EC_KEY) * (MAX_KEYS + 1), "more than 16 keys"),
    ],
)
def test_what_cannot_be_used(content: bytes, says: str) -> None:
    with pytest.raises(Unusable, match=says):
        parse_keys(content)


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: b"{" + text.encode()))
def test_any_bytes_are_keys_or_unusable(content: bytes) -> None:
    with contextlib.suppress(Unusable):
        assert parse_keys(content)
