"""Why a TLS handshake with a client came to nothing."""

from __future__ import annotations

from OpenSSL import SSL

_HINTS = {
    "peer did not return a certificate": "it has to show one that an authority of clientCA signed",
    "certificate verify failed": "no authority of clientCA signed the client's, or it has expired",
    "alert unknown ca": "the client does not know who signed our certificate",
    "alert bad certificate": "the client does not take our certificate",
    "alert certificate unknown": "the client does not take our certificate",
    "alert certificate expired": "the client finds our certificate expired",
    "http request": "the client speaks plain HTTP",
}


def handshake_fault(error: BaseException | None) -> str | None:
    """What it was, in OpenSSL's words, and what that means here; None for the end of any other connection."""
    if not isinstance(error, SSL.Error):
        return None
    details = error.args[0] if error.args and isinstance(error.args[0], list) else []
    said = ", ".join(str(entry[-1]) for entry in details if isinstance(entry, tuple) and entry)[:200]
    hints = [hint for sign, hint in _HINTS.items() if sign in said]
    return "; ".join([f"the TLS handshake fails: {said or 'the connection was lost'}", *hints[:1]])
