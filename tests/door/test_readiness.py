"""What operators are told while the daemon begins, runs and ends."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from regproxy.compose import Mirror
from tests.door.test_service import House, ending, settings_with

LOCAL = IPv4Address("TCP", "127.0.0.1", 40000)


@pytest.fixture(autouse=True)
def _hangup_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


class Watched(House):
    """A house whose mirror has reasons of the test's."""

    def __init__(self) -> None:
        super().__init__(settings_with())
        self.reasons: list[str] = []
        self.warnings: list[str] = []

    def compose(self, *rooms: object) -> Mirror:
        self.mirror = attrs.evolve(
            super().compose(*rooms), reasons=lambda: self.reasons, warnings=lambda: self.warnings
        )
        return self.mirror

    def ask(self, path: str) -> tuple[int, Any]:
        factory = next(each for port, each, *_ in self.reactor.tcpServers if port == 5001)
        protocol: Any = factory.buildProtocol(LOCAL)
        transport = StringTransport(peerAddress=LOCAL)
        protocol.makeConnection(transport)
        protocol.dataReceived(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        while not transport.value():
            self.reactor.advance(0)
        protocol.connectionLost(Failure(ConnectionDone()))
        head, _, body = transport.value().partition(b"\r\n\r\n")
        text = body.decode()
        return int(head.split()[1]), json.loads(text) if text.startswith("{") else text

    @property
    def admin_listens(self) -> bool:
        return bool(self.service._admin_ports)


def test_the_reasons_of_the_mirror_are_those_of_the_daemon() -> None:
    house = Watched()
    house.start()
    assert house.ask("/readyz") == (200, {"status": "ready"})
    house.reasons, house.warnings = ["the storage folder takes no writes"], ["no upstream answers"]
    assert house.ask("/readyz") == (
        503,
        {"status": "not ready", "reasons": house.reasons, "warnings": house.warnings},
    )
    assert house.ask("/healthz")[0] == 200


def test_the_gauge_says_the_same() -> None:
    house = Watched()
    house.start()

    def ready() -> float | None:
        return house.mirror.figures.registry.get_sample_value("regproxy_ready")

    assert ready() == 1
    house.reasons = ["it is starting"]
    assert ready() == 0
    assert "\nregproxy_ready 0.0\n" in house.ask("/metrics")[1]


def test_while_it_stops_operators_are_told_so() -> None:
    """Clients are not taken any more, those that are served end first, and only then nobody is told."""
    house = Watched()
    house.start()
    house.store.closed.callback(None)
    house.under_way = 1
    ended = ending(house)
    assert not house.service._ports
    assert house.admin_listens
    assert house.ask("/readyz") == (503, {"status": "not ready", "reasons": ["it is stopping"]})
    house.under_way = 0
    house.reactor.pump([0.1] * 2)
    assert ended == [None]
    assert not house.admin_listens
