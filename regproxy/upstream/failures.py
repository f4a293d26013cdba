"""What a request died of, as one of our errors: no URL, no address, no library text in it."""

from __future__ import annotations

from OpenSSL import SSL, crypto
from service_identity import VerificationError
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionClosed,
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
    TimeoutError,
)
from twisted.web.client import (
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
)

from regproxy.errors import UpstreamError, UpstreamFailed, UpstreamTimeout, UpstreamUnreachable
from regproxy.headers.addresses import Place
from regproxy.upstream.agents import DeadConnection
from regproxy.upstream.reach import ForbiddenAddress
from regproxy.upstream.tls import CertificateUnusable

TRANSPORT_ERRORS: tuple[type[Exception], ...] = (
    CertificateUnusable,
    crypto.Error,
    ConnectError,
    ConnectingCancelledError,
    ConnectionClosed,
    DNSLookupError,
    DeadConnection,
    ForbiddenAddress,
    OSError,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    SSL.Error,
)
"""All that treq and the agents under it fail with when the peer, not we, is at fault."""


_UNUSABLE = "'ca' or 'client_cert' cannot be used"
_TLS_HINTS = {
    "certificate verify failed": "its certificate has expired, or nobody whom we trust signed it: if an "
    "authority of your own did, 'ca:' names its file",
    "certificate required": "it asks who we are: 'client_cert:' names a certificate and its key",
    "alert bad certificate": "it asks who we are, and takes no answer or not this one: 'client_cert:' names "
    "a certificate and its key",
    "handshake failure": "it may ask who we are: 'client_cert:' names a certificate and its key",
    "unknown ca": "it does not know the authority that signed our 'client_cert'",
    "wrong version number": "if it speaks plain HTTP, write 'endpoints: [http://...]' and 'insecure: true'",
}


def explain(upstream: str, host: str, error: BaseException) -> UpstreamError:
    """The typed error for a transport failure; ``host`` is the host (and port) that was asked."""
    root = _root(error)
    if isinstance(root, TimeoutError):
        return UpstreamTimeout(upstream, f"no connection to {host} in time")
    if isinstance(root, DNSLookupError):
        return _passing(upstream, f"the name {host} cannot be resolved")
    if isinstance(root, ConnectionRefusedError):
        return _passing(upstream, f"{host} refuses connections")
    if isinstance(root, NoRouteError):
        return _passing(upstream, f"there is no route to {host}")
    if isinstance(root, SSL.Error | VerificationError):
        return UpstreamUnreachable(upstream, f"TLS with {host} fails: {tls_reason(root)}")
    if isinstance(root, ForbiddenAddress):
        return UpstreamFailed(upstream, forbidden(host, root))
    return _explain_rest(upstream, host, root)


def forbidden(host: str, refused: ForbiddenAddress) -> str:
    """Why ``host`` was not connected to, and what to write if it should be; no address."""
    said = "" if refused.named else "it sent us elsewhere: "
    where = f"{said}{host} is at a {refused.place.value} address, which is not allowed"
    if refused.place is Place.NEVER:
        return where
    also = "write the address itself into the settings, or " if refused.named else ""
    return f"{where}; if it is meant, {also}add 'private: true' to this upstream"


def _explain_rest(upstream: str, host: str, root: BaseException) -> UpstreamError:
    if isinstance(root, CertificateUnusable | crypto.Error):
        return UpstreamUnreachable(upstream, f"{host} cannot be asked: its {_UNUSABLE}")
    if isinstance(root, ConnectionClosed | DeadConnection):
        return _passing(upstream, f"{host} closed the connection without an answer")
    if isinstance(root, ConnectError):
        return _passing(upstream, f"{host} cannot be connected to")
    if isinstance(root, OSError):
        return UpstreamUnreachable(
            upstream, f"{host} cannot be asked: {root.strerror or 'the connection fails'}"
        )
    return UpstreamFailed(upstream, f"the answer of {host} is not HTTP that can be read")


def _passing(upstream: str, reason: str) -> UpstreamUnreachable:
    """For one connection; what TLS or the settings make impossible fails each time."""
    error = UpstreamUnreachable(upstream, reason)
    error.passing = True
    return error


def _root(error: BaseException) -> BaseException:
    """The innermost reason; TLS errors win, since a closed connection follows them."""
    reasons = [_root(reason.value) for reason in getattr(error, "reasons", ()) if reason.value]
    tls = [reason for reason in reasons if isinstance(reason, SSL.Error | VerificationError)]
    return (tls or reasons or [error])[0]


def tls_reason(error: BaseException) -> str:
    """OpenSSL's own words for what is wrong, without its codes."""
    if isinstance(error, VerificationError):
        return "the certificate is for another name"
    details = error.args[0] if error.args and isinstance(error.args[0], list) else []
    words = [str(entry[-1]) for entry in details if isinstance(entry, tuple) and entry]
    said = ", ".join(words)[:200] or "the connection was lost"
    hints = [hint for sign, hint in _TLS_HINTS.items() if sign in said]
    return "; ".join([said, *hints])
