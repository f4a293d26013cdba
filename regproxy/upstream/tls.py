"""Whom to trust: the system's authorities, and a file with the operator's own ones."""

from __future__ import annotations

from pathlib import Path

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import platformTrust
from twisted.web.client import BrowserLikePolicyForHTTPS, HostnameCachingHTTPSPolicy
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from twisted.internet._sslverify import IOpenSSLTrustRoot  # isort: skip  # it has no public name


@implementer(IOpenSSLTrustRoot)
class WithOwnAuthorities:
    """The platform's trust root, and the certificates of a PEM file."""

    def __init__(self, ca: Path) -> None:
        self._ca = ca

    def _addCACertsToContext(self, context: SSL.Context) -> None:
        platformTrust()._addCACertsToContext(context)
        context.load_verify_locations(str(self._ca))


@implementer(IPolicyForHTTPS)
class OwnAuthorityPolicy:
    """Verifies with the system's authorities and those in ``ca``; follows a renewed file.

    An unreadable file raises OSError at the connection that needs it, and is tried again at the
    next: the daemon starts without it (invariant 6).
    """

    def __init__(self, ca: Path) -> None:
        self._ca = ca
        self._read: tuple[int, int, int] | None = None
        self._policy: HostnameCachingHTTPSPolicy | None = None

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        """A connection creator that knows the authorities as the file is now."""
        status = self._ca.stat()
        now = (status.st_mtime_ns, status.st_size, status.st_ino)
        if self._policy is None or now != self._read:
            self._policy, self._read = _caching(BrowserLikePolicyForHTTPS(WithOwnAuthorities(self._ca))), now
        return self._policy.creatorForNetloc(hostname, port)


def tls_policy(ca: Path | None) -> IPolicyForHTTPS:
    """The policy of one upstream; contexts are made once a host, not once a request."""
    if ca is None:
        return _caching(BrowserLikePolicyForHTTPS())
    return OwnAuthorityPolicy(ca)


def _caching(policy: BrowserLikePolicyForHTTPS) -> HostnameCachingHTTPSPolicy:
    return HostnameCachingHTTPSPolicy(policy, cacheSize=64)
