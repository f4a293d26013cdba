"""Clients that are slow: headers, idle connections, ends that are not taken."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from regproxy.http1.timed import LINGER_S
from regproxy.settings import LimitSettings
from tests.web.doubles import (
    parse,
)
from tests.web.wire import Wire, get


def test_a_header_must_come_in_time() -> None:
    """Twisted's idle timer is reset by every byte."""
    wire = Wire()
    for byte in b"GET /v2":
        wire.send(bytes([byte]))
        wire.clock.advance(4)
        assert not wire.transport.aborted
    wire.send(b"/")
    wire.clock.advance(4)
    assert wire.transport.aborted
    wire.close()


def test_the_header_deadline_is_for_one_request() -> None:
    wire = Wire()
    for _ in range(10):
        assert parse(wire.send(get(b"/v2/")))[0].status == 200
        wire.clock.advance(20)
    assert not wire.transport.aborted
    wire.close()


def test_a_connection_that_sends_nothing_has_no_longer_than_a_request() -> None:
    wire = Wire()
    wire.clock.advance(29)
    assert not wire.transport.aborted
    wire.clock.advance(1)
    assert wire.transport.aborted
    (record,) = wire.records
    assert (record.status, record.note, record.cause) == (
        408,
        "silent",
        "the client sent nothing in 30 seconds",
    )
    wire.close()


def test_the_times_are_settings() -> None:
    wire = Wire(limits=LimitSettings(header_s=3, idle_s=7))
    wire.send(get(b"/v2/"))
    wire.clock.advance(6)
    assert not wire.transport.disconnecting
    wire.clock.advance(1)
    assert wire.transport.disconnecting
    wire.close()
    wire = Wire(limits=LimitSettings(header_s=3, idle_s=7))
    wire.send(b"GET ")
    wire.clock.advance(3)
    assert wire.transport.aborted
    wire.close()


def test_all_connections_share_one_delayed_call() -> None:
    wire = Wire()
    others = [wire.another() for _ in range(100)]
    for other in others[:50]:
        other.protocol.dataReceived(get(b"/v2/"))
    assert len(wire.clock.getDelayedCalls()) == 1
    wire.clock.advance(31)
    assert [other.aborted for other in others] == [False] * 50 + [True] * 50
    for other in others:
        other.protocol.connectionLost(Failure(ConnectionDone()))
    wire.transport.protocol.connectionLost(Failure(ConnectionDone()))
    assert wire.clock.getDelayedCalls() == []


def test_an_idle_connection_is_closed() -> None:
    wire = Wire()
    wire.send(get(b"/v2/"))
    wire.clock.advance(121)
    assert wire.transport.disconnecting
    wire.close()


def test_a_client_that_never_takes_the_end_is_aborted() -> None:
    wire = Wire()
    wire.send(get(b"/v2/", b"Connection: close"))
    assert wire.transport.disconnecting
    wire.clock.advance(120)
    assert not wire.transport.aborted
    wire.clock.advance(LINGER_S)
    assert wire.transport.aborted
    wire.close()
