"""Tokens and keys as issuers make them, good ones and others."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ISSUER = "https://auth.test"
AUDIENCE = "mirror.test"
NOW_S = 1_800_000_000.0

RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
ALL = {"RS256": RSA_KEY, "ES256": EC_KEY, "EdDSA": ED_KEY}


def public_pem(key: Any) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def private_pem(key: Any) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def jwk(key: Any, algorithm: str, **more: str) -> dict[str, Any]:
    return {**jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True), **more}


def key_set(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"keys": entries}).encode()


def claims(**changes: Any) -> dict[str, Any]:
    """Of a token that lets pull ``docker.io/library/nginx``; a change to None leaves a claim out."""
    usual = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ci",
        "exp": NOW_S + 300,
        "nbf": NOW_S - 10,
        "iat": NOW_S - 10,
        "access": [{"type": "repository", "name": "docker.io/library/nginx", "actions": ["pull"]}],
    }
    return {name: value for name, value in (usual | changes).items() if value is not None}


def signed(algorithm: str = "ES256", key: Any = None, kid: str | None = None, **changes: Any) -> bytes:
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(
        claims(**changes), ALL.get(algorithm) if key is None else key, algorithm, headers
    ).encode()


def forged(header: dict[str, Any], body: dict[str, Any], signature: bytes = b"") -> bytes:
    """Any parts, put together as a token."""
    parts = [json.dumps(header).encode(), json.dumps(body).encode(), signature]
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
