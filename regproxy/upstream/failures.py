"""What a request died of, as one of our errors: no URL, no address, no library text in it."""

from __future__ import annotations

from OpenSSL import SSL
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
from regproxy.upstream.agents import DeadConnection, ForbiddenAddress

TRANSPORT_ERRORS: tuple[type[Exception], ...] = (
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


_TLS_HINTS = {
    "certificate verify failed": "if an authority of your own signed it, 'ca:' names its file",
    "wrong version number": "if it speaks plain HTTP, write 'endpoints: [http://...]' and 'insecure: true'",
}


def explain(upstream: str, host: str, error: BaseException) -> UpstreamError:
    """The typed error for a transport failure; ``host`` is the host (and port) that was asked."""
    root = _root(error)
    if isinstance(root, TimeoutError):
        return UpstreamTimeout(upstream, f"no connection to {host} in time")
    if isinstance(root, DNSLookupError):
        return UpstreamUnreachable(upstream, f"the name {host} cannot be resolved")
    if isinstance(root, ConnectionRefusedError):
        return UpstreamUnreachable(upstream, f"{host} refuses connections")
    if isinstance(root, NoRouteError):
        return UpstreamUnreachable(upstream, f"there is no route to {host}")
    if isinstance(root, SSL.Error | VerificationError):
        return UpstreamUnreachable(upstream, f"TLS with {host} fails: {tls_reason(root)}")
    if isinstance(root, ForbiddenAddress):
        return UpstreamFailed(upstream, f"it sent us to {host}, which is at an address that is not allowed")
    return _explain_rest(upstream, host, root)


def _explain_rest(upstream: str, host: str, root: BaseException) -> UpstreamError:
    if isinstance(root, ConnectionClosed | DeadConnection):
        return UpstreamUnreachable(upstream, f"{host} closed the connection without an answer")
    if isinstance(root, ConnectError):
        return UpstreamUnreachable(upstream, f"{host} cannot be connected to")
    if isinstance(root, OSError):
        return UpstreamUnreachable(
            upstream, f"{host} cannot be asked: {root.strerror or type(root).__name__}"
        )
    return UpstreamFailed(upstream, f"the answer of {host} is not HTTP that can be read")


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
