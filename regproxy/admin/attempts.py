"""May this request change something? Decided from its head alone, before its body is read. Pure.

Laws: the unix socket's file mode is the permission there; on TCP it is the operators' token, and
without one nothing is changed. What a browser sends for another page is refused on either: by its
Origin, by the type of its body (no form can say JSON), and on TCP by the Host (DNS rebinding).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence

import attrs
from twisted.web.http_headers import Headers

from regproxy.access.networks import normalise
from regproxy.errors import AccessDenied, InvalidRequest, PostOnly, TokenRefused
from regproxy.http1.sockets import SocketPeer

MAX_BODY_BYTES = 64 * 1024
LOCAL_NAME = "localhost"
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?", re.ASCII)
CLOSED = (
    "nothing is changed by way of this listener: ask on the admin unix socket, or give the mirror an "
    "admin_token_file"
)
OPEN_SOCKET = (
    "nothing is changed by way of this socket, since every user of the machine may open it: give it mode=660 "
    "under admin, or give the mirror an admin_token_file"
)


@attrs.frozen(slots=True)
class Attempt:
    """The head of a request for an operation. ``length`` None: it does not say how long its body is.

    ``socket`` is who connected to the unix socket, None on TCP; ``local`` and ``remote`` are the
    connection's addresses there.
    """

    method: bytes
    headers: Headers
    length: int | None
    socket: SocketPeer | None = None
    local: str = ""
    remote: str = ""

    @property
    def trusted(self) -> bool:
        """Whether it came by a socket that only those could open who may."""
        return self.socket is not None and not self.socket.open_to_all

    def value(self, name: str) -> str | None:
        """The one value of a header; :exc:`InvalidRequest` for two of them."""
        values = list(self.headers.getRawHeaders(name.encode("ascii")) or [])
        if len(values) > 1:
            raise InvalidRequest(f"the request has two headers {name}")
        return values[0].decode("latin-1") if values else None


def caller(attempt: Attempt, token: bytes | None, names: Sequence[str]) -> str:
    """Who asks, for the log, when he may: the user on the socket, or who has the ``token``.

    ``names`` are those that operators reach the TCP listeners by. Raises :exc:`AccessDenied`,
    :exc:`TokenRefused`, :exc:`PostOnly`, :exc:`InvalidRequest`.
    """
    if attempt.trusted and attempt.socket is not None:
        who = f"uid {attempt.socket.uid} (pid {attempt.socket.pid})"
    else:
        _check_token(attempt, token, names)
        who = f"token from {attempt.remote or 'unix'}"
    _check_browser(attempt)
    if attempt.method != b"POST":
        raise PostOnly("an operation is asked for by POST")
    _check_body(attempt)
    return who


def _check_token(attempt: Attempt, token: bytes | None, names: Sequence[str]) -> None:
    if token is None:
        raise AccessDenied(CLOSED if attempt.socket is None else OPEN_SOCKET)
    if attempt.socket is None and not is_ours(attempt.value("Host"), attempt.local, names):
        raise AccessDenied(
            "the Host is none of this listener's: ask by localhost or its address, or name it in admin_hosts"
        )
    scheme, _, given = (attempt.value("Authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not _same(given.strip(" ").encode("latin-1"), token):
        raise TokenRefused(
            "an operation by this listener needs the bearer token of admin_token_file: --token-file FILE"
        )


def _same(given: bytes, token: bytes) -> bool:
    """In a time that tells nothing, not even of the length."""
    return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(token).digest())


def is_ours(host: str | None, local: str, names: Sequence[str]) -> bool:
    """Whether a Host names this listener: localhost, loopback, its own address, or one of ``names``."""
    name = host_name(host)
    if name is None:
        return False
    if name == LOCAL_NAME or name in names:
        return True
    address = normalise(name)
    return address is not None and (address.is_loopback or address == normalise(local))


def host_name(host: str | None) -> str | None:
    """The name in a Host, in lower case, without port and brackets; None for what is none."""
    found = _HOST.fullmatch(host or "")
    return None if found is None else (found[1] or found[2]).lower()


def _check_browser(attempt: Attempt) -> None:
    origin, site = attempt.value("Origin"), attempt.value("Sec-Fetch-Site")
    host = (attempt.value("Host") or "").lower()
    own = origin is None or origin.lower() in (f"http://{host}", f"https://{host}")
    if not own or site not in (None, "same-origin", "none"):
        raise AccessDenied("a page of another site asks for this")


def _check_body(attempt: Attempt) -> None:
    kind = (attempt.value("Content-Type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise InvalidRequest("an operation is asked for in JSON: Content-Type: application/json")
    if attempt.length is None or attempt.length > MAX_BODY_BYTES:
        raise InvalidRequest(f"the body needs a Content-Length of at most {MAX_BODY_BYTES} bytes")
