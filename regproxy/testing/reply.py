"""Requests as heard and replies to the last detail: values, and a gate to hold an answer at."""

from __future__ import annotations

import enum
from http import HTTPStatus
from urllib.parse import parse_qsl

import attrs
from twisted.internet.defer import Deferred

from regproxy.singleflight import Waiters

Headers = tuple[tuple[str, str], ...]


class Framing(enum.Enum):
    """How the end of a body is told."""

    LENGTH = "Content-Length"
    CHUNKED = "chunked"
    CLOSE = "end of the connection"


class Gate:
    """A place where an answer waits until the test opens it; many answers may wait at one gate."""

    def __init__(self) -> None:
        self._waiters: Waiters[None] = Waiters()
        self._arrivals: list[tuple[int, Deferred[None]]] = []
        self.is_open = False
        self.arrived_count = 0

    def __repr__(self) -> str:
        state = "open" if self.is_open else "closed"
        return f"<Gate {state}, {self.arrived_count} arrived, {len(self._waiters)} waiting>"

    def arrived(self, count: int = 1) -> Deferred[None]:
        """Fires when ``count`` answers in all have come to the gate."""
        told: Deferred[None] = Deferred()
        self._arrivals.append((count, told))
        self._tell()
        return told

    def open(self) -> None:
        """Let everybody through, from now on."""
        self.is_open = True
        self._waiters.fire(None)

    def enter(self) -> Deferred[None]:
        """Called by the server: fires when the gate is open. Cancelling it leaves the queue."""
        entered = self._waiters.add()
        self.arrived_count += 1
        if self.is_open:
            self._waiters.fire(None)
        self._tell()
        return entered

    def _tell(self) -> None:
        due = [told for count, told in self._arrivals if count <= self.arrived_count]
        self._arrivals = [item for item in self._arrivals if item[0] > self.arrived_count]
        for told in due:
            if not told.called:
                told.callback(None)


@attrs.frozen(slots=True)
class Pause:
    """Wait at ``gate`` before body byte ``at``; None: before the status line."""

    gate: Gate
    at: int | None = None


@attrs.frozen(slots=True)
class Reply:
    """One answer, to the last detail. Offsets count body bytes."""

    status: int
    headers: Headers = ()
    body: bytes = attrs.field(default=b"", repr=False)
    framing: Framing = Framing.LENGTH
    length: int | None = None
    """The Content-Length that is claimed; None: the right one."""
    pauses: tuple[Pause, ...] = ()
    cut_after: int | None = None
    """Cut the connection after so many body bytes; -1: before the status line."""
    drip: tuple[int, float] | None = None
    """So many bytes, then so many seconds of nothing."""
    close: bool = False
    """Close the connection after the answer, and say so."""

    def header(self, name: str) -> str | None:
        """The first header of this name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def with_header(self, name: str, value: str) -> Reply:
        """With this header in the place of all of its name."""
        return attrs.evolve(self, headers=(*self.without(name).headers, (name, value)))

    def without(self, *names: str) -> Reply:
        """Without the headers of these names."""
        gone = {name.lower() for name in names}
        return attrs.evolve(self, headers=tuple(pair for pair in self.headers if pair[0].lower() not in gone))


@attrs.frozen(slots=True)
class HeardRequest:
    """A request as it came, ``headers`` in their order and spelling."""

    method: str
    target: str
    headers: Headers
    body: bytes = attrs.field(default=b"", repr=False)
    peer: str = ""

    @property
    def path(self) -> str:
        """The target without its query, undecoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, list[str]]:
        """The query, decoded; each name with all its values."""
        found: dict[str, list[str]] = {}
        for name, value in parse_qsl(self.target.partition("?")[2], keep_blank_values=True):
            found.setdefault(name, []).append(value)
        return found

    def header(self, name: str) -> str | None:
        """The first header of this name, case aside."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


def head_of(reply: Reply, closes: bool) -> bytes:
    """Status line and headers of a reply, framing included."""
    try:
        phrase = HTTPStatus(reply.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {reply.status} {phrase}", *(f"{name}: {value}" for name, value in reply.headers)]
    if reply.framing is Framing.CHUNKED:
        lines.append("Transfer-Encoding: chunked")
    elif reply.framing is Framing.LENGTH and reply.status not in (204, 304):
        lines.append(f"Content-Length: {len(reply.body) if reply.length is None else reply.length}")
    if closes or reply.close or reply.framing is Framing.CLOSE:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


def parse_head(head: bytes, peer: str = "") -> HeardRequest | None:
    """Request line and headers; None when they are no HTTP."""
    first, *rest = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not all(":" in line for line in rest):
        return None
    pairs = (line.partition(":") for line in rest)
    return HeardRequest(
        parts[0], parts[1], tuple((name, value.strip()) for name, _, value in pairs), peer=peer
    )
