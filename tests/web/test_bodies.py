"""Bodies towards clients, over real sockets: errors at any byte, leaving at any byte, back-pressure."""

from __future__ import annotations

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.ssl import KeyPair
from twisted.logger import capturedLogs, formatEvent

from regproxy import errors
from tests.web.doubles import (
    BLOB,
    BLOB_DIGEST,
    REPOSITORY,
    Front,
    ScriptedBlob,
    ScriptedBody,
    filled,
    parse,
    parse_head,
)
from tests.web.scripted import Counter, Scripted, turn


async def test_an_error_before_the_first_byte_is_an_answer() -> None:
    """R37: nothing is sent before a byte is in hand."""
    scripted = Scripted(100)
    async with Front(scripted.registry) as front:
        client = await front.connect()
        client.transport.write(scripted.request)
        while not front.registry.calls:
            await turn()
        assert client.data == b""
        scripted.body.feed(errors.ContentMismatch("docker.io", "wrong bytes"))
        data = await client.until(lambda got: got.endswith(b"}]}"))
        reply, _ = parse(data)
        assert (reply.status, reply.error["code"]) == (502, "DIGEST_INVALID")
        assert reply.error["detail"]["upstream"] == "docker.io"
        assert "etag" not in reply.headers
        assert "cache-control" not in reply.headers
        assert scripted.body.closed == 1


async def test_a_body_without_a_first_byte_is_an_answer() -> None:
    scripted = Scripted(100, b"")
    async with Front(scripted.registry) as front:
        assert (await front.ask("GET", f"/v2/nginx/blobs/{BLOB_DIGEST}")).status == 502
        assert scripted.body.closed == 1


@pytest.mark.parametrize("size", [100, None])
@pytest.mark.parametrize(
    "end", [errors.UpstreamFailed("docker.io", "it broke"), errors.ContentMismatch("docker.io", "x")]
)
async def test_an_error_after_the_first_byte_aborts(size: int | None, end: Exception) -> None:
    """R37: no clean end, no terminating chunk; one log line; one record that says it was cut."""
    scripted = Scripted(size, b"first")
    async with Front(scripted.registry) as front:
        client = await front.connect()
        client.transport.write(scripted.request)
        await client.until(lambda got: b"first" in got)
        with capturedLogs() as events:
            scripted.body.feed(end)
            data = await client.ended()
        assert not data.endswith(b"0\r\n\r\n")
        assert parse_head(data)[0] == 200
        assert scripted.body.closed == 1
        told = [formatEvent(event) for event in events if event["log_namespace"].startswith("regproxy")]
        assert len(told) == 1
        assert "after 5 bytes" in told[0]
        assert str(end) in told[0]
    (record,) = front.records
    assert (record.status, record.sent_bytes, record.complete) == (200, 5, False)


async def test_a_short_body_aborts() -> None:
    """P3, R39: never a clean end with too few bytes, nor a next answer."""
    scripted = Scripted(100, b"first", b"")
    async with Front(scripted.registry) as front:
        client = await front.connect()
        client.transport.write(scripted.request * 2)
        data = await client.ended()
        assert data.count(b"HTTP/1.1") <= 1
        assert not client.reason.check(ConnectionDone)


async def test_a_body_that_is_too_long_at_once_is_a_clean_error() -> None:
    """Nothing that was prepared for the good answer is on the bad one."""
    scripted = Scripted(3, b"first", b"")
    async with Front(scripted.registry) as front:
        reply = await front.ask("GET", f"/v2/nginx/blobs/{BLOB_DIGEST}")
        assert (reply.status, reply.error["code"]) == (502, "DIGEST_INVALID")
        assert not {"etag", "cache-control", "accept-ranges", "docker-content-digest"} & set(reply.headers)
        assert scripted.body.closed == 1


async def test_unknown_length_is_chunked() -> None:
    """R42."""
    scripted = Scripted(None, BLOB, b"")
    async with Front(scripted.registry) as front:
        reply = await front.ask("GET", f"/v2/nginx/blobs/{BLOB_DIGEST}")
        assert (reply.status, reply.body) == (200, BLOB)
        assert reply.headers["transfer-encoding"] == "chunked"
        assert "content-length" not in reply.headers


async def test_a_client_that_leaves_before_the_answer_cancels_its_wait() -> None:
    cancelled: list[object] = []
    registry = filled()
    registry.pending = Deferred(cancelled.append)
    async with Front(registry) as front:
        client = await front.connect()
        client.transport.write(b"GET /v2/nginx/manifests/latest HTTP/1.1\r\nHost: m\r\n\r\n")
        while not registry.calls:
            await turn()
        client.transport.abortConnection()
        while not front.records:
            await turn()
        assert cancelled == [registry.pending]
    (record,) = front.records
    assert (record.status, record.complete) == (499, False)


async def test_a_client_that_leaves_while_the_body_waits_closes_it() -> None:
    scripted = Scripted(100, b"first")
    async with Front(scripted.registry) as front:
        client = await front.connect()
        client.transport.write(scripted.request)
        await client.until(lambda got: b"first" in got)
        client.transport.abortConnection()
        while not scripted.body.closed:
            await turn()


async def test_a_registry_that_fails_late_is_not_an_error_of_ours() -> None:
    """What a cancelled call says afterwards interests nobody."""
    registry = filled()
    registry.pending = Deferred(lambda d: d.errback(errors.TransferStopped("cancelled")))
    async with Front(registry) as front:
        client = await front.connect()
        client.transport.write(b"GET /v2/nginx/manifests/latest HTTP/1.1\r\nHost: m\r\n\r\n")
        while not registry.calls:
            await turn()
        client.transport.abortConnection()
        while not front.records:
            await turn()


@pytest.mark.parametrize("cut", [0, 1, 100, 70_000, 1_000_000])
async def test_a_client_may_leave_at_any_byte(cut: int) -> None:
    big = bytes(4_000_000)
    body = ScriptedBody(big, b"")
    registry = filled()
    registry.blob_map[REPOSITORY, BLOB_DIGEST] = ScriptedBlob(len(big), lambda start, stop: body)
    async with Front(registry) as front:
        client = await front.connect()
        client.transport.write(f"GET /v2/nginx/blobs/{BLOB_DIGEST} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
        await client.until(lambda got: len(got) >= cut)
        while not registry.calls:
            await turn()
        client.transport.abortConnection()
        while not front.records:
            await turn()
        assert body.closed >= 1


async def test_back_pressure() -> None:
    """Invariant 9: a client that reads nothing costs a buffer, not a blob; then it gets all of it."""
    size = 64 * 1024 * 1024
    body = ScriptedBody(bytes(size), b"")
    registry = filled()
    registry.blob_map[REPOSITORY, BLOB_DIGEST] = ScriptedBlob(size, lambda start, stop: body)
    async with Front(registry) as front:
        client = await front.connect()
        client.transport.pauseProducing()
        client.transport.write(f"GET /v2/nginx/blobs/{BLOB_DIGEST} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
        seen, still = -1, 0
        while still < 200:
            await turn()
            still = still + 1 if seen == body.read_bytes and seen > 0 else 0
            seen = body.read_bytes
        assert seen < 16 * 1024 * 1024
        counted = Counter(client)
        client.transport.resumeProducing()
        await counted.reached(size).addTimeout(30, reactor)
        assert body.closed == 1


async def test_a_client_that_takes_nothing_is_cut() -> None:
    size = 64 * 1024 * 1024
    body = ScriptedBody(bytes(size), b"")
    registry = filled()
    registry.blob_map[REPOSITORY, BLOB_DIGEST] = ScriptedBlob(size, lambda start, stop: body)
    async with Front(registry) as front:
        front.site.window_s = 0.5
        client = await front.connect()
        client.transport.pauseProducing()
        client.transport.write(f"GET /v2/nginx/blobs/{BLOB_DIGEST} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
        while not front.records:
            await turn()
        assert body.closed
        (record,) = front.records
        assert (record.complete, record.note) == (False, "slow")
        assert record.cause == "the client took nothing for 0.5 seconds"


async def test_an_error_aborts_under_tls() -> None:
    scripted = Scripted(100, b"first")
    certificate = KeyPair.generate().selfSignedCert(1, CN="mirror")
    async with Front(scripted.registry, tls=certificate) as front:
        client = await front.connect()
        client.transport.write(scripted.request)
        await client.until(lambda got: b"first" in got)
        scripted.body.feed(errors.UpstreamFailed("docker.io", "it broke"))
        data = await client.ended()
        assert data.endswith(b"first")
        assert not client.reason.check(ConnectionDone)
