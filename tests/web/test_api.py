"""The API towards clients, over real sockets."""

from __future__ import annotations

import json

import pytest
from twisted.internet import reactor
from twisted.internet.ssl import KeyPair

from regproxy import errors
from regproxy.http1.sockets import unsent_bytes
from regproxy.interfaces import How, TagAnswer
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from tests.access.known import basic, entrance
from tests.conftest import LoggedFailures
from tests.web.doubles import (
    BLOB,
    BLOB_DIGEST,
    CONTENT,
    MANIFEST,
    REPOSITORY,
    Front,
    MemoryRegistry,
    ScriptedBlob,
    ScriptedBody,
    blob_of,
    failing,
    filled,
    parse,
    parse_head,
)
from tests.web.scripted import Counter, Scripted, turn

TYPE = "application/vnd.oci.image.manifest.v1+json"
MISSING = Digest.of(b"missing")


@pytest.mark.parametrize("target", ["/v2/", "/v2", "/v2/?ns=docker.io", "/docker.io/v2", "/ghcr.io/v2/"])
async def test_base_is_answered_here(target: str) -> None:
    """R1, R3: /v2 and /v2/ give 200 {} and ask nobody."""
    async with Front() as front:
        reply = await front.ask("GET", target)
        assert (reply.status, reply.body) == (200, b"{}")
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers["docker-distribution-api-version"] == "registry/2.0"
        assert front.registry.calls == []


async def test_pull() -> None:
    """A whole pull from memory: tag, digest, blob."""
    async with Front(filled()) as front:
        tag = await front.ask("GET", "/v2/nginx/manifests/latest")
        assert (tag.status, tag.body) == (200, CONTENT)
        assert tag.headers["content-type"] == TYPE
        assert tag.headers["docker-content-digest"] == str(MANIFEST.digest)
        assert tag.headers["etag"] == f'"{MANIFEST.digest}"'
        by_digest = await front.ask("GET", f"/v2/library/nginx/manifests/{MANIFEST.digest}?ns=docker.io")
        assert (by_digest.status, by_digest.body) == (200, CONTENT)
        assert by_digest.headers["oci-namespace"] == "docker.io"
        blob = await front.ask("GET", f"/v2/docker.io/nginx/blobs/{BLOB_DIGEST}")
        assert (blob.status, blob.body) == (200, BLOB)
        assert blob.headers["content-type"] == "application/octet-stream"
        assert blob.headers["accept-ranges"] == "bytes"
        assert "max-age=31536000" in blob.headers["cache-control"]
        assert front.registry.calls == ["tags.get", "manifests.get", "blobs.open"]


TARGETS = [
    "/v2/",
    "/v2/nginx/manifests/latest",
    "/v2/nginx/manifests/latest?ns=docker.io",
    "/v2/nginx/manifests/missing",
    f"/v2/nginx/manifests/{MANIFEST.digest}",
    f"/v2/nginx/blobs/{BLOB_DIGEST}",
    f"/v2/nginx/blobs/{Digest.of(b'')}",
    f"/v2/nginx/blobs/{MISSING}",
    "/v2/nginx/tags/list",
    "/v2/nginx/tags/list?n=2",
    "/v2/nginx/tags/list?n=x",
    "/v2/other/tags/list",
    f"/v2/nginx/referrers/{BLOB_DIGEST}",
    "/v2/_catalog",
    "/v2/nginx/manifests/latest?ns=evil",
    "/nowhere",
    "//",
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("lines", [(), ("If-None-Match: *",)])
async def test_head_is_get_without_the_body(target: str, lines: tuple[str, ...]) -> None:
    """R11, R60: the same status and headers on everything."""
    async with Front(filled(warning="stale", age_s=5)) as front:
        got = await front.ask("GET", target, *lines)
        head = await front.ask("HEAD", target, *lines)
        assert (head.status, head.stable) == (got.status, got.stable)
        assert head.body == b""
        if got.status != 304:
            assert int(got.headers["content-length"]) == len(got.body)
        if got.status >= 400:
            assert got.error["code"]
        assert got.headers["docker-distribution-api-version"] == "registry/2.0"
        assert "transfer-encoding" not in got.headers
        assert "content-encoding" not in got.headers
        assert "vary" not in got.headers


async def test_head_asks_for_the_descriptor_only() -> None:
    """R11, R36."""
    async with Front(filled()) as front:
        await front.ask("HEAD", "/v2/nginx/manifests/latest")
        await front.ask("HEAD", f"/v2/nginx/manifests/{MANIFEST.digest}")
        await front.ask("HEAD", f"/v2/nginx/blobs/{BLOB_DIGEST}")
        assert front.registry.calls == ["tags.stat", "manifests.stat", "blobs.stat"]


async def test_a_client_may_want_a_tag_confirmed_and_not_a_digest() -> None:
    """R54: then even what is at hand is asked about; by digest there is nothing to ask."""
    registry = filled()
    for key in (Tag("latest"), MANIFEST.digest):
        registry.hits[REPOSITORY, key] = TagAnswer(MANIFEST.descriptor, MANIFEST, How.HIT)
    async with Front(registry) as front:
        await front.ask("GET", "/v2/nginx/manifests/latest")
        assert registry.calls == []
        for line in ("Cache-Control: no-cache", "Cache-Control: max-age=0", "Pragma: no-cache"):
            await front.ask("GET", "/v2/nginx/manifests/latest", line)
            await front.ask("HEAD", "/v2/nginx/manifests/latest", line)
            await front.ask("GET", f"/v2/nginx/manifests/{MANIFEST.digest}", line)
        await front.ask("GET", "/v2/nginx/manifests/latest", "Cache-Control: max-age=60")
        assert registry.calls == ["tags.get", "tags.stat"] * 3
        assert registry.forced == [True] * 6


@pytest.mark.parametrize("reference", ["latest", str(MANIFEST.digest)])
@pytest.mark.parametrize("namespace", ["", "?ns=docker.io"])
async def test_what_is_at_hand_is_answered_alike(reference: str, namespace: str) -> None:
    """Byte for byte as on the long way, without asking again, however often."""
    target = f"/v2/library/nginx/manifests/{reference}{namespace}"
    slow = filled()
    slow.tag_map[REPOSITORY, Tag("latest")] = TagAnswer(MANIFEST.descriptor, MANIFEST, How.HIT)
    quick = MemoryRegistry()
    for key in (Tag("latest"), MANIFEST.digest):
        quick.hits[REPOSITORY, key] = TagAnswer(MANIFEST.descriptor, MANIFEST, How.HIT)
    async with Front(slow) as long_way, Front(quick) as short_way:
        for method, *lines in (("GET",), ("HEAD",), ("GET", f'If-None-Match: "{MANIFEST.digest}"')):
            expected = await long_way.ask(method, target, *lines)
            for _ in range(2):
                reply = await short_way.ask(method, target, *lines)
                assert (reply.status, reply.body) == (expected.status, expected.body)
                assert reply.stable == expected.stable
        assert quick.calls == []
        record = short_way.records[0]
        assert (record.how, record.digest) == ("hit", str(MANIFEST.digest))
        assert [each.sent_bytes for each in short_way.records] == [len(CONTENT)] * 2 + [0] * 4


async def test_at_hand_over_a_kept_connection() -> None:
    """Pipelined: in order, the connection stays."""
    registry = MemoryRegistry()
    registry.hits[REPOSITORY, MANIFEST.digest] = TagAnswer(MANIFEST.descriptor, MANIFEST, How.HIT)
    async with Front(registry) as front:
        client = await front.connect()
        line = f"GET /v2/library/nginx/manifests/{MANIFEST.digest} HTTP/1.1\r\nHost: mirror\r\n\r\n"
        client.transport.write(line.encode() * 20)
        data = await client.until(lambda data: data.count(CONTENT) == 20)
        for _ in range(20):
            reply, data = parse(data)
            assert (reply.status, reply.body) == (200, CONTENT)
            assert "connection" not in reply.headers
        assert data == b""


async def test_stale_tags_say_so() -> None:
    """R52."""
    async with Front(filled(warning="stale: upstream unreachable", age_s=61.5)) as front:
        reply = await front.ask("GET", "/v2/nginx/manifests/latest")
        assert reply.headers["warning"] == '299 - "stale: upstream unreachable"'
        assert reply.headers["age"] == "61"
        fresh = await front.ask("GET", f"/v2/nginx/manifests/{MANIFEST.digest}")
        assert "warning" not in fresh.headers


@pytest.mark.parametrize("match", [f'"{BLOB_DIGEST}"', f'W/"{BLOB_DIGEST}"', str(BLOB_DIGEST), "*"])
async def test_blob_not_modified(match: str) -> None:
    """R12, R33: 304, and no body is opened for it."""
    async with Front(filled()) as front:
        reply = await front.ask("GET", f"/v2/nginx/blobs/{BLOB_DIGEST}", f"If-None-Match: {match}")
        assert (reply.status, reply.headers["etag"]) == (304, f'"{BLOB_DIGEST}"')
        assert reply.headers["docker-content-digest"] == str(BLOB_DIGEST)
        assert front.registry.calls == ["blobs.stat"]


async def test_tag_not_modified() -> None:
    """R12: after the tag was asked for."""
    async with Front(filled()) as front:
        reply = await front.ask("GET", "/v2/nginx/manifests/latest", f'If-None-Match: "{MANIFEST.digest}"')
        assert reply.status == 304
        assert front.registry.calls == ["tags.get"]


@pytest.mark.parametrize(
    ("header", "status", "part"),
    [
        ("bytes=0-0", 206, BLOB[:1]),
        ("bytes=100-", 206, BLOB[100:]),
        ("bytes=-10", 206, BLOB[-10:]),
        ("bytes=10-999999999", 206, BLOB[10:]),
        ("bytes=0-", 206, BLOB),
        ("bytes=5-1", 200, BLOB),
        ("bytes=0-1,5-6", 200, BLOB),
        ("lines=0-1", 200, BLOB),
        ("nonsense", 200, BLOB),
    ],
)
async def test_ranges(header: str, status: int, part: bytes) -> None:
    """R32."""
    async with Front(filled()) as front:
        reply = await front.ask("GET", f"/v2/nginx/blobs/{BLOB_DIGEST}", f"Range: {header}")
        assert (reply.status, reply.body) == (status, part)
        assert reply.headers["docker-content-digest"] == str(BLOB_DIGEST)
        assert ("content-range" in reply.headers) == (status == 206)


async def test_unsatisfiable_range() -> None:
    """R32, 2M 8: JSON of its own length; the blob is let go."""
    registry = filled()
    blob = blob_of(BLOB)
    registry.blob_map[REPOSITORY, BLOB_DIGEST] = blob
    async with Front(registry) as front:
        reply = await front.ask("GET", f"/v2/nginx/blobs/{BLOB_DIGEST}", f"Range: bytes={len(BLOB)}-")
        assert reply.status == 416
        assert reply.error["message"]
        assert reply.headers["content-range"] == f"bytes */{len(BLOB)}"
        assert blob.closed == 1


async def test_two_ranges_in_two_headers_are_ignored() -> None:
    async with Front(filled()) as front:
        reply = await front.ask(
            "GET", f"/v2/nginx/blobs/{BLOB_DIGEST}", "Range: bytes=0-0", "Range: bytes=1-1"
        )
        assert reply.status == 200


async def test_tags() -> None:
    """R94."""
    async with Front(filled()) as front:
        every = await front.ask("GET", "/v2/docker.io/nginx/tags/list")
        assert json.loads(every.body) == {"name": "docker.io/nginx", "tags": ["1.0", "1.1", "2.0", "latest"]}
        page = await front.ask("GET", "/v2/nginx/tags/list?n=2&last=1.0&ns=docker.io")
        assert json.loads(page.body) == {"name": "nginx", "tags": ["1.1", "2.0"]}
        assert page.headers["link"] == '</v2/nginx/tags/list?last=2.0&n=2&ns=docker.io>; rel="next"'
        assert page.headers["oci-namespace"] == "docker.io"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.NotFound("docker.io", "404"), 404, "BLOB_UNKNOWN"),
        (errors.Denied("docker.io", "403"), 403, "DENIED"),
        (errors.Throttled("docker.io", "429", 9), 429, "TOOMANYREQUESTS"),
        (errors.UpstreamTimeout("docker.io", "12 s"), 504, "UNAVAILABLE"),
        (errors.StorageFailed("full"), 503, "UNAVAILABLE"),
    ],
)
async def test_errors_become_answers(error: errors.RegproxyError, status: int, code: str) -> None:
    """R60; the connection goes on."""
    async with Front(failing(error)) as front:
        client = await front.connect()
        target = f"/v2/nginx/blobs/{BLOB_DIGEST}"
        client.transport.write(f"GET {target} HTTP/1.1\r\nHost: m\r\n\r\n".encode() * 2)
        data = await client.until(lambda got: got.count(b"errors") == 2)
        assert b"Unknown Status" not in data
        for _ in range(2):
            reply, data = parse(data)
            assert (reply.status, reply.error["code"]) == (status, code)
        assert data == b""


async def test_a_fault_is_a_bare_500(logged_failures: LoggedFailures) -> None:
    registry = filled()
    registry.error = ZeroDivisionError("secret internals")
    async with Front(registry) as front:
        reply = await front.ask("GET", "/v2/nginx/manifests/latest")
        assert (reply.status, reply.error["code"]) == (500, "UNKNOWN")
        assert b"secret" not in reply.body
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


async def test_who_is_not_admitted_asks_nothing() -> None:
    """access decides once, for every shape."""
    async with Front(filled(), networks=()) as front:
        for target in TARGETS[:2]:
            reply = await front.ask("GET", target)
            assert (reply.status, reply.error["code"]) == (403, "DENIED")
        assert front.registry.calls == []


async def test_private_content_is_marked() -> None:
    registry = filled()
    registry.blob_map[Repository("corp.example:5000", "a"), BLOB_DIGEST] = BLOB
    async with Front(registry, entrance=entrance()) as front:
        target = f"/v2/a/blobs/{BLOB_DIGEST}?ns=corp.example:5000"
        reply = await front.ask("GET", target, f"Authorization: {basic('alice', 'hunter2-right')}")
        assert reply.headers["cache-control"].startswith("private")


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with Front(filled()) as front:
        client = await front.connect()
        targets = ["/v2/", f"/v2/nginx/blobs/{BLOB_DIGEST}", "/nowhere", "/v2/nginx/manifests/latest"] * 5
        last = b"GET /v2/nginx/tags/list HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n"
        asked = "".join(f"GET {target} HTTP/1.1\r\nHost: m\r\n\r\n" for target in targets).encode()
        client.transport.write(asked + last)
        data = await client.ended()
        bodies = []
        for _ in range(len(targets) + 1):
            reply, data = parse(data)
            bodies.append(reply.body[:8])
        assert data == b""
        assert bodies[:20] == [b"{}", BLOB[:8], b'{"errors', CONTENT[:8]] * 5


@pytest.mark.parametrize("lines", [f"Range: bytes={len(BLOB)}-", "If-None-Match: *", "Range: bytes=0-0"])
async def test_the_connection_is_kept(lines: str) -> None:
    """After 416, 304, 206 the next answer begins where it must."""
    async with Front(filled()) as front:
        client = await front.connect()
        first = f"GET /v2/nginx/blobs/{BLOB_DIGEST} HTTP/1.1\r\nHost: m\r\n{lines}\r\n\r\n"
        client.transport.write(first.encode() + b"GET /v2/ HTTP/1.1\r\nHost: m\r\n\r\n")
        data = await client.until(lambda got: got.endswith(b"\r\n\r\n{}"))
        _, data = parse(data)
        reply, data = parse(data)
        assert (reply.status, data) == (200, b"")


async def test_http_1_0_gets_the_body_until_the_end() -> None:
    scripted = Scripted(None, BLOB, b"")
    async with Front(scripted.registry) as front:
        data = await front.raw(scripted.request.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert parse_head(data)[2] == BLOB


async def test_tls() -> None:
    """Bodies, back-pressure and the socket's queue are the same under TLS."""
    size = 32 * 1024 * 1024
    body = ScriptedBody(bytes(size), b"")
    registry = filled()
    registry.blob_map[REPOSITORY, BLOB_DIGEST] = ScriptedBlob(size, lambda start, stop: body)
    certificate = KeyPair.generate().selfSignedCert(1, CN="mirror")
    async with Front(registry, tls=certificate) as front:
        client = await front.connect()
        client.transport.write(f"GET /v2/nginx/blobs/{BLOB_DIGEST} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
        await client.until(lambda got: len(got) > 1000)
        client.transport.pauseProducing()
        seen, still = -1, 0
        while still < 200:
            await turn()
            still = still + 1 if seen == body.read_bytes else 0
            seen = body.read_bytes
        assert seen < size
        (channel,) = front.site.live
        assert unsent_bytes(channel.transport) > 0
        counted = Counter(client)
        counted.count = len(parse_head(client.data)[2])
        counted.head = client.data
        client.transport.resumeProducing()
        await counted.reached(size).addTimeout(30, reactor)
        client.transport.loseConnection()
        await client.ended()
