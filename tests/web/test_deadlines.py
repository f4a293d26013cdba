"""Clients that are slow: headers, idle connections, ends that are not taken."""

from __future__ import annotations

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
    assert wire.transport.aborted
    wire.close()
