"""The admin listener: health, and JSON for everything else, whatever is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_network

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from regproxy.access.forwarded import TrustedProxies
from regproxy.admin.health import healthz
from regproxy.admin.site import CONNECTIONS, AdminSite
from regproxy.settings import LimitSettings
from tests.conftest import LoggedFailures

LOCAL = IPv4Address("TCP", "127.0.0.1", 40000)


def healthy() -> dict[str, object]:
    return {"version": "1.2.3"}


def ask(
    request: bytes, peer: object = LOCAL, status: Callable[[], dict[str, object]] = healthy
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to raw bytes."""
    site = AdminSite({"/healthz": healthz(status)}, [ip_network("127.0.0.0/8")], Clock(), LimitSettings())
    protocol = site.buildProtocol(peer)
    transport = StringTransport(peerAddress=peer)
    protocol.makeConnection(transport)
    protocol.dataReceived(request)
    head, _, body = transport.value().partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    protocol.connectionLost(None)
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


def request(path: bytes, method: bytes = b"GET", host: bytes = b"admin") -> bytes:
    return b"%s %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (method, path, host)


def test_health_is_json_and_never_cached() -> None:
    status, headers, body = ask(request(b"/healthz"))
    assert status == 200
    assert json.loads(body) == {"status": "ok", "version": "1.2.3"}
    assert headers["Content-Type"].startswith("application/json")
    assert headers["Cache-Control"] == "no-store"
    assert int(headers["Content-Length"]) == len(body)


def test_head_gives_the_same_headers_and_no_body() -> None:
    status, headers, body = ask(request(b"/healthz", b"HEAD"))
    assert (status, body) == (200, b"")
    assert headers == ask(request(b"/healthz"))[1]


@pytest.mark.parametrize("host", [b"", b"a b", b"\xff\xfe", b"[::1]:x", b"x" * 300])
def test_a_strange_host_is_no_trouble(host: bytes) -> None:
    assert ask(request(b"/healthz", host=host))[0] == 200


@pytest.mark.parametrize(
    "path", [b"/", b"/healthz/", b"//healthz", b"/healthz/x", b"/%68ealthz", b"/%ff", b"/v2/"]
)
def test_any_other_path_is_404_json(path: bytes) -> None:
    status, headers, body = ask(request(path))
    assert status == 404
    assert headers["Content-Type"].startswith("application/json")
    assert "error" in json.loads(body)


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"BREW"])
def test_any_other_verb_is_405_json(method: bytes) -> None:
    status, headers, body = ask(request(b"/healthz", method))
    assert status == 405
    assert set(headers["Allow"].split(", ")) >= {"GET", "HEAD"}
    assert "error" in json.loads(body)


def test_a_stranger_on_tcp_is_told_nothing() -> None:
    status, _, body = ask(request(b"/healthz"), IPv4Address("TCP", "203.0.113.7", 40000))
    assert status == 403
    assert b"version" not in body


def test_a_peer_of_an_unknown_kind_is_a_stranger() -> None:
    assert ask(request(b"/healthz"), peer=object())[0] == 403


def test_an_ipv4_client_of_an_ipv6_socket_is_known() -> None:
    assert ask(request(b"/healthz"), IPv6Address("TCP", "::ffff:127.0.0.1", 40000))[0] == 200


def test_whoever_may_open_the_socket_may_ask() -> None:
    assert ask(request(b"/healthz"), UNIXAddress(None))[0] == 200


def test_a_fault_of_ours_is_500_json_and_logged(logged_failures: LoggedFailures) -> None:
    def broken() -> dict[str, object]:
        raise ZeroDivisionError

    code, headers, body = ask(request(b"/healthz"), status=broken)
    assert code == 500
    assert headers["Content-Type"].startswith("application/json")
    assert b"ZeroDivision" not in body
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


STRANGER = IPv4Address("TCP", "203.0.113.7", 40000)
FORM = b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (FORM + b"Content-Length: 20000000\r\n\r\n", 405),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nCookie: a=\xff\r\n\r\n", 200),
    ],
)
def test_whatever_is_sent_is_answered_by_json_of_ours(data: bytes, code: int) -> None:
    """No body is waited for, nothing is told of what serves."""
    status, headers, body = ask(data)
    assert status == code
    assert headers["Content-Type"].startswith("application/json")
    assert headers["Server"] == "regproxy"
    assert headers["Content-Length"] == str(len(body))
    assert isinstance(json.loads(body), dict)


@pytest.mark.parametrize(
    "head", [request(b"/healthz"), request(b"/x", b"PUT"), FORM + b"Content-Length: 20000000\r\n\r\n"]
)
def test_a_stranger_is_refused_before_anything_else(head: bytes) -> None:
    status, headers, body = ask(head, STRANGER)
    assert (status, headers["Connection"]) == (403, "close")
    assert b"access.networks" in body


def test_nothing_of_a_refused_body_is_kept() -> None:
    site = AdminSite({"/healthz": healthz(healthy)}, [ip_network("127.0.0.0/8")], Clock(), LimitSettings())
    protocol = site.buildProtocol(LOCAL)
    transport = StringTransport(peerAddress=LOCAL)
    protocol.makeConnection(transport)
    protocol.dataReceived(FORM + b"Content-Length: 20000000\r\n\r\n")
    answered = transport.value()
    protocol.dataReceived(b"a=b&" * 100_000 + request(b"/healthz"))
    assert transport.value() == answered
    protocol.connectionLost(None)


def test_operators_have_places_of_their_own() -> None:
    """However few the clients have; a crowd of its own is told so in the form of every page."""
    few = LimitSettings(connections=1, per_address=1)
    site = AdminSite({"/healthz": healthz(dict)}, [ip_network("127.0.0.0/8")], Clock(), few)
    answers = []
    for _ in range(CONNECTIONS + 1):
        protocol = site.buildProtocol(LOCAL)
        transport = StringTransport(peerAddress=LOCAL)
        protocol.makeConnection(transport)
        protocol.dataReceived(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n")
        answers.append(transport.value())
    assert {answer.split(b" ")[1] for answer in answers[:-1]} == {b"404"}
    assert answers[-1].startswith(b"HTTP/1.1 503 ")
    assert "64 for operators" in json.loads(answers[-1].partition(b"\r\n\r\n")[2])["error"]


def test_strangers_who_say_nothing_keep_no_operator_out() -> None:
    """They are told who asks, and the health check beside them is answered."""
    site = AdminSite({"/healthz": healthz(dict)}, [ip_network("127.0.0.0/8")], Clock(), LimitSettings())
    for _ in range(2 * CONNECTIONS):
        site.buildProtocol(STRANGER).makeConnection(StringTransport(peerAddress=STRANGER))
    protocol = site.buildProtocol(LOCAL)
    transport = StringTransport(peerAddress=LOCAL)
    protocol.makeConnection(transport)
    protocol.dataReceived(request(b"/healthz"))
    assert transport.value().startswith(b"HTTP/1.1 200 ")


def test_a_balancer_outside_the_networks_may_speak_for_clients() -> None:
    """At first nobody knows for whom: the PROXY header has not come yet."""
    proxies = TrustedProxies([ip_network(f"{STRANGER.host}/32")])
    networks = [ip_network("127.0.0.0/8")]
    site = AdminSite({"/healthz": healthz(dict)}, networks, Clock(), LimitSettings(), proxies=proxies)
    protocol = site.buildProtocol(STRANGER)
    transport = StringTransport(peerAddress=STRANGER)
    protocol.makeConnection(transport)
    transport.peerAddr = LOCAL
    protocol.dataReceived(request(b"/healthz"))
    assert transport.value().startswith(b"HTTP/1.1 200 ")
