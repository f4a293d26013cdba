"""Whom to trust: the system's authorities, and a file of the operator's; and who we are: a certificate.

Laws: the files are read anew when they change, for the connections that come then. Files that
cannot be read any more change nothing: what was read last holds, and a line says so. Our certificate
is shown to origins that the settings name, to nobody else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import optionsForClientTLS, platformTrust
from twisted.logger import Logger
from twisted.web.client import HostnameCachingHTTPSPolicy
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from regproxy.headers.origins import Origin
from regproxy.settings import ClientCertificate
from regproxy.smallfile import Marks, Unusable, marks_of, read_small

from twisted.internet._sslverify import IOpenSSLTrustRoot  # isort: skip  # it has no public name

HOSTS_REMEMBERED = 64
"""So many hosts have their contexts kept: they are made once a host, not once a request."""

MAX_PEM_BYTES = 8 * 1024 * 1024
"""A bundle of all authorities, each described in words, has one or two."""

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

_log = Logger()


class CertificateUnusable(Exception):
    """A file that the settings name holds nothing that TLS can use; the message is a clause."""


@implementer(IOpenSSLTrustRoot)
class WithOwnAuthorities:
    """The platform's trust root, and the certificates of a PEM file as it was when it was read."""

    def __init__(self, certificates: Sequence[crypto.X509]) -> None:
        self._certificates = certificates

    def _addCACertsToContext(self, context: SSL.Context) -> None:
        platformTrust()._addCACertsToContext(context)
        store = context.get_cert_store()
        assert store is not None, "a context has a store from its beginning"
        for certificate in self._certificates:
            store.add_cert(certificate)


@implementer(IPolicyForHTTPS)
class TlsPolicy:
    """Verifies servers for one upstream, and answers those that ask who we are."""

    def __init__(
        self,
        upstream: str,
        ca: Path | None = None,
        client: ClientCertificate | None = None,
        named: Collection[Origin] = (),
    ) -> None:
        """``named`` are the origins that our certificate is for. Nothing is read yet."""
        self._upstream = upstream
        self._ca = ca
        self._client = client
        self._named = named
        self._files = [path for path in (ca, client and client.cert, client and client.key) if path]
        self._read: tuple[Marks, ...] = ()
        self._policies: tuple[IPolicyForHTTPS, IPolicyForHTTPS] | None = None

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        """A connection creator by the files as they are now.

        crypto.Error or CertificateUnusable where they never could be read: the daemon
        starts without them, and the connection that needs them fails (invariant 6).
        """
        known, stranger = self._fresh()
        asked = Origin.of(str(Origin("https", hostname.decode("ascii"), port)))  # as the settings are read
        return (known if asked in self._named else stranger).creatorForNetloc(hostname, port)

    def _fresh(self) -> tuple[IPolicyForHTTPS, IPolicyForHTTPS]:
        now = tuple(map(marks_of, self._files))
        if self._policies is not None and now == self._read:
            return self._policies
        try:
            self._policies = self._make()
        except (crypto.Error, CertificateUnusable) as error:
            if self._policies is None:
                raise
            _log.warn(
                "{upstream}: the new 'ca' or 'client_cert' cannot be used, the last one holds: {reason}",
                upstream=self._upstream,
                reason="a damaged certificate" if isinstance(error, crypto.Error) else str(error),
            )
        self._read = now
        return self._policies

    def _make(self) -> tuple[IPolicyForHTTPS, IPolicyForHTTPS]:
        trust = None if self._ca is None else _authorities(self._ca)
        shown = {} if self._client is None else read_pair(self._client)
        return _Policy.caching(trust, shown), _Policy.caching(trust, {})


@implementer(IPolicyForHTTPS)
class _Policy:
    """Contexts from what was read."""

    def __init__(self, trust: Any, shown: dict[str, Any]) -> None:
        self._trust = trust
        self._shown = shown

    @classmethod
    def caching(cls, trust: Any, shown: dict[str, Any]) -> IPolicyForHTTPS:
        return HostnameCachingHTTPSPolicy(cls(trust, shown), cacheSize=HOSTS_REMEMBERED)

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        """Verifies the name as browsers do."""
        host = hostname.decode("ascii")
        return optionsForClientTLS(host, self._trust, extraCertificateOptions=dict(self._shown))


def _authorities(ca: Path) -> WithOwnAuthorities:
    found = [crypto.load_certificate(crypto.FILETYPE_PEM, pem) for pem in _PEM.findall(_content(ca))]
    if not found:
        raise CertificateUnusable(f"{ca} holds no PEM certificate")
    return WithOwnAuthorities(found)


def read_pair(client: ClientCertificate) -> dict[str, Any]:
    """Certificate, chain and key, as CertificateOptions takes them. CertificateUnusable."""
    chain = _chain(client)
    key = _parsed(client.key, "PEM key without a passphrase", lambda pem: load_pem_private_key(pem, None))
    if key.public_key() != chain[0].public_key():
        raise CertificateUnusable(f"the key {client.key} is not that of the certificate {client.cert}")
    more = {"extraCertChain": chain[1:]} if len(chain) > 1 else {}
    return {"certificate": chain[0], "privateKey": key, **more}


def names_of(client: ClientCertificate) -> bytes:
    """Whom the certificate names, and who signed that. CertificateUnusable."""
    own = _chain(client)[0]
    return f"{own.subject.rfc4514_string()}\0{own.issuer.rfc4514_string()}".encode()


def _chain(client: ClientCertificate) -> list[x509.Certificate]:
    found: list[x509.Certificate] = _parsed(client.cert, "PEM certificate", x509.load_pem_x509_certificates)
    return found


def _parsed(path: Path, what: str, parse: Callable[[bytes], Any]) -> Any:
    content = _content(path)
    try:
        return parse(content)
    except (ValueError, TypeError):
        raise CertificateUnusable(f"{path} holds no {what}") from None


def _content(path: Path) -> bytes:
    """All of it, at once: the reactor waits for it, so it is a regular file and no large one."""
    try:
        return read_small(path, MAX_PEM_BYTES)
    except Unusable as error:
        raise CertificateUnusable(f"{path}: {error}") from None
