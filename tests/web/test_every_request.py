"""Every request makes exactly one access record, whatever becomes of it."""

from __future__ import annotations

import pytest
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred

from regproxy.errors import AccessDenied, Denied, NotFound
from regproxy.interfaces import How, TagList
from regproxy.testing.secrets import find_secrets
from regproxy.web.access_log import AccessRecord
from tests.web.doubles import BLOB, BLOB_DIGEST, MemoryRegistry, failing, filled
from tests.web.wire import Transport, Wire, get

BLOB_PATH = b"/v2/nginx/blobs/" + str(BLOB_DIGEST).encode()


def records(data: bytes, registry: MemoryRegistry | None = None) -> list[AccessRecord]:
    """What is recorded of ``data`` until its client leaves."""
    wire = Wire(registry or filled())
    wire.send(data)
    wire.close()
    return wire.records


def record(data: bytes, registry: MemoryRegistry | None = None) -> AccessRecord:
    (only,) = records(data, registry)
    return only


def test_each_of_some_that_were_sent_at_once() -> None:
    found = records(get(b"/v2/") + get(BLOB_PATH, method=b"HEAD") + get(b"/nowhere") + get(BLOB_PATH))
    assert [(each.method, each.status, each.sent_bytes) for each in found] == [
        ("GET", 200, 2),
        ("HEAD", 200, 0),
        ("GET", 404, found[2].sent_bytes),
        ("GET", 200, len(BLOB)),
    ]
    assert all(each.complete and each.note is None for each in found)


@pytest.mark.parametrize(
    ("data", "status", "note"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "tls"),
        (b"NONSENSE\r\n\r\n", 400, "malformed"),
        (b"GET /v2/ HTTP/1.1\r\nX: " + b"a" * 20000 + b"\r\n\r\n", 431, "malformed"),
        (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n", 414, "malformed"),
        (get(b"/v2/", *[b"X: y"] * 600), 431, "malformed"),
        (b"\x00\r\n\r\n", 400, "malformed"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 400, "malformed"),
    ],
    ids=["tls", "nonsense", "header", "line", "headers", "nul", "ssh"],
)
def test_what_is_no_request(data: bytes, status: int, note: str) -> None:
    """And nothing of it in the line."""
    found = record(data)
    assert (found.client, found.method, found.path) == ("127.0.0.1", "-", "-")
    assert (found.status, found.note) == (status, note)
    assert found.cause


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (get(b"/v2/nginx/blobs/uploads/", b"Content-Length: 5", method=b"POST") + b"hello", 405),
        (get(b"/v2/", b"Content-Length: 99999999"), 400),
        (b"GET /v2/ HTTP/1.1\r\n\r\n", 400),
        (get(b"/v2/..%2f"), 400),
        (get(b"/v2/", method=b"BREW"), 405),
    ],
    ids=["body", "long body", "no host", "path", "verb"],
)
def test_what_is_refused_before_it_is_routed(data: bytes, status: int) -> None:
    found = record(data)
    assert (found.status, found.complete, found.how, found.note) == (status, True, None, None)


@pytest.mark.parametrize("error", [AccessDenied("no"), Denied("docker.io", "it gives no access")])
def test_who_is_kept_out(error: Denied | AccessDenied) -> None:
    """By our own networks or by the upstream."""
    found = record(get(b"/v2/nginx/manifests/latest"), failing(error))
    assert (found.status, found.how) == (403, "denied")
    assert record(get(b"/v2/nginx/manifests/latest"), failing(NotFound("docker.io", "no"))).how is None


def test_who_is_kept_out_by_the_networks() -> None:
    wire = Wire(filled(), networks=())
    wire.send(get(BLOB_PATH))
    wire.close()
    ((found),) = wire.records
    assert (found.status, found.how) == (403, "denied")


@pytest.mark.parametrize(
    "header", [b"GET /v2/ HTTP/1.1\r\nHost: m", get(b"/v2/", b"Content-Length: 5") + b"hi"]
)
def test_one_that_does_not_become_whole_in_time(header: bytes) -> None:
    """A byte now and then does not help; nothing is answered, so nobody thinks of it as HTTP."""
    wire = Wire(filled())
    assert wire.send(header) == b""
    wire.clock.advance(29)
    assert wire.send(b"i") == b""
    wire.clock.advance(1)
    assert wire.transport.aborted
    assert wire.send(b"x\r\n\r\n") == b""
    wire.close()
    (found,) = wire.records
    assert (found.status, found.sent_bytes, found.note) == (408, 0, "late")


@pytest.mark.parametrize("rest", [b"GE", b"GET /v2/ HTTP/1.1\r\n", b"GET /v2/ HTTP/1.1\r\nHost: m\r\nA"])
@pytest.mark.parametrize("waits", [False, True])
def test_one_that_came_in_part_behind_another(rest: bytes, waits: bool) -> None:
    """In one segment with a request that is answered at once, or later."""
    registry = filled()
    first = b"/v2/library/nginx/tags/list" if waits else b"/v2/"
    if waits:
        registry.pending = Deferred()
    wire = Wire(registry)
    sent = wire.send(get(first) + rest)
    if registry.pending is not None:
        assert sent == b""
        wire.clock.advance(100)
        registry.pending.callback(TagList(("a",), How.HIT))
    wire.clock.advance(29)
    assert not wire.transport.aborted
    wire.clock.advance(1)
    assert wire.transport.aborted
    wire.close()
    assert [found.status for found in wire.records] == [200, 408]


def test_a_kept_connection_has_no_such_time() -> None:
    wire = Wire(filled())
    for _ in range(3):
        assert wire.send(get(b"/v2/")) != b""
        wire.clock.advance(100)
    assert not wire.transport.aborted
    wire.close()


def test_one_whose_client_leaves_before_there_is_an_answer() -> None:
    registry = filled()
    registry.pending = Deferred()
    found = record(get(BLOB_PATH), registry)
    assert (found.status, found.complete, found.sent_bytes) == (499, False, 0)


@pytest.mark.parametrize(
    "target",
    [
        b"http://u:hunter2@mirror/v2/nginx/manifests/latest?token=hunter2",
        b"//u:hunter2@mirror/v2/",
        b"https://u:hunter2@other/v2/",
        b"https://u:@hunter2@other/v2/",
        b"/v2/nginx/manifests/latest%3Ftoken=hunter2",
        b"/v2/nginx/manifests/latest%3fa=b%26sig=hunter2",
        b"/v2/nginx/manifests/latest?ns=https://u:hunter2@docker.io/",
        b"/v2/?ns=u:hunter2@docker.io",
    ],
)
def test_a_secret_in_the_target_is_not_kept(target: bytes) -> None:
    for method in (b"GET", b"PUT"):
        for lines in ((), (b"Content-Length: 5",)):
            found = record(get(target, *lines, method=method) + b"hello" * len(lines))
            assert find_secrets(found.path) == []


def test_a_client_on_a_unix_socket() -> None:
    class Local(Transport):
        def getPeer(self):  # type: ignore[no-untyped-def]
            return UNIXAddress(b"")

    wire = Wire(filled(), transport=Local())
    wire.send(get(b"/v2/") + b"\r\n" + b"NONSENSE\r\n\r\n")
    wire.close()
    assert [each.client for each in wire.records] == ["unix", "unix"]


def test_who_says_nothing_has_no_line() -> None:
    """A health check that only connects, and a kept connection that is closed."""
    assert records(b"") == []
    assert len(records(get(b"/v2/") + b"\r\n")) == 1
