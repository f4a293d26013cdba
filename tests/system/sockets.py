"""Blocking sockets for threads of a test against a running mirror: strict about what comes back."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
import time

import attrs

from regproxy.oci.digest import Digest

LIMIT_S = 15.0
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2}) [\x20-\x7e]+")
_HEADER = re.compile(rb"([A-Za-z0-9-]+): ([\x20-\x7e]*)")


class NotHTTP(AssertionError):
    """What came is no well-formed answer."""


@attrs.frozen
class Answer:
    """One answer, whole."""

    status: int
    headers: dict[str, str]
    body: bytes = attrs.field(repr=lambda body: repr(body[:200]))

    @property
    def closes(self) -> bool:
        """Whether it says that it is the last one of its connection."""
        return self.headers.get("connection", "") == "close"


class Talk:
    """One connection. ``receive_bytes``: what its side of the socket holds of an answer, at most."""

    def __init__(self, netloc: str, limit_s: float = LIMIT_S, receive_bytes: int | None = None) -> None:
        host, _, port = netloc.rpartition(":")
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(limit_s)
        self.socket.connect((host, int(port)))
        self._got = bytearray()

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """Send all of it; False when the other side has closed meanwhile, whose answer may still be there."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def answer(self, method: bytes = b"GET") -> Answer | None:
        """The next answer that is no 1xx; None at the end of the connection."""
        while True:
            found = self._one(method)
            if found is None or found.status >= 200:
                return found

    def peeked(self, most: int) -> None:
        """Take some bytes of an answer now, to be looked at later."""
        self._got += self.socket.recv(most)

    def rest(self) -> bytes:
        """All that comes until the other side closes."""
        while self._more():
            pass
        rest, self._got = bytes(self._got), bytearray()
        return rest

    def _one(self, method: bytes) -> Answer | None:
        while b"\r\n\r\n" not in self._got:
            if not self._more():
                if self._got:
                    raise NotHTTP(f"the connection ended in a head: {bytes(self._got[:200])!r}")
                return None
        head, _, rest = bytes(self._got).partition(b"\r\n\r\n")
        self._got = bytearray(rest)
        status, headers = parse_head(head)
        if method == b"HEAD" or status in (204, 304) or status < 200:
            return Answer(status, headers, b"")
        if "content-length" in headers:
            return Answer(status, headers, self._take(int(headers["content-length"])))
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, self._chunks())
        if "connection" not in headers:
            raise NotHTTP(f"an answer without an end: {status} {headers}")
        return Answer(status, headers, self.rest())

    def _chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._got:
                if not self._more():
                    raise NotHTTP("the connection ended in a chunk")
            line, _, rest = bytes(self._got).partition(b"\r\n")
            self._got = bytearray(rest)
            body += self._take(int(line, 16))
            if self._take(2) != b"\r\n":
                raise NotHTTP("a chunk of another size")
            if int(line, 16) == 0:
                return body

    def _take(self, count: int) -> bytes:
        while len(self._got) < count:
            if not self._more():
                raise NotHTTP(f"the connection ended {count - len(self._got)} bytes before its answer")
        taken = bytes(self._got[:count])
        del self._got[:count]
        return taken

    def _more(self) -> bool:
        try:
            piece = self.socket.recv(1 << 16)
        except ConnectionResetError:
            return False
        self._got += piece
        return bool(piece)


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers by lower-case name; NotHTTP for anything that is not as RFC 9112 has it."""
    first, *lines = head.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(first)
    if status is None:
        raise NotHTTP(f"no status line: {first[:200]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        found = _HEADER.fullmatch(line)
        if found is None:
            raise NotHTTP(f"no header: {line[:200]!r}")
        name = found[1].decode().lower()
        if name in headers:
            raise NotHTTP(f"a header twice: {name}")
        headers[name] = found[2].decode()
    return int(status[1]), headers


class Transfer(threading.Thread):
    """A blob that is pulled again and again, by a client that reads on; every byte is checked."""

    def __init__(self, netloc: str, path: str, digest: Digest) -> None:
        super().__init__(daemon=True)
        self._netloc, self._path, self._digest = netloc, path, digest
        self._enough = threading.Event()
        self.pulls = 0
        self.faults: list[str] = []

    def run(self) -> None:
        """Pull until :meth:`end`."""
        while not self._enough.is_set():
            began_s = time.monotonic()
            try:
                with Talk(self._netloc, limit_s=30) as talk:
                    talk.send(
                        f"GET {self._path} HTTP/1.1\r\nHost: beside\r\nConnection: close\r\n\r\n".encode()
                    )
                    self._read(talk)
            except OSError as error:
                self.faults.append(f"pull {self.pulls} after {time.monotonic() - began_s:.2f} s: {error}")
            self.pulls += 1
            time.sleep(0.01)  # a core is left to those who are tested

    def _read(self, talk: Talk) -> None:
        head, hashed, count = b"", hashlib.new(self._digest.algorithm), 0
        while piece := talk.socket.recv(1 << 18):
            if b"\r\n\r\n" not in head:
                head, _, piece = (head + piece).partition(b"\r\n\r\n")
                head += b"\r\n\r\n"
            hashed.update(piece)
            count += len(piece)
            time.sleep(0.002)
        if hashed.hexdigest() != self._digest.hex:
            self.faults.append(f"pull {self.pulls}: other bytes, {count} of them, after {head[:200]!r}")

    def end(self) -> None:
        """Let it finish the pull that it is in, and say what went wrong in any."""
        self._enough.set()
        self.join(60)
        if self.faults or not self.pulls:
            raise AssertionError(f"{self.pulls} pulls beside: {self.faults}")
