"""The client: HTTP/1.1 over keep-alive connections, one thread, as cheap as Python has it.

Bodies are counted and thrown away in the kernel (``MSG_TRUNC``), so that what is measured is the
server. An answer must be 2xx and have its Content-Length.
"""

from __future__ import annotations

import contextlib
import select
import socket
import statistics
import time
from collections.abc import Iterable, Iterator

import attrs

from bench.contents import MANIFEST_TYPE
from bench.errors import BenchFailed

_PIECE_BYTES = 1 << 20
_HEAD_BYTES = 1 << 14
_BUFFER = bytearray(_PIECE_BYTES)


@attrs.frozen
class Reading:
    """What a reading brought."""

    wall_s: float
    body_bytes: int
    answers: int
    first_bytes_s: tuple[float, ...]
    """From each request to the first byte of its body; of the first 4096 answers that have one."""

    @property
    def first_byte_ms(self) -> float:
        """The median."""
        return 1000 * statistics.median(self.first_bytes_s) if self.first_bytes_s else 0.0


@attrs.frozen
class Request:
    """A request line with the headers that registry clients send."""

    path: str
    method: str = "GET"

    def encode(self, netloc: str) -> bytes:
        """Its bytes on the wire."""
        head = f"{self.method} {self.path} HTTP/1.1\r\nHost: {netloc}\r\nAccept: {MANIFEST_TYPE}, */*\r\n"
        return f"{head}User-Agent: bench\r\n\r\n".encode()


class _Line:
    """One connection, and how far its answer is."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, 10.0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.head: bytearray | None = None
        self.left = 0
        self.sent_s = 0.0
        self.waits_for_body = False
        self.bodiless = False

    def ask(self, wire: bytes, bodiless: bool) -> None:
        """Send a request; it is small and nothing else is on the line, so it goes whole."""
        self.head = bytearray()
        self.bodiless = bodiless
        self.waits_for_body = True
        self.sent_s = time.perf_counter()
        if self.socket.send(wire) != len(wire):
            raise BenchFailed("a request did not fit into the socket")

    def read(self) -> int:
        """Take what has come; how many bytes of it were body."""
        if self.head is not None:
            return self._read_head(self.head)
        count = self.socket.recv_into(_BUFFER, min(self.left, _PIECE_BYTES), socket.MSG_TRUNC)
        if count == 0:
            raise BenchFailed(f"the connection ended {self.left} bytes before the end of a body")
        self.left -= count
        return count

    def _read_head(self, head: bytearray) -> int:
        came = self.socket.recv(_HEAD_BYTES)
        if not came:
            raise BenchFailed(f"the connection ended before an answer: {bytes(head)!r}")
        head += came
        end = head.find(b"\r\n\r\n")
        if end < 0:
            return 0
        length = 0 if self.bodiless else _content_length(bytes(head[:end]))
        body = len(head) - end - 4
        _check_status(head)
        self.head = None
        self.left = length - body
        return body

    @property
    def done(self) -> bool:
        """Whether its answer is complete."""
        return self.head is None and self.left == 0


def _check_status(head: bytearray) -> None:
    if head[9:10] != b"2":
        raise BenchFailed(f"an answer that is no success: {bytes(head[:400])!r}")


def _content_length(head: bytes) -> int:
    place = head.lower().find(b"\r\ncontent-length:")
    if place < 0:
        raise BenchFailed(f"an answer without Content-Length: {head!r}")
    return int(head[place + 17 :].split(b"\r\n", 1)[0])


class Reader:
    """Asks for ``requests``, one after the other on each of ``connections`` lines."""

    def __init__(self, netloc: str, requests: Iterable[Request], connections: int) -> None:
        host, _, port = netloc.partition(":")
        self._netloc = netloc
        self._address = (host, int(port))
        self._requests: Iterator[Request] = iter(requests)
        self._connections = connections
        self._wires: dict[Request, bytes] = {}
        self._lines: dict[int, _Line] = {}
        self._bytes = 0
        self._answers = 0
        self._first_bytes: list[float] = []

    def run(self, seconds: float | None = None, limit_s: float = 120.0) -> Reading:
        """Until all is read, or for ``seconds``; BenchFailed after ``limit_s``."""
        epoll = select.epoll()
        try:
            self._connect(epoll)
            begun = time.perf_counter()
            self._begin()
            self._loop(epoll, begun, seconds, begun + limit_s)
            wall = time.perf_counter() - begun
        except OSError as failure:
            raise BenchFailed(f"{self._netloc}: {failure}") from failure
        finally:
            for line in self._lines.values():
                line.socket.close()
            epoll.close()
        return Reading(wall, self._bytes, self._answers, tuple(self._first_bytes))

    def _connect(self, epoll: select.epoll) -> None:
        for _ in range(self._connections):
            line = _Line(self._address)
            self._lines[line.socket.fileno()] = line
            epoll.register(line.socket, select.EPOLLIN)

    def _begin(self) -> None:
        for line in list(self._lines.values()):
            self._next(line)

    def _loop(self, epoll: select.epoll, begun: float, seconds: float | None, limit: float) -> None:
        end = limit if seconds is None else begun + seconds
        while self._lines:
            now = time.perf_counter()
            if now >= end:
                if seconds is None:
                    raise BenchFailed(
                        f"{self._netloc} has not answered in time: {self._answers} answers so far"
                    )
                return
            for descriptor, _ in epoll.poll(min(end - now, 1.0)):
                self._take(self._lines[descriptor])

    def _take(self, line: _Line) -> None:
        with contextlib.suppress(BlockingIOError):
            count = line.read()
            self._bytes += count
            if count and line.waits_for_body:
                line.waits_for_body = False
                if len(self._first_bytes) < 4096:
                    self._first_bytes.append(time.perf_counter() - line.sent_s)
        if line.done:
            self._answers += 1
            self._next(line)

    def _next(self, line: _Line) -> None:
        request = next(self._requests, None)
        if request is None:
            self._lines.pop(line.socket.fileno())
            line.socket.close()
            return
        wire = self._wires.get(request)
        if wire is None:
            wire = self._wires[request] = request.encode(self._netloc)
        line.ask(wire, request.method == "HEAD")


def read(netloc: str, *paths: str, connections: int = 1, limit_s: float = 120.0) -> Reading:
    """GET each of ``paths`` once over ``connections`` lines."""
    return Reader(netloc, map(Request, paths), connections).run(limit_s=limit_s)
