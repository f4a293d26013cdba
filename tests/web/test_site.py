"""HTTP in front of the API: every byte that is no good request gets OCI JSON, and no more."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.ssl import KeyPair
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from regproxy.access.networks import admit, peer_host
from regproxy.errors import AccessDenied, NotFound, StorageFailed
from regproxy.http1.timed import LINGER_S
from regproxy.interfaces import How, TagAnswer
from regproxy.settings import LOCAL_NETWORKS, LimitSettings
from regproxy.web.api import RegistryApi
from regproxy.web.gate import Gate
from regproxy.web.resource import ApiResource
from regproxy.web.routing import Routes
from regproxy.web.site import RegistrySite
from tests.conftest import LoggedFailures
from tests.web.doubles import (
    MANIFEST,
    REPOSITORY,
    UPSTREAMS,
    Front,
    failing,
    filled,
    parse,
)
from tests.web.wire import VERSION, Transport, Wire, ask, get

HOSTILE = [
    (b"/", 404),
    (b"/v1/", 404),
    (b"/v1/users/", 404),
    (b"/favicon.ico", 404),
    (b"/v2//", 400),
    (b"//v2/", 400),
    (b"/v2/%2F", 400),
    (b"/v2/..", 400),
    (b"/v2/../../etc/passwd", 400),
    (b"/v2/a%2F..%2Fb/manifests/x", 400),
    (b"/v2/%00/manifests/x", 400),
    (b"/v2/a\\b/manifests/x", 400),
    (b"/v2/%zz/manifests/x", 400),
    (b"/v2/%ff/manifests/x", 400),
    (b"/v2/\xa0/manifests/x", 400),
    (b"/v2/" + b"a" * 4000, 400),
    (b"/v2/<script>/manifests/x", 400),
    (b"/v2/a/manifests/<script>", 400),
    (b"/v2/a/manifests/x?ns=<script>", 404),
    (b"*", 400),
    (b"v2/", 400),
    (b"ftp://mirror/v2/", 400),
]


@pytest.mark.parametrize(("target", "status"), HOSTILE)
def test_hostile_targets(target: bytes, status: int) -> None:
    """R7: a defined answer, JSON, nothing asked, nothing repeated; the connection lives on."""
    reply, wire = ask(get(target))
    assert reply.status == status
    assert reply.error["code"]
    assert b"script" not in reply.body
    assert reply.headers["docker-distribution-api-version"] == VERSION
    assert wire.registry.calls == []
    assert not wire.transport.disconnecting


@pytest.mark.parametrize(
    "method", [b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"BREW"]
)
@pytest.mark.parametrize("target", [b"/v2/", b"/v2/a/blobs/uploads/", b"/v2/%ff", b"/nowhere", b"*"])
def test_other_methods(method: bytes, target: bytes) -> None:
    """R64, R98: 405 before the path is looked at."""
    reply, wire = ask(get(target, method=method))
    assert (reply.status, reply.error["code"]) == (405, "UNSUPPORTED")
    assert reply.headers["allow"] == "GET, HEAD"
    assert wire.registry.calls == []


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v2/ HTTP/1.1\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: \xff\r\n\r\n",
        b"GET /v2/ HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET /v2/ HTTP/0.9\r\nHost: a\r\n\r\n",
        b"GET /v2/\r\n\r\n",
        b"GET  /v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
)
def test_what_is_no_request_is_400(head: bytes) -> None:
    """RFC 9112: one answer, JSON, whatever is wrong."""
    reply, wire = ask(head)
    assert (reply.status, bool(reply.error["message"])) == (400, True)
    assert reply.headers["docker-distribution-api-version"] == VERSION
    assert wire.registry.calls == []


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 17 * 1024 + b"\r\n\r\n", 431),
        (b"GET /v2/ HTTP/1.1\r\nHost: a\r\n" + b"X: xxxxxxxxxxxxxxxx\r\n" * 900 + b"\r\n", 431),
        (b"GET /v2/ HTTP/1.1\r\nHost: a\r\n" + b"X:\r\n" * 600 + b"\r\n", 431),
        (b"GET /" + b"a" * 9 * 1024 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /" + b"a" * 17 * 1024 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"a" * 40_000, 414),
    ],
)
def test_what_is_too_large_says_so(head: bytes, status: int) -> None:
    reply, wire = ask(head)
    assert (reply.status, reply.error["code"]) == (status, "UNSUPPORTED")
    assert "at most" in reply.error["message"]
    assert wire.registry.calls == []


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (get(b"/v2/?" + b"a" * 900), 200),
        (get(b"/v2/?" + b"a" * 1100), 414),
        (get(b"/v2/", b"X: " + b"y" * 1900), 200),
        (get(b"/v2/", b"X: " + b"y" * 2100), 431),
        (get(b"/v2/", *[b"X: " + b"y" * 400] * 6), 431),
    ],
)
def test_how_large_a_head_may_be_is_a_setting(head: bytes, status: int) -> None:
    wire = Wire(limits=LimitSettings(request_line_bytes=1024, header_bytes=2048))
    reply, _ = parse(wire.send(head))
    assert reply.status == status
    if status != 200:
        assert ("1024" if status == 414 else "2048") in reply.error["message"]
    wire.close()


def test_http_1_0_without_host_is_served() -> None:
    reply, wire = ask(b"GET /v2/ HTTP/1.0\r\n\r\n")
    assert reply.status == 200
    assert wire.transport.disconnecting


@pytest.mark.parametrize(
    ("head", "host"),
    [
        (get(b"http://Ghcr.IO:80/v2/"), "ghcr.io:80"),
        (b"GET http://ghcr.io/v2/ HTTP/1.0\r\n\r\n", "ghcr.io"),
        (get(b"/v2/"), "mirror"),
        (b"GET /v2/ HTTP/1.0\r\n\r\n", None),
    ],
)
def test_the_host_of_an_absolute_target_counts(head: bytes, host: str | None) -> None:
    """RFC 9112 3.2.2: whatever Host says."""
    seen: list[str | None] = []

    class Seen(Resource):
        def render(self, request: Any) -> int:
            seen.append(request.host_name)
            request.finish()
            return int(NOT_DONE_YET)

    wire = Wire(resource=Seen())
    wire.send(head)
    wire.close()
    assert seen == [host]


@pytest.mark.parametrize("by_tls", [False, True])
async def test_who_has_no_place_is_told_by_tls_too(by_tls: bool) -> None:
    tls = KeyPair.generate().selfSignedCert(1, CN="mirror") if by_tls else None
    async with Front(filled(), tls=tls, limits=LimitSettings(connections=1)) as front:
        first = await front.connect()
        first.transport.write(get(b"/v2/"))
        await first.until(lambda got: got.endswith(b"{}"))
        reply, rest = parse(await front.raw(get(b"/v2/nginx/manifests/latest")))
        assert (reply.status, reply.error["code"], rest) == (503, "UNAVAILABLE", b"")
        assert reply.headers["retry-after"] == "30"
        assert front.registry.calls == []
        assert [record.note for record in front.records] == [None, "crowded"]


def test_who_has_no_place_and_asks_nothing_is_closed() -> None:
    """Nothing is said to who has said nothing: a client may take it for an answer to its first request."""
    wire = Wire(limits=LimitSettings(connections=1))
    late = wire.another()
    wire.clock.advance(LINGER_S)
    assert late.aborted
    assert late.value() == b""
    late.protocol.connectionLost(Failure(ConnectionDone()))
    wire.close()


def test_lower_case_head_and_get_are_other_methods() -> None:
    assert ask(get(b"/v2/", method=b"get"))[0].status == 405


@pytest.mark.parametrize("method", [b"PUT", b"POST", b"PATCH", b"DELETE", b"BREW"])
@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 1", b"Content-Length: 999999999999", b"Transfer-Encoding: chunked"],
)
def test_a_write_is_refused_before_its_body(method: bytes, framing: bytes) -> None:
    """R98: no byte of the body is waited for, no 100 Continue invites it."""
    wire = Wire()
    data = wire.send(get(b"/v2/a/blobs/uploads/", framing, b"Expect: 100-continue", method=method))
    reply, rest = parse(data)
    assert (reply.status, rest) == (405, b"")
    assert reply.headers["allow"] == "GET, HEAD"
    assert reply.headers["connection"] == "close"
    assert wire.transport.half_closed
    assert wire.send(b"x" * 100_000) == b""
    assert wire.send(get(b"/v2/")) == b"", "nothing of the body is taken for a request"
    wire.clock.advance(3)
    assert wire.transport.aborted
    wire.close()


@implementer(ISSLTransport)
class EncryptedTransport(Transport):
    """A TLS transport forwards ``loseWriteConnection`` to the socket below it."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing here."""

    def getPeerCertificate(self) -> None:
        return None


def test_under_tls_a_refusal_ends_by_a_close_of_tls() -> None:
    """A FIN of the socket below would come without TLS's own goodbye, in front of the answer."""
    wire = Wire(transport=EncryptedTransport())
    assert parse(wire.send(get(b"/v2/x", b"Content-Length: 9", method=b"PUT")))[0].status == 405
    assert (wire.transport.half_closed, wire.transport.disconnecting) == (False, True)
    wire.clock.advance(LINGER_S)
    assert wire.transport.aborted, "who does not say goodbye too holds a place no longer than without TLS"
    wire.close()


def test_a_client_that_is_kept_out_learns_nothing_of_the_settings() -> None:
    """The same answer whether the names mean something or not."""
    paths = [b"/v2/", b"/v2/a/manifests/x?ns=docker.io", b"/v2/a/manifests/x?ns=other.example", b"/v2/%00/x"]
    paths += [b"/v2/ghcr.io/manifests/x", b"/v2/ghcr.io/a/manifests/x", b"/nowhere", b"/v2/a/blobs/x"]
    bodies = set()
    for path in paths:
        wire = Wire(networks=[])
        reply, _ = parse(wire.send(get(path)))
        bodies.add((reply.status, reply.body))
        wire.close()
    ((status, _),) = bodies
    assert status == 403


def test_a_method_of_any_length_is_kept_short_in_its_record() -> None:
    for framing in (b"X: y", b"Content-Length: 5"):
        wire = Wire()
        wire.send(get(b"/v2/", framing, method=b"A" * 5000))
        (record,) = wire.records
        assert record.method == "A" * 32
        wire.close()


@pytest.mark.parametrize("framing", [b"Content-Length: 65537", b"Transfer-Encoding: chunked"])
def test_a_read_with_a_large_body_is_refused(framing: bytes) -> None:
    wire = Wire()
    reply, _ = parse(wire.send(get(b"/v2/", framing)))
    assert (reply.status, reply.headers["connection"]) == (400, "close")
    wire.close()


def test_a_small_body_of_a_read_is_ignored() -> None:
    wire = Wire()
    assert wire.send(get(b"/v2/", b"Content-Length: 65536")) == b""
    reply, rest = parse(wire.send(b"x" * 65536 + get(b"/v2/")))
    assert (reply.status, reply.body) == (200, b"{}")
    assert parse(rest)[0].status == 200
    wire.close()


def test_the_connection_is_kept_after_errors_without_body() -> None:
    """Keep-alive after 404, 405, 400; pipelined, answers in order."""
    wire = Wire()
    data = wire.send(
        get(b"/nowhere")
        + get(b"/v2/", method=b"DELETE")
        + get(b"/v2/", method=b"HEAD")
        + get(b"//")
        + get(b"/v2/")
    )
    statuses = []
    for head in (False, False, True, False, False):
        reply, data = parse(data, head)
        statuses.append(reply.status)
    assert (statuses, data) == ([404, 405, 200, 400, 200], b"")
    wire.close()


@implementer(IResource)
class Broken(Resource):
    isLeaf = True

    def render(self, request: object) -> int:
        raise ZeroDivisionError("secret internals")


def test_a_fault_of_ours_is_a_bare_500(logged_failures: LoggedFailures) -> None:
    """Invariant 11: logged whole, told without internals."""
    wire = Wire(resource=Broken())
    reply, _ = parse(wire.send(get(b"/v2/")))
    assert (reply.status, reply.error["code"]) == (500, "UNKNOWN")
    assert b"secret" not in reply.body
    assert b"Zero" not in reply.body
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
    wire.close()


def test_an_error_that_sends_its_reader_to_the_log_has_a_line_there() -> None:
    lines: list[str] = []

    def note(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(note)
    try:
        for error, count in ((StorageFailed("the disk is full"), 1), (NotFound("docker.io", "404"), 0)):
            wire = Wire(failing(error))
            wire.send(get(b"/v2/nginx/manifests/latest"))
            wire.close()
            assert len([line for line in lines if error.message in line]) == count
    finally:
        globalLogPublisher.removeObserver(note)
    assert "GET /v2/nginx/manifests/latest is answered 503: the disk is full" in lines


def test_only_http_1_1_is_negotiated() -> None:
    site = RegistrySite(Resource(), Clock())
    assert site.acceptableProtocols() == [b"http/1.1"]


async def test_an_upload_is_told_before_the_connection_ends() -> None:
    """A sender in the middle of its body reads the 405, not a reset."""
    async with Front() as front:
        client = await front.connect()
        client.transport.write(get(b"/v2/a/blobs/uploads/x", b"Content-Length: 10000000", method=b"PUT"))
        client.transport.write(b"x" * 4_000_000)
        data = await client.until(lambda got: b"\r\n\r\n" in got and got.endswith(b"}"))
        assert parse(data)[0].status == 405
        client.transport.loseConnection()
        await client.ended()


def test_peers() -> None:
    """Only a unix socket is None, which passes; what is not known is no address, and does not."""
    assert peer_host(IPv6Address("TCP", "::ffff:10.0.0.1", 1)) == "10.0.0.1"
    assert peer_host(IPv4Address("TCP", "10.0.0.1", 1)) == "10.0.0.1"
    assert peer_host(UNIXAddress(b"/run/x")) is None
    assert peer_host(None) == ""
    with pytest.raises(AccessDenied):
        admit(peer_host(None), LOCAL_NETWORKS)


async def test_records() -> None:
    """One record a request: no query but ns, no Authorization."""
    async with Front(filled()) as front:
        await front.ask(
            "GET", "/v2/nginx/manifests/latest?ns=docker.io&token=secret", "Authorization: Basic secret"
        )
        await front.ask("PUT", "/v2/x?token=secret", "Content-Length: 5")
        await front.ask("GET", "/nowhere")
        first, refused, nowhere = front.records
        assert (first.client, first.method, first.status, first.complete) == ("127.0.0.1", "GET", 200, True)
        assert first.path == "/v2/nginx/manifests/latest?ns=docker.io"
        assert (first.how, first.upstream) == ("revalidated", "docker.io")
        assert first.digest is not None
        assert first.sent_bytes == 31
        assert (refused.method, refused.path, refused.status) == ("PUT", "/v2/x", 405)
        assert nowhere.status == 404
        assert "secret" not in repr(front.records)


def test_nothing_at_hand_before_the_gate_opens() -> None:
    """Rights may be void until credentials have been compared."""
    registry, gate = filled(), Gate()
    registry.hits[REPOSITORY, MANIFEST.digest] = TagAnswer(MANIFEST.descriptor, MANIFEST, How.HIT)
    api = RegistryApi(registry, Clock())
    wire = Wire(registry, ApiResource(api, Routes(UPSTREAMS), LOCAL_NETWORKS, gate))
    target = f"/v2/library/nginx/manifests/{MANIFEST.digest}"
    assert wire.send(f"GET {target} HTTP/1.1\r\nHost: mirror\r\n\r\n".encode()) == b""
    assert registry.calls == []
    gate.open()
    assert wire.transport.value().startswith(b"HTTP/1.1 200 ")
    assert registry.calls != []
    wire.close()
