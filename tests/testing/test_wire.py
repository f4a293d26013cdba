"""The server end takes requests as they come and survives what is no request."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from regproxy.testing.reply import Framing, Gate, HeardRequest, Pause, Reply, head_of, parse_head
from regproxy.testing.server import Server
from regproxy.testing.wire import MAX_HEAD_BYTES, MAX_REQUEST_BODY_BYTES, ChannelFactory, Progress
from tests.testing.raw import connect, fetch

HEARD: list[HeardRequest] = []


def echo(request: HeardRequest) -> tuple[Reply, Progress]:
    HEARD.append(request)
    return Reply(200, (), request.body or request.target.encode()), lambda *seen: None


@pytest_twisted.async_yield_fixture
async def server() -> AsyncIterator[Server]:
    HEARD.clear()
    listening = Server(reactor, echo)
    listening.listen()
    yield listening
    await listening.close()


async def test_a_request_may_come_byte_by_byte() -> None:
    factory = ChannelFactory(echo, Clock())
    channel = factory.buildProtocol(None)
    transport = StringTransport()
    channel.makeConnection(transport)
    for byte in b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyz":
        assert transport.value() == b""
        channel.dataReceived(bytes([byte]))
    assert transport.value() == b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nxyz"


async def test_pipelined_requests_wait_for_the_answer_before_them() -> None:
    gate = Gate()
    replies = [Reply(200, (), b"one", pauses=(Pause(gate, 1),)), Reply(200, (), b"two")]
    factory = ChannelFactory(lambda request: (replies.pop(0), lambda *seen: None), Clock())
    channel = factory.buildProtocol(None)
    transport = StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(b"GET / HTTP/1.1\r\n\r\n" * 2)
    assert transport.value().endswith(b"\r\n\r\no")
    gate.open()
    assert transport.value().count(b"HTTP/1.1 200") == 2
    assert transport.value().endswith(b"two")


async def test_drip_follows_the_clock() -> None:
    clock = Clock()
    seen: list[tuple[int, int, bool]] = []
    reply = Reply(200, (), b"abcdefg", drip=(3, 2.0))
    factory = ChannelFactory(lambda request: (reply, lambda *now: seen.append(now)), clock)
    channel = factory.buildProtocol(None)
    transport = StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
    assert transport.value().endswith(b"\r\n\r\nabc")
    clock.advance(1.9)
    assert transport.value().endswith(b"abc")
    clock.pump([0.1, 2, 2])
    assert transport.value().endswith(b"abcdefg")
    assert seen[-1] == (200, 7, True)


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02", b"\0", b" GET / HTTP/1.1\r\n\r\n"])
async def test_what_is_not_http_is_answered_and_closed(server: Server, junk: bytes) -> None:
    client = await connect(server.url)
    client.transport.write(junk)
    assert (await client.ended).status == 400
    assert HEARD == []


@pytest.mark.parametrize("junk", [b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"A" * 1_200_000])
async def test_broken_http_is_cut(server: Server, junk: bytes) -> None:
    assert len(junk) < 100 or len(junk) > MAX_HEAD_BYTES + MAX_REQUEST_BODY_BYTES
    client = await connect(server.url)
    client.transport.write(junk)
    assert (await client.ended).status == 0
    assert HEARD == []


async def test_a_body_too_large_is_answered_unread(server: Server) -> None:
    answer = await fetch(server.url, "/big", "PUT", Content_Length=str(MAX_REQUEST_BODY_BYTES + 1))
    assert (answer.body, HEARD[0].body) == (b"/big", b"")
    assert len(HEARD) == 1


async def test_what_comes_after_the_last_answer_is_not_heard() -> None:
    HEARD.clear()
    channel = ChannelFactory(echo, Clock()).buildProtocol(None)
    transport = StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(b"PUT /big HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    answered = transport.value()
    channel.dataReceived(b"GET /not-a-request HTTP/1.1\r\n\r\n")
    channel.dataReceived(b"5\r\nhello\r\n")
    assert (len(HEARD), transport.value(), transport.disconnecting) == (1, answered, True)


async def test_closing_server_refuses_and_comes_back_on_its_port(server: Server) -> None:
    port = server.port
    client = await connect(server.url)
    await server.close()
    assert not (await client.ended).clean
    server.listen()
    server.listen()
    assert (server.port, (await fetch(server.url, "/x")).body) == (port, b"/x")


def test_heads_say_what_the_reply_says() -> None:
    reply = Reply(299, (("A", "b"),), b"xx", length=7)
    assert head_of(reply, True) == (
        b"HTTP/1.1 299 Unknown\r\nA: b\r\nContent-Length: 7\r\nConnection: close\r\n\r\n"
    )
    assert b"Content-Length" not in head_of(Reply(304), False)
    assert b"Connection: close" in head_of(Reply(200, framing=Framing.CLOSE), False)


def test_requests_are_read_as_they_came() -> None:
    request = parse_head(b"GET /a%2Fb?x=1&x=%32&y HTTP/1.1\r\nHost: h\r\nX-A:  1 \r\nx-a: 2", "peer")
    assert request is not None
    assert (request.path, request.query) == ("/a%2Fb", {"x": ["1", "2"], "y": [""]})
    assert (request.header("x-A"), request.headers[2]) == ("1", ("x-a", "2"))


async def test_gate_counts_and_lets_go() -> None:
    gate = Gate()
    first, second = gate.enter(), gate.enter()
    two = gate.arrived(2)
    three = gate.arrived(3)
    assert two.called
    assert not three.called
    first.cancel()
    with pytest.raises(CancelledError):
        await first
    gate.open()
    assert second.called
    assert gate.enter().called
    assert three.called
