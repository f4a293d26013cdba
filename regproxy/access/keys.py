"""The public keys that tokens may be signed with: a JWK set, PEM keys or PEM certificates. Pure.

A key and its algorithm belong together here: what a token's header says chooses among them and
changes nothing, so neither ``none`` nor a public key taken for a secret gets anybody in.
"""

from __future__ import annotations

import json
import re
from typing import Any

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from regproxy.smallfile import Unusable

MAX_KEYS = 16
"""A token without a known ``kid`` is tried with each key that fits: so many at most."""
MIN_RSA_BITS = 2048
_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)
_PUBLIC_TYPES = ("RSA", "EC", "OKP")


@attrs.frozen(slots=True)
class Key:
    """One public key, the one algorithm it is used with, and its name where it has one."""

    key: Any = attrs.field(repr=False)
    algorithm: str
    kid: str | None = None


def parse_keys(content: bytes) -> tuple[Key, ...]:
    """The keys of a file; :exc:`Unusable` says why there are none, or what must not be among them."""
    keys = _from_set(content) if content.lstrip().startswith(b"{") else _from_pem(content)
    if not keys:
        raise Unusable("there is no public key in it: RSA, EC P-256 or Ed25519, as a JWK set or PEM")
    if len(keys) > MAX_KEYS:
        raise Unusable(f"there are more than {MAX_KEYS} keys in it")
    return keys


def _from_set(content: bytes) -> tuple[Key, ...]:
    try:
        document = json.loads(content)
        entries = document.get("keys", [document])
        return tuple(key for entry in entries if (key := _from_entry(entry)) is not None)
    except (ValueError, RecursionError, AttributeError, TypeError):
        raise Unusable("it is no JWK set") from None


def _from_entry(entry: dict[str, Any]) -> Key | None:
    """None for a key of another kind, or for another use: sets have those too."""
    if entry.get("kty") not in _PUBLIC_TYPES or entry.get("use", "sig") != "sig":
        return None
    if "d" in entry:
        raise Unusable("there is a private key in it: give the public one only")
    kid = entry.get("kid")
    try:
        found = PyJWK(entry).key
    except (PyJWTError, UnsupportedAlgorithm, ValueError, KeyError, TypeError):
        return None
    key = _key(found, kid if isinstance(kid, str) else None)
    return None if key is None or entry.get("alg", key.algorithm) != key.algorithm else key


def _from_pem(content: bytes) -> tuple[Key, ...]:
    keys = []
    for block in _PEM.finditer(content):
        if b"PRIVATE" in block[1]:
            raise Unusable("there is a private key in it: give the public one only")
        try:
            key = _key(_loaded(block[0], block[1]), None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise Unusable("a PEM block in it cannot be read") from None
        keys += [] if key is None else [key]
    return tuple(keys)


def _loaded(block: bytes, label: bytes) -> object:
    if label == b"CERTIFICATE":
        return x509.load_pem_x509_certificate(block).public_key()
    return load_pem_public_key(block)


def _key(found: object, kid: str | None) -> Key | None:
    if isinstance(found, RSAPublicKey):
        if found.key_size < MIN_RSA_BITS:
            raise Unusable(f"an RSA key in it has less than {MIN_RSA_BITS} bits")
        return Key(found, "RS256", kid)
    if isinstance(found, EllipticCurvePublicKey):
        return Key(found, "ES256", kid) if isinstance(found.curve, SECP256R1) else None
    return Key(found, "EdDSA", kid) if isinstance(found, Ed25519PublicKey) else None
