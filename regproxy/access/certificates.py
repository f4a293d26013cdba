"""Who a client certificate names: its subject, as the authority that signed it wrote it."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID
from twisted.internet.interfaces import ISSLTransport

from regproxy.access.identity import MAX_NAME, Identity, Proof


def certificate_identity(transport: Any) -> Identity | None:
    """Who is at the other end of ``transport``; None without TLS, or without a certificate.

    The handshake has checked it already, by the listener's ``clientCA``: no other is ever here.
    """
    if not ISSLTransport.providedBy(transport):
        return None
    found: Any = transport.getPeerCertificate()
    name = None if found is None else named_by(found.to_cryptography())
    return None if name is None else Identity(name, Proof.CERTIFICATE)


def named_by(certificate: x509.Certificate) -> str | None:
    """The subject's common name, else the first alternative name; None where nothing names anybody."""
    try:
        common = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        names = common or _alternative_names(certificate)
    except (ValueError, TypeError):
        return None  # an extension that cannot be read, or is there twice
    return names[0] if names and 0 < len(names[0]) <= MAX_NAME else None


def _alternative_names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    kinds = (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier)
    return [str(each.value) for each in found if isinstance(each, kinds)]
