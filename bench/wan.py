"""A thin, long line in front of a server: so many milliseconds there and back, so many bytes a second
for each connection. ``python -m bench.wan PORT TARGET_PORT``, ended by its owner."""

from __future__ import annotations

import argparse
from collections import deque
from typing import Any, cast

from twisted.internet import reactor as global_reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

ROUND_TRIP_S = 0.050
BYTES_S = 8 * 1024 * 1024
WINDOW_BYTES = 1024 * 1024
"""What is on its way at most; a sender waits then, as for a full TCP window."""
PIECE_BYTES = 32 * 1024


class Way:
    """One direction of one connection: bytes come out later than they went in, and not faster than that."""

    def __init__(self, reactor: Any, bytes_s: float | None, start_s: float) -> None:
        self._reactor = reactor
        self._bytes_s = bytes_s
        self._free_s = reactor.seconds() + start_s
        self._held: deque[tuple[float, bytes | None]] = deque()
        self._held_bytes = 0
        self._call: Any = None
        self.source: Any = None
        self.sink: Any = None

    def put(self, content: bytes) -> None:
        """From the sender."""
        for start in range(0, len(content), PIECE_BYTES):
            self._hold(content[start : start + PIECE_BYTES])
        if self._held_bytes > WINDOW_BYTES and self.source is not None:
            self.source.pauseProducing()

    def end(self) -> None:
        """The sender has closed."""
        self._hold(None)

    def _hold(self, piece: bytes | None) -> None:
        now = self._reactor.seconds()
        size = len(piece or b"")
        self._free_s = max(self._free_s, now) + (size / self._bytes_s if self._bytes_s else 0.0)
        self._held.append((self._free_s + ROUND_TRIP_S / 2, piece))
        self._held_bytes += size
        self.go_on()

    def go_on(self) -> None:
        """Deliver what is due."""
        if self.sink is None or self._call is not None:
            return
        now = self._reactor.seconds()
        while self._held and self._held[0][0] <= now:
            _, piece = self._held.popleft()
            if piece is None:
                self.sink.loseConnection()
                return
            self._held_bytes -= len(piece)
            self.sink.write(piece)
        if self._held_bytes <= WINDOW_BYTES // 2 and self.source is not None:
            self.source.resumeProducing()
        if self._held:
            self._call = self._reactor.callLater(max(0.001, self._held[0][0] - now), self._due)

    def _due(self) -> None:
        self._call = None
        self.go_on()


class End(Protocol):
    """One end of a relayed connection: what it receives goes ``out``, what comes ``back`` is sent."""

    def __init__(self, out: Way, back: Way) -> None:
        self._out, self._back = out, back

    def connectionMade(self) -> None:
        """Ready to send and to be held back."""
        self._out.source = self._back.sink = self.transport
        cast(Any, self.transport).setTcpNoDelay(True)
        self._back.go_on()

    def hang_up(self) -> None:
        """There is nobody at the other end."""
        if self.transport is not None:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """On its way."""
        self._out.put(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The other end hears of it in time."""
        self._out.source = None
        self._back.sink = None
        self._out.end()


class Line(Factory):
    """Each connection to it becomes one to ``target``, over a line of its own."""

    def __init__(self, reactor: Any, target: int) -> None:
        self._reactor = reactor
        self._target = TCP4ClientEndpoint(reactor, "127.0.0.1", target)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """The near end; the far end is connected at once, its first byte a round trip later."""
        there = Way(self._reactor, None, ROUND_TRIP_S)
        back = Way(self._reactor, BYTES_S, 0.0)
        near = End(there, back)
        far = Factory.forProtocol(lambda: End(back, there))
        connecting = self._target.connect(cast(Any, far))
        connecting.addErrback(lambda _: near.hang_up())
        return near


def main() -> None:
    """Serve until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("target", type=int)
    asked = parser.parse_args()
    reactor = cast(Any, global_reactor)
    TCP4ServerEndpoint(reactor, asked.port, interface="127.0.0.1").listen(Line(reactor, asked.target))
    reactor.run()


if __name__ == "__main__":
    main()
