"""Compact JSON Web Signatures with ES256, as registries take them: x5c header, raw signature."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from regproxy.testing.certificates import Certificate

_SIGNS = ec.ECDSA(hashes.SHA256())


def sign(claims: Mapping[str, Any], certificate: Certificate) -> str:
    """A token with ``claims``, its certificate in the header."""
    chain = [base64.b64encode(certificate.certificate_der).decode()]
    header = {"typ": "JWT", "alg": "ES256", "x5c": chain}
    signed = f"{_encode(_dump(header))}.{_encode(_dump(claims))}"
    r, s = decode_dss_signature(certificate.key.sign(signed.encode(), _SIGNS))
    return f"{signed}.{_encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def verify(token: str, certificate: Certificate) -> Mapping[str, Any] | None:
    """The claims of a token that ``certificate`` signed; None for any other text."""
    signed, _, signature = token.rpartition(".")
    try:
        raw = _decode(signature)
        der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        certificate.key.public_key().verify(der, signed.encode(), _SIGNS)
        claims = json.loads(_decode(signed.partition(".")[2]))
    except (InvalidSignature, binascii.Error, ValueError):
        return None
    return claims if isinstance(claims, dict) else None


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
