"""Certificates for the doubles: signed by themselves, or by one of those; made anew at each call."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.ssl import CertificateOptions, KeyPair, PrivateCertificate

_DAY = datetime.timedelta(days=1)


@attrs.frozen(slots=True)
class Certificate:
    """A P-256 key and its certificate; one that signed itself is usable as a CA file by clients."""

    key: ec.EllipticCurvePrivateKey = attrs.field(repr=False)
    certificate: x509.Certificate

    @property
    def certificate_pem(self) -> bytes:
        """The certificate, PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def certificate_der(self) -> bytes:
        """The certificate, DER."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        """The private key, PEM, unencrypted."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """``name.pem`` and ``name.key`` in ``folder``."""
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self.certificate_pem)
        key.touch(mode=0o600)
        key.write_bytes(self.key_pem)
        return certificate, key

    def sign(self, common_name: str | None, hosts: Sequence[str] = (), expired: bool = False) -> Certificate:
        """A client's (or server's) certificate that this one signs; ``common_name`` None: none in it."""
        subject = [] if common_name is None else [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        return _made(x509.Name(subject), hosts, self, expired)

    def server_options(self) -> CertificateOptions:
        """What a TLS listener needs."""
        pair = PrivateCertificate.fromCertificateAndKeyPair(
            PrivateCertificate.loadPEM(self.certificate_pem + self.key_pem),
            KeyPair.load(self.key_pem, 1),
        )
        options: CertificateOptions = pair.options()
        return options


def self_signed(hosts: Sequence[str] = ("127.0.0.1", "localhost"), expired: bool = False) -> Certificate:
    """A certificate for ``hosts`` (addresses or names), valid from yesterday for ten days."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "regproxy testing")])
    return _made(name, hosts, None, expired)


def _made(
    subject: x509.Name, hosts: Sequence[str], issuer: Certificate | None, expired: bool = False
) -> Certificate:
    """Signed by ``issuer``, or by itself: an authority then."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    until = now - _DAY / 2 if expired else now + 9 * _DAY
    building = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if hosts:
        names = x509.SubjectAlternativeName([_name(host) for host in hosts])
        building = building.add_extension(names, critical=False)
    return Certificate(key, building.sign(key if issuer is None else issuer.key, hashes.SHA256()))


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
