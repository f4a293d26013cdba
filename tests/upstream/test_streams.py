"""Bodies over real sockets: back-pressure, abort, cut, drip, stall, and who closes what."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock, deferLater
from zope.interface import implementer
from zope.interface.verify import verifyObject

from regproxy.errors import TransferStopped, UpstreamTimeout, UpstreamUnreachable
from regproxy.interfaces import How, IBlob, IBody
from regproxy.upstream.limits import Limits
from regproxy.upstream.registry import RemoteRegistry
from regproxy.upstream.streams import HIGH_BYTES
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Asked, Server
from tests.upstream.test_registry import BLOB, BLOB_DIGEST, BLOB_PATH, read_all

NewRegistry = Callable[..., RemoteRegistry]


@implementer(IPushProducer)
class Flood:
    """Writes for ever, as fast as the connection takes it, and counts."""

    def __init__(self, asked: Asked) -> None:
        self.sent = 0
        self._running = True
        self._transport = asked.connection.transport
        self.full: Deferred[None] = Deferred()
        asked.head(200, {"Content-Length": str(1 << 40)})
        self._transport.registerProducer(self, True)
        reactor.callLater(0, self.resumeProducing)

    def resumeProducing(self) -> None:
        self._running = True
        while self._running and self._transport.connected:
            self._transport.write(bytes(262144))
            self.sent += 262144

    def pauseProducing(self) -> None:
        self._running = False

    def stopProducing(self) -> None:
        self._running = False


async def turns(count: int = 50) -> None:
    """Let the reactor work."""
    for _ in range(count):
        await deferLater(reactor, 0)


async def test_the_contract(server: Server, registry: RemoteRegistry) -> None:
    server.on(BLOB_PATH, lambda asked: asked.reply(200, BLOB))
    blob = await registry.blobs.open(REPOSITORY, BLOB_DIGEST)
    verifyObject(IBlob, blob)
    assert blob.size == len(BLOB)
    assert blob.how is How.MISS
    body = blob.body()
    verifyObject(IBody, body)
    with pytest.raises(RuntimeError):
        blob.body()
    blob.close()
    await body.ready()
    assert body.read(10) == BLOB[:10]
    body.close()
    body.close()
    with pytest.raises(TransferStopped):
        body.read(10)


async def test_a_part_of_the_blob(server: Server, registry: RemoteRegistry) -> None:
    """Only the span comes out; what lies behind it is not fetched to the end."""
    server.on(
        BLOB_PATH,
        lambda asked: asked.head(200, {"Content-Length": "1000000"}) or asked.write(bytes(range(200))),
    )
    blob = await registry.blobs.open(REPOSITORY, BLOB_DIGEST)
    body = blob.body(100, 110)
    await body.ready()
    assert body.read(1000) == bytes(range(100, 110))
    assert body.read(1000) == b""
    await body.ready()
    body.close()
    await server.connections[0].lost


async def test_a_blob_of_unknown_length(server: Server, registry: RemoteRegistry) -> None:
    """Chunked: size is None, the bytes come all the same (R42)."""

    def chunked(asked: Asked) -> None:
        asked.head(200, {"Transfer-Encoding": "chunked"})
        asked.write(b"2710\r\n" + BLOB + b"\r\n0\r\n\r\n")

    server.on(BLOB_PATH, chunked)
    assert await read_all(registry) == BLOB
    blob = await registry.blobs.open(REPOSITORY, BLOB_DIGEST)
    assert blob.size is None
    blob.close()


async def test_an_empty_blob(server: Server, registry: RemoteRegistry) -> None:
    server.on(BLOB_PATH, lambda asked: asked.reply(200, b""))
    blob = await registry.blobs.open(REPOSITORY, BLOB_DIGEST)
    assert blob.size == 0
    body = blob.body(0, None)
    assert body.read(10) == b""


async def test_back_pressure_reaches_the_sender(server: Server, registry: RemoteRegistry) -> None:
    """A reader that does not read stops the sender; one that reads starts it again (P49)."""
    floods: list[Flood] = []
    server.on(BLOB_PATH, lambda asked: floods.append(Flood(asked)))
    blob = await registry.blobs.open(REPOSITORY, BLOB_DIGEST)
    await turns()
    body = blob.body()
    before = -1
    while floods[0].sent != before:
        before = floods[0].sent
        await turns(100)
    assert HIGH_BYTES <= before <= 8 * HIGH_BYTES
    taken = 0
    while taken < 2 * before:
        data = body.read(1 << 20)
        if data is None:
            await body.ready()
        taken += len(data or b"")
    assert floods[0].sent > before
    body.close()
    await server.connections[0].lost


async def test_close_aborts_a_paused_connection(server: Server, registry: RemoteRegistry) -> None:
    """Before body(), in the middle, and while paused."""
    server.on(BLOB_PATH, Flood)
    for read in (False, True):
        blob = await registry.blobs.open(REPOSITORY, BLOB_DIGEST)
        lost = server.connections[0].lost
        if read:
            body = blob.body()
            await body.ready()
            body.close()
        else:
            blob.close()
        await lost
    assert repr(registry) == "<RemoteRegistry upstream.test, 0 under way>"


async def test_close_wakes_the_waiting_reader(server: Server, registry: RemoteRegistry) -> None:
    server.on(BLOB_PATH, lambda asked: asked.head(200, {"Content-Length": "10"}))
    body = (await registry.blobs.open(REPOSITORY, BLOB_DIGEST)).body()
    assert body.read(10) is None
    body.ready().addErrback(lambda _: None).cancel()
    waiting = body.ready()
    body.close()
    with pytest.raises(TransferStopped):
        await waiting


async def test_a_cut_body(server: Server, registry: RemoteRegistry) -> None:
    """What came is handed out, then the error; never a clean end (R39)."""

    def cut(asked: Asked) -> None:
        asked.head(200, {"Content-Length": "100"})
        asked.write(b"half")
        asked.close()

    server.on(BLOB_PATH, cut)
    body = (await registry.blobs.open(REPOSITORY, BLOB_DIGEST)).body()
    await turns(20)
    assert body.read(100) == b"half"
    await body.ready()
    with pytest.raises(UpstreamUnreachable, match="cut the connection"):
        body.read(100)
    body.close()


async def test_a_drip_is_no_stall(server: Server, registry: RemoteRegistry) -> None:
    asked: list[Asked] = []
    server.on(BLOB_PATH, lambda each: asked.append(each) or each.head(200, {"Content-Length": "3"}))
    body = (await registry.blobs.open(REPOSITORY, BLOB_DIGEST)).body()
    for byte in (b"a", b"b", b"c"):
        waiting = body.ready()
        asked[0].write(byte)
        await waiting
        assert body.read(10) == byte
    await body.ready()
    assert body.read(10) == b""


class Watched:
    """A stream on a Clock: an answer that notes its abort."""

    upstream = "upstream.test"

    class origin:
        host = "a.example"

    def __init__(self, spent: Callable[[int], float] = lambda size_bytes: 0.0) -> None:
        from twisted.internet.testing import StringTransport

        from regproxy.upstream.streams import BodyStream

        self.clock = Clock()
        self.aborted = 0
        self.gone = 0
        self.received_bytes = 0
        self.broken = 0
        self.found_slow = 0
        self.stream = BodyStream(self, self.clock, 30.0, self._gone, spent=spent)
        self.transport = StringTransport()
        self.stream.makeConnection(self.transport)

    def abort(self) -> None:
        self.aborted += 1

    def received(self, size_bytes: int) -> None:
        self.received_bytes += size_bytes

    def broke(self) -> None:
        self.broken += 1

    def slow(self) -> None:
        self.found_slow += 1

    def _gone(self) -> None:
        self.gone += 1


def test_a_stall_is_a_timeout() -> None:
    """30 s after the last byte, not after the first; the connection is aborted."""
    watched = Watched()
    watched.clock.advance(29)
    watched.stream.dataReceived(b"x")
    watched.clock.advance(29)
    assert watched.stream.take(10) == b"x"
    assert watched.stream.take(10) is None
    waiting = watched.stream.wait()
    watched.clock.advance(1)
    assert waiting.called
    with pytest.raises(UpstreamTimeout, match="nothing for 30 s"):
        watched.stream.take(10)
    assert (watched.aborted, watched.gone) == (1, 1)
    assert watched.clock.getDelayedCalls() == []


def test_the_watchdog_sleeps_while_we_pause() -> None:
    """A reader that takes an hour is no fault of the upstream."""
    watched = Watched()
    watched.stream.dataReceived(bytes(HIGH_BYTES + 1))
    assert watched.transport.producerState == "paused"
    watched.clock.advance(3600)
    while watched.stream.take(1 << 20):
        pass
    assert watched.transport.producerState == "producing"
    watched.clock.advance(29)
    assert watched.stream.take(1) is None
    watched.clock.advance(1)
    with pytest.raises(UpstreamTimeout):
        watched.stream.take(1)


def test_there_is_one_timer_however_many_pieces() -> None:
    watched = Watched()
    for _ in range(1000):
        watched.stream.dataReceived(b"x")
    assert len(watched.clock.getDelayedCalls()) == 1


async def test_a_stalled_body_over_a_socket(server: Server, new_registry: NewRegistry) -> None:
    registry = new_registry(server.url, {"limits": Limits(idle_s=0.05)})
    server.on(BLOB_PATH, lambda asked: asked.head(200, {"Content-Length": "10"}) or asked.write(b"x"))
    body = (await registry.blobs.open(REPOSITORY, BLOB_DIGEST)).body()
    await body.ready()
    assert body.read(10) == b"x"
    await body.ready()
    with pytest.raises(UpstreamTimeout):
        body.read(10)
    await server.connections[0].lost


async def test_closing_the_registry_ends_its_bodies(server: Server, registry: RemoteRegistry) -> None:
    server.on(BLOB_PATH, Flood)
    reading = (await registry.blobs.open(REPOSITORY, BLOB_DIGEST)).body()
    await registry.blobs.open(REPOSITORY, BLOB_DIGEST)
    lost = [connection.lost for connection in server.connections]
    await registry.close()
    for each in lost:
        await each
    with pytest.raises(TransferStopped):
        reading.read(10)
    with pytest.raises(TransferStopped):
        await registry.blobs.open(REPOSITORY, BLOB_DIGEST)
