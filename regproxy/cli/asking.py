"""One question to an admin listener: bounded in time and size, and every failure a line and an exit code.

Plain sockets: a program that lives for a moment starts faster without a reactor. The whole answer
is read before any of it is looked at.
"""

from __future__ import annotations

import errno
import http.client
import io
import json
import os
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import attrs

from regproxy.cli.addresses import Address
from regproxy.cli.document import Unreadable, decode
from regproxy.cli.lines import harmless
from regproxy.errors import RegproxyError

ASK_S = 5.0
MAX_ANSWER_BYTES = 1024 * 1024
MAX_TOLD = 200
PATH = "/status"

NOBODY, NOT_PERMITTED, STRANGE, SILENT = 3, 4, 5, 6
"""Exit codes: nobody there, not permitted, nothing that we understand, no answer in time."""
_OF_THE_WAY = (NOBODY, NOT_PERMITTED, STRANGE, SILENT)
"""These are about who was asked, and name it; what a daemon says of the question itself needs no address."""
T = TypeVar("T")

_MISSING = (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR)
_FORBIDDEN = (errno.EACCES, errno.EPERM)


class AskFailed(RegproxyError):
    """There is no status to show: one line, and the exit code that stands for its kind."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(harmless(message))
        self.code = code


class Wrong(Exception):
    """What ends one try: a clause and an exit code."""

    def __init__(self, why: str, code: int = STRANGE) -> None:
        super().__init__(why)
        self.code = code


def ask(addresses: Sequence[Address], seconds: float = ASK_S) -> dict[str, Any]:
    """The status page, as it came, of the first address with a daemon behind it.

    :exc:`AskFailed`; where nobody is or may be asked at one address the next is tried.
    """
    return first(addresses, seconds, Question(PATH), _judged)


@attrs.frozen(slots=True)
class Question:
    """A GET of ``path``, or with a ``body`` a POST of it."""

    path: str
    body: str | None = None
    token: str | None = attrs.field(default=None, repr=False)

    def to(self, address: Address) -> bytes:
        """As it is sent there."""
        lines = [f"{'GET' if self.body is None else 'POST'} {self.path} HTTP/1.1", f"Host: {address.netloc}"]
        if self.body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(self.body)}"]
        if self.token is not None and address.path is None:
            lines.append(f"Authorization: Bearer {self.token}")
        return "\r\n".join([*lines, "Connection: close", "", self.body or ""]).encode("ascii")


def first(addresses: Sequence[Address], seconds: float, question: Question, judge: Callable[[bytes], T]) -> T:
    """What ``judge`` makes of the first answer; the next address is tried as in :func:`ask`."""
    failures: list[AskFailed] = []
    for address in addresses:
        try:
            return judge(_ask_one(address, seconds, question))
        except Wrong as wrong:
            said = f"{address}: {wrong}" if wrong.code in _OF_THE_WAY else str(wrong)
            failures.append(AskFailed(said, wrong.code))
            if wrong.code not in (NOBODY, NOT_PERMITTED):
                break
    codes = [failure.code for failure in failures]
    raise AskFailed("; ".join(map(str, failures)) or "there is no address to ask", max(codes, default=NOBODY))


def _ask_one(address: Address, seconds: float, question: Question) -> bytes:
    try:
        return _exchange(address, time.monotonic() + seconds, question)
    except TimeoutError:
        raise Wrong(f"no answer within {seconds:g} s", SILENT) from None
    except ssl.SSLError as error:
        trust = isinstance(error, ssl.SSLCertVerificationError)
        hint = "; SSL_CERT_FILE names the file of an authority of your own" if trust else ""
        raise Wrong(f"no TLS with it ({_reason(error)}){hint}") from None
    except OSError as error:
        raise Wrong(*_told(error)) from None


def _exchange(address: Address, deadline_s: float, question: Question) -> bytes:
    """All bytes that come until the connection ends."""
    with _reached(address, deadline_s) as connection:
        connection.settimeout(_left(deadline_s))
        connection.sendall(question.to(address))
        answer = bytearray()
        while len(answer) <= MAX_ANSWER_BYTES:
            connection.settimeout(_left(deadline_s))
            more = connection.recv(65536)
            if not more:
                return bytes(answer)
            answer += more
    raise Wrong(f"what answers there is no regproxy: its answer is larger than {MAX_ANSWER_BYTES >> 10} KiB")


def _reached(address: Address, deadline_s: float) -> socket.socket:
    """Connected, within ASK_S in any case: what is waited for longer is an answer."""
    try:
        return _connected(address, min(deadline_s, time.monotonic() + ASK_S))
    except TimeoutError:
        if deadline_s <= time.monotonic():
            raise
        raise Wrong(f"no connection within {ASK_S:g} s", SILENT) from None


def _left(deadline_s: float) -> float:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _connected(address: Address, deadline_s: float) -> socket.socket:
    if address.path is not None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        return _connect(connection, os.fsencode(address.path), deadline_s)
    refused: OSError = OSError(errno.ENOENT, "it has no address")
    for family, kind, protocol, _, place in _looked_up(address, deadline_s):
        try:
            connection = _connect(socket.socket(family, kind, protocol), place, deadline_s)
        except TimeoutError:
            raise
        except OSError as error:
            refused = error
        else:
            return _secured(connection, address, deadline_s) if address.tls else connection
    raise refused


def _connect(connection: socket.socket, place: Any, deadline_s: float) -> socket.socket:
    try:
        connection.settimeout(_left(deadline_s))
        connection.connect(place)
    except BaseException:
        connection.close()
        raise
    return connection


def _looked_up(address: Address, deadline_s: float) -> list[Any]:
    """The places behind a name. The system's resolver knows no limit of time, so a thread waits for it."""
    found: queue.Queue[list[Any] | OSError] = queue.Queue()

    def look_up() -> None:
        try:
            found.put(socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM))
        except OSError as error:
            found.put(error)
        except UnicodeError:
            found.put(OSError(errno.ENOENT, "that is no name of a host"))

    threading.Thread(target=look_up, daemon=True).start()
    try:
        places = found.get(timeout=_left(deadline_s))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(places, OSError):
        raise places
    return places


def _secured(connection: socket.socket, address: Address, deadline_s: float) -> socket.socket:
    """TLS over it, its certificate checked; the handshake as a whole keeps the time."""
    try:
        context = ssl.create_default_context(cafile=address.pinned)
        if address.pinned is not None:
            context.check_hostname = False
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        connection.settimeout(_left(deadline_s))
        return context.wrap_socket(connection, server_hostname=address.host)
    except BaseException:
        connection.close()
        raise


def _told(error: OSError) -> tuple[str, int]:
    if error.errno in _FORBIDDEN:
        return "not permitted: ask as root or as a member of the socket's group", NOT_PERMITTED
    if error.errno in _MISSING or isinstance(error, socket.gaierror):
        return f"no daemon there ({_reason(error)})", NOBODY
    if isinstance(error, ConnectionError):
        return f"it ended the connection ({_reason(error)})", STRANGE
    return f"cannot be asked ({_reason(error)})", NOBODY


def _reason(error: OSError) -> str:
    return str(error.strerror or error)[:MAX_TOLD]


def _judged(answer: bytes) -> dict[str, Any]:
    """The status page."""
    status, body = read_answer(answer, "GET")
    if status != 200:
        raise Wrong(
            f"what answers there has no status page ({status}): "
            "not the admin listener, no regproxy, or an older one"
        )
    try:
        return decode(body)
    except Unreadable as error:
        raise Wrong(f"what answers there is no regproxy: {error}") from None


def read_answer(answer: bytes, method: str) -> tuple[int, bytes]:
    """Status and body."""
    try:
        response = http.client.HTTPResponse(cast(socket.socket, _Received(answer)), method=method)
        response.begin()
        body = response.read()
    except (http.client.HTTPException, ValueError, OverflowError, OSError):  # a length beyond all bounds
        raise Wrong("what answers there is no regproxy: it speaks no HTTP") from None
    if response.status == 403:
        raise Wrong(f"not permitted: {error_in(response.status, body)}", NOT_PERMITTED)
    return response.status, body


def object_in(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; an empty one where there is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def error_in(status: int, body: bytes) -> str:
    """What the daemon says of a refusal."""
    said = object_in(body).get("error")
    return said[:MAX_TOLD] if isinstance(said, str) else f"it answers {status}"


class _Received:
    """What came, in the form that http.client takes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, mode: str) -> io.BytesIO:
        """A file over it."""
        return io.BytesIO(self._answer)
