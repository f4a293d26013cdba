"""Whether anything is out there is found out without sending a byte."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock

from regproxy.probes import TIMEOUT_S, unreachable
from regproxy.settings import UpstreamSettings
from tests.upstream.network import Network


def upstream(port: int) -> UpstreamSettings:
    return UpstreamSettings(f"upstream-{port}", (f"http://127.0.0.1:{port}",))


class Visits(Factory):
    """A listener that notes what visitors say, and fires when the first one has left."""

    def __init__(self) -> None:
        self.heard = b""
        self.left: Deferred[None] = Deferred()

    def buildProtocol(self, addr: object) -> Protocol:
        visits = self

        class Visit(Protocol):
            def dataReceived(self, data: bytes) -> None:
                visits.heard += data

            def connectionLost(self, reason: object = None) -> None:
                visits.left.callback(None)

        return Visit()


@pytest.fixture(name="closed_port")
def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest_twisted.async_yield_fixture(name="open_port")
async def _open_port() -> AsyncIterator[tuple[int, Visits]]:
    visits = Visits()
    port = reactor.listenTCP(0, visits, interface="127.0.0.1")
    yield port.getHost().port, visits
    await port.stopListening()


async def test_one_that_answers_is_enough(closed_port: int, open_port: tuple[int, Visits]) -> None:
    number, visits = open_port
    assert await unreachable(reactor, [upstream(closed_port), upstream(number)]) is None
    await visits.left.addTimeout(5, reactor)
    assert visits.heard == b""


async def test_where_none_answers_the_first_says_why(closed_port: int) -> None:
    assert await unreachable(reactor, [upstream(closed_port)] * 2) == "127.0.0.1: no connection"


async def test_no_upstreams_are_no_trouble() -> None:
    assert await unreachable(reactor, []) is None


def test_silence_ends_in_time() -> None:
    clock = MemoryReactorClock()
    said: list[object] = []
    unreachable(clock, [upstream(1)]).addBoth(said.append)
    clock.advance(TIMEOUT_S)
    assert said == ["127.0.0.1: no answer"]


def test_cancelling_it_ends_every_attempt() -> None:
    clock = MemoryReactorClock()
    asking = unreachable(clock, [upstream(1), upstream(2)])
    gone: list[object] = []
    asking.addErrback(lambda failure: gone.append(failure.check(CancelledError)))
    asking.cancel()
    assert gone == [CancelledError]
    assert clock.getDelayedCalls() == []


def test_it_knocks_at_no_address_that_is_never_asked() -> None:
    network = Network(lambda asked: b"")
    network.resolve("a.example", "169.254.169.254")
    said: list[object] = []
    unreachable(network, [UpstreamSettings("a.example", ("https://a.example",))]).addBoth(said.append)
    assert said == ["a.example: its address is not allowed"]
    assert network.dialled == []
