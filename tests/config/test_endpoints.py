"""Endpoint descriptions: what Twisted takes, no more."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactorClock

from regproxy.config.endpoints import Endpoint, endpoint, escape
from regproxy.config.errors import Unfit

GOOD = [
    "tcp:5000",
    "tcp:0:interface=127.0.0.1",
    r"tcp:5000:interface=\:\:",
    "tcp6:5000",
    r"tcp6:5000:interface=\:\:1:backlog=128",
    "tcp:port=5000",
    "unix:/run/a.sock:mode=660",
    "unix:address=/run/a.sock:lockfile=0",
    "haproxy:tcp:5000",
]


@pytest.mark.parametrize("text", GOOD)
def test_what_is_taken_here_twisted_takes_too(text: str) -> None:
    assert endpoint(text) == text
    serverFromString(MemoryReactorClock(), text)
    serverFromString(MemoryReactorClock(), str(Endpoint.parse(text).below(Path("/srv"))))


@pytest.mark.parametrize(
    "text",
    [
        "systemd:domain=INET6:index=0",
        "systemd:domain=INET:name=web",
        "ssl:443:privateKey=k:certKey=c",
        "ssl:443:privateKey=k:certKey=c:clientCA=ca:clientCertificate=optional",
        "haproxy:ssl:443:privateKey=k:certKey=c",
    ],
)
def test_what_needs_more_than_a_reactor_is_taken(text: str) -> None:
    assert str(Endpoint.parse(endpoint(text))) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected tcp6:PORT"),
        ("5000", "expected tcp6:PORT"),
        ("udp:5000", "expected tcp6:PORT"),
        ("haproxy:haproxy:tcp:1", "expected tcp6:PORT"),
        ("tcp", "a port from 0 to 65535"),
        ("tcp:", "a port from 0 to 65535"),
        ("tcp:http", "a port from 0 to 65535"),
        ("tcp:65536", "a port from 0 to 65535"),
        ("tcp:5000:interfaces=::1", "tcp: takes port, interface, backlog only"),
        ("tcp:5000:interface=::1", r"written \\:"),
        ("tcp:5000:interface=localhost", "an address after interface="),
        ("tcp6:5000:interface=127.0.0.1", "write tcp:"),
        ("tcp:5000:port=1", "port is given twice"),
        ("tcp:5000:backlog=x", "a number after backlog="),
        ("unix:", "unix:PATH"),
        ("unix:/" + "a" * 107, "at most 107 bytes"),
        ("unix:/a:mode=rw", "octal"),
        ("ssl:443", "privateKey=FILE"),
        ("ssl:443:privateKey=", "privateKey=FILE"),
        ("ssl:443:privateKey=k:clientCertificate=required", "clientCA=FILE"),
        ("ssl:443:privateKey=k:clientCA=c:clientCertificate=maybe", "=required, or =optional"),
        ("systemd:index=0", "systemd:domain="),
        ("systemd:domain=INET", "name=NAME instead of index="),
        ("systemd:domain=IP:index=0", "systemd:domain="),
        ("tcp:5000\\", "after the backslash"),
    ],
)
def test_what_is_not_taken(text: str, says: str) -> None:
    with pytest.raises(Unfit, match=says):
        endpoint(text)


@given(st.text())
def test_any_text_is_a_description_or_unfit(text: str) -> None:
    try:
        again = Endpoint.parse(text)
    except Unfit:
        return
    assert Endpoint.parse(str(again)) == Endpoint.parse(str(Endpoint.parse(str(again))))


@given(st.text(min_size=1, max_size=50))
def test_an_escaped_argument_is_read_back(path: str) -> None:
    assert Endpoint.parse(f"unix:{escape(path)}").get("address") == path


def test_paths_are_made_absolute_and_nothing_else() -> None:
    written = Endpoint.parse("unix:a.sock:mode=660").below(Path("/etc/regproxy"))
    assert str(written) == "unix:/etc/regproxy/a.sock:mode=660"
    assert Endpoint.parse("unix:/run/a.sock").below(Path("/etc")).get("address") == "/run/a.sock"


def test_a_socket_for_operators_is_closed_to_others() -> None:
    assert str(Endpoint.parse("unix:/a").for_operators()) == "unix:/a:mode=660"
    assert str(Endpoint.parse("unix:/a:mode=600").for_operators()) == "unix:/a:mode=600"
    assert str(Endpoint.parse("tcp:1").for_operators()) == "tcp:1"
