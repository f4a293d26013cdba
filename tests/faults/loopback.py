"""Connections in memory with a speed: servers that listen, clients that connect, one clock.

A line carries its server's bytes at ``speed`` bytes a second, so that what is on its way when somebody
hangs up is as on a real one, and notes what of a body has arrived, by offset.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IConsumer, IPushProducer, IReactorFromThreads, ITransport
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.upstream.network import Names

STEP_S = 0.05
FULL_BYTES = 4096
"""What a server's side holds before it is told to wait, as the buffers of sockets do."""
_LENGTH = re.compile(rb"content-length: *(\d+)", re.I)
_SPAN = re.compile(rb"content-range: *bytes (\d+)-", re.I)
_STATUS = re.compile(rb"HTTP/1\.\d (\d+)")


@implementer(ITransport, IConsumer, IPushProducer)
class End:
    """One side of a line."""

    def __init__(self, here: IPv4Address, there: IPv4Address) -> None:
        self._here, self._there = here, there
        self.protocol: Any = None
        self.out = bytearray()
        self.producer: Any = None
        self.paused = False
        self.disconnecting = False
        self.aborted = False
        self.connected = True
        self.told_to_wait = False

    def getHost(self) -> IPv4Address:
        return self._here

    def getPeer(self) -> IPv4Address:
        return self._there

    def write(self, data: bytes) -> None:
        if self.connected and not self.disconnecting:
            self.out += data
            if self.producer is not None and len(self.out) >= FULL_BYTES and not self.told_to_wait:
                self.told_to_wait = True
                self.producer.pauseProducing()

    def writeSequence(self, pieces: list[bytes]) -> None:
        self.write(b"".join(pieces))

    def take(self, count: int) -> bytes:
        data = bytes(self.out[:count])
        del self.out[:count]
        if self.told_to_wait and not self.out and self.producer is not None:
            self.told_to_wait = False
            self.producer.resumeProducing()
        return data

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer, self.told_to_wait = producer, False

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.aborted = True

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def stopProducing(self) -> None:
        self.loseConnection()

    def setTcpNoDelay(self, enabled: bool) -> None:
        """It has none."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """It has none."""

    def lost(self, error: Exception) -> None:
        if self.connected:
            self.connected = False
            producer, self.producer = self.producer, None
            if producer is not None:
                producer.stopProducing()
            self.protocol.connectionLost(Failure(error))


@attrs.define
class Body:
    """A body that arrives: where it begins in the blob, and how much of it is here."""

    status: int
    start: int
    length: int
    arrived: int = 0


class Line:
    """A connection; the server's bytes arrive at ``speed`` a second (None: at once)."""

    def __init__(self, port: int, number: int, speed: int | None) -> None:
        self.port, self.number, self.speed = port, number, speed
        client, server = (
            IPv4Address("TCP", "127.0.0.1", 40_000 + number),
            IPv4Address("TCP", "127.0.0.1", port),
        )
        self.client, self.server = End(client, server), End(server, client)
        self.bodies: list[Body] = []
        self.arrived = 0
        """All bytes of the server's, heads included."""
        self.reset_at: int | None = None
        self.stall_at: int | None = None
        """After so many of them."""
        self._head = b""

    @property
    def open(self) -> bool:
        return self.client.connected

    def carry(self, seconds: float) -> bool:
        """Move what may move; whether anything did."""
        moved = self._carry_up()
        if self.open and (self.speed is None or seconds):
            moved = self._carry_down(seconds) or moved
        return self._hang_up() or moved

    def _carry_up(self) -> bool:
        data = self.client.take(len(self.client.out))
        if data:
            self.server.protocol.dataReceived(data)
        return bool(data)

    def _carry_down(self, seconds: float) -> bool:
        room = 65_536 if self.speed is None else round(self.speed * seconds)
        stops = [stop - self.arrived for stop in (self.reset_at, self.stall_at) if stop is not None]
        data = b"" if self.client.paused else self.server.take(min([room, *stops]))
        if data:
            self.arrived += len(data)
            self._note(data)
            self.client.protocol.dataReceived(data)
        if self.reset_at is not None and self.arrived >= self.reset_at:
            self.client.aborted = True
        return bool(data)

    def _note(self, data: bytes) -> None:
        while data:
            if self.bodies and self.bodies[-1].arrived < self.bodies[-1].length:
                body = self.bodies[-1]
                taken = min(len(data), body.length - body.arrived)
                body.arrived += taken
                data = data[taken:]
                continue
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            self._head = b""
            length, span, status = _LENGTH.search(head), _SPAN.search(head), _STATUS.match(head)
            assert status is not None
            start = 0 if span is None else int(span[1])
            self.bodies.append(Body(int(status[1]), start, 0 if length is None else int(length[1])))

    def _hang_up(self) -> bool:
        if not self.open:
            return False
        ends = (self.client, self.server)
        if any(end.aborted for end in ends):
            self._end(ConnectionLost())
            return True
        if any(end.disconnecting and not end.out for end in ends):
            self._end(ConnectionDone())
            return True
        return False

    def _end(self, error: Exception) -> None:
        for end in (self.client, self.server):
            end.lost(error)


@attrs.define(eq=False)
class Port:
    """A port that is listened on."""

    loopback: Loopback
    number: int
    factory: Any

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", self.number)

    def stopListening(self) -> None:
        self.loopback.ports.pop(self.number, None)


class Connector:
    """Of a client."""

    def stopConnecting(self) -> None:
        """It is over at once."""

    def disconnect(self) -> None:
        """Its transport does that."""


@implementer(IReactorFromThreads)
class Loopback(MemoryReactorClock):  # type: ignore[misc]
    """A reactor whose connections stay within it. ``speeds`` are those of new lines, by port."""

    def __init__(self) -> None:
        super().__init__()
        self.nameResolver = Names()
        self.ports: dict[int, Port] = {}
        self.lines: list[Line] = []
        self.speeds: dict[int, int | None] = {}
        self.on_line: Callable[[Line], None] = lambda line: None
        """Told of each new line, before anything moves on it."""
        self.threads: list[Any] = []
        """Threads of a disk, whose jobs are waited for."""
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._last_port = 5000

    def installNameResolver(self, resolver: Any) -> Any:
        old, self.nameResolver = self.nameResolver, resolver
        return old

    def listenTCP(self, port: int, factory: Any, *_: Any, **__: Any) -> Port:
        if not port:
            self._last_port = port = self._last_port + 1
        self.ports[port] = Port(self, port, factory)
        return self.ports[port]

    def connectTCP(self, host: str, port: int, factory: Any, *_: Any, **__: Any) -> Connector:
        connector = Connector()
        self.callLater(0, self._connect, port, factory, connector)
        return connector

    def _connect(self, number: int, factory: Any, connector: Connector) -> None:
        port = self.ports.get(number)
        if port is None:
            factory.clientConnectionFailed(connector, Failure(ConnectionRefusedError()))
            return
        line = Line(number, len(self.lines), self.speeds.get(number))
        self.lines.append(line)
        self.on_line(line)
        for end, made_by in ((line.server, port.factory), (line.client, factory)):
            end.protocol = made_by.buildProtocol(end.getPeer())
        for end in (line.server, line.client):
            end.protocol.makeConnection(end)

    def callFromThread(self, call: Callable[..., object], *args: object, **more: object) -> None:
        self._calls.put(partial(call, *args, **more))

    def _disk(self) -> bool:
        """Do what the disk's threads have to do and to tell; whether there was anything."""
        moved = False
        for thread in self.threads:
            fired: list[Any] = []
            thread.run(lambda: None).addBoth(fired.append)
            told = 0
            while not fired:
                self._calls.get(timeout=30)()
                told += 1
            moved = moved or told > 1
        while True:
            try:
                self._calls.get_nowait()()
            except Empty:
                return moved

    def settle(self) -> None:
        """Until nothing moves by itself."""
        moved = True
        while moved:
            moved = False
            for line in self.lines:
                moved = (line.open and line.carry(0)) or moved
            due = [call for call in self.getDelayedCalls() if call.getTime() <= self.seconds()]
            if due:
                self.advance(0)
                moved = True
            moved = self._disk() or moved

    def go_on(self, seconds: float) -> None:
        """So long everything flows."""
        for _ in range(max(1, round(seconds / STEP_S))):
            self.settle()
            for line in list(self.lines):
                if line.open and line.speed is not None:
                    line.carry(STEP_S)
            self.settle()
            self.advance(STEP_S)
        self.settle()

    def until(self, holds: Callable[[], bool], seconds: float = 200.0) -> None:
        """Until ``holds``; AssertionError after ``seconds``."""
        over = self.seconds() + seconds
        self.settle()
        while not holds():
            assert self.seconds() < over, "it does not come to its end"
            self.go_on(STEP_S)
