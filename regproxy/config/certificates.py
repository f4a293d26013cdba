"""Whether a certificate and a key can be used together, told while the settings are read."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates


def unfit_pair(cert: Path, key: Path) -> tuple[str, str] | None:
    """Which of the two readable files, ``cert`` or ``key``, is at fault, and why; None: neither."""
    try:
        certificate = load_pem_x509_certificates(cert.read_bytes())[0]
    except (OSError, ValueError):
        return "cert", "no PEM certificate in it"
    try:
        private = load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError):
        return "key", "no PEM key in it"
    except TypeError:
        return "key", "it has a passphrase: nobody is there to type it"
    if private.public_key() != certificate.public_key():
        return "key", f"it is not the key of the certificate {cert.name}"
    return None
