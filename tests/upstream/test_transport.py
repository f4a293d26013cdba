"""Requests over real sockets: coding, dead connections, time, cancel, unread bodies, secrets."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import CancelledError

from regproxy.errors import (
    ManifestRefused,
    TransferStopped,
    UpstreamFailed,
    UpstreamTimeout,
    UpstreamTrouble,
    UpstreamUnreachable,
)
from regproxy.oci import media_type as types
from regproxy.oci.manifest import MAX_MANIFEST_BYTES
from regproxy.upstream import throttle
from regproxy.upstream.limits import Limits
from regproxy.upstream.registry import RemoteRegistry
from regproxy.upstream.retrying import RETRIES
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Asked, Server
from tests.upstream.test_registry import (
    BLOB,
    BLOB_DIGEST,
    BLOB_PATH,
    BY_DIGEST,
    BY_TAG,
    DIGEST,
    MANIFEST,
    TAG,
    manifest_answer,
    read_all,
)
from tests.upstream.test_streams import Flood, turns

NewRegistry = Callable[..., RemoteRegistry]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "GZIP", "x-unknown"])
async def test_an_encoded_answer_is_refused(server: Server, registry: RemoteRegistry, coding: str) -> None:
    """Never decoded, whatever it is (R89)."""
    headers = {"Content-Encoding": coding, "Content-Type": types.OCI_MANIFEST}
    server.on(BLOB_PATH, lambda asked: asked.reply(200, b"\x1f\x8b", headers))
    server.on(BY_TAG, lambda asked: asked.reply(200, b"\x1f\x8b", headers))
    with pytest.raises(UpstreamFailed, match="encoded"):
        await registry.blobs.open(REPOSITORY, BLOB_DIGEST)
    with pytest.raises(UpstreamFailed, match="encoded"):
        await registry.tags.get(REPOSITORY, TAG)


@pytest.mark.parametrize("coding", ["identity", ""])
async def test_an_answer_as_it_is_is_taken(server: Server, registry: RemoteRegistry, coding: str) -> None:
    server.on(BLOB_PATH, lambda asked: asked.reply(200, BLOB, {"Content-Encoding": coding}))
    assert await read_all(registry) == BLOB


async def test_a_web_page_is_refused(server: Server, registry: RemoteRegistry) -> None:
    """A captive portal's 200 is neither blob nor manifest (P22)."""
    for path in (BLOB_PATH, BY_TAG):
        server.on(path, lambda asked: asked.reply(200, b"<html>", {"Content-Type": "Text/HTML; charset=x"}))
    with pytest.raises(UpstreamFailed, match="web page"):
        await registry.blobs.open(REPOSITORY, BLOB_DIGEST)
    with pytest.raises(UpstreamFailed, match="web page"):
        await registry.tags.get(REPOSITORY, TAG)


async def test_a_huge_manifest_is_given_up_while_it_comes(server: Server, registry: RemoteRegistry) -> None:
    """With a length at once, without one at the limit (R18)."""

    def chunked(asked: Asked) -> None:
        asked.head(200, {"Transfer-Encoding": "chunked"})
        for _ in range(MAX_MANIFEST_BYTES // 65536 + 2):
            asked.write(b"10000\r\n" + bytes(65536) + b"\r\n")

    server.on(BY_TAG, Flood)
    with pytest.raises(ManifestRefused, match="larger"):
        await registry.tags.get(REPOSITORY, TAG)
    server.on(BY_TAG, chunked)
    with pytest.raises(ManifestRefused, match="larger"):
        await registry.tags.get(REPOSITORY, TAG)
    for connection in list(server.connections):
        await connection.lost


async def test_a_cut_manifest(server: Server, registry: RemoteRegistry) -> None:
    server.on(
        BY_TAG, lambda asked: asked.head(200, {"Content-Length": "100"}) or asked.write(b"{") or asked.close()
    )
    with pytest.raises(UpstreamUnreachable, match="cut"):
        await registry.tags.get(REPOSITORY, TAG)


@pytest.mark.parametrize("method", ["get", "stat"])
async def test_a_dead_connection_is_replaced_once(
    server: Server, registry: RemoteRegistry, method: str
) -> None:
    """A peer that closes a kept connection when the next request comes costs nothing."""
    server.on(BY_DIGEST, manifest_answer)
    await registry.manifests.get(REPOSITORY, DIGEST)

    def die_once(asked: Asked) -> None:
        server.on(BY_DIGEST, manifest_answer)
        asked.abort()

    server.on(BY_DIGEST, die_once)
    await getattr(registry.manifests, method)(REPOSITORY, DIGEST)
    assert len(server.asked) == 3
    assert server.opened == 2


async def test_fresh_connections_that_die_are_replaced_a_few_times(
    server: Server, registry: RemoteRegistry
) -> None:
    server.on(BY_DIGEST, lambda asked: asked.abort())
    with pytest.raises(UpstreamUnreachable, match="without an answer"):
        await registry.manifests.get(REPOSITORY, DIGEST)
    assert len(server.asked) == 1 + RETRIES


async def test_a_dead_connection_of_the_pool_is_not_one_of_them(
    server: Server, registry: RemoteRegistry
) -> None:
    server.on(BY_DIGEST, manifest_answer)
    await registry.manifests.get(REPOSITORY, DIGEST)
    server.on(BY_DIGEST, lambda asked: asked.abort())
    with pytest.raises(UpstreamUnreachable):
        await registry.manifests.get(REPOSITORY, DIGEST)
    assert len(server.asked) == 1 + 2 + RETRIES


async def test_not_http(server: Server, registry: RemoteRegistry) -> None:
    server.on(BY_TAG, lambda asked: asked.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"))
    with pytest.raises(UpstreamFailed, match="not HTTP"):
        await registry.tags.get(REPOSITORY, TAG)


async def test_no_first_byte_in_time(server: Server, new_registry: NewRegistry) -> None:
    """One deadline for the call; the connection is closed (R90)."""
    registry = new_registry(server.url, {"limits": Limits(first_byte_s=0.05)})
    server.on(BY_TAG, lambda asked: None)
    server.on(BLOB_PATH, lambda asked: asked.head(307, {"Location": BY_TAG, "Content-Length": "0"}))
    with pytest.raises(UpstreamTimeout, match="longer than"):
        await registry.tags.get(REPOSITORY, TAG)
    with pytest.raises(UpstreamTimeout):
        await registry.blobs.open(REPOSITORY, BLOB_DIGEST)
    for connection in list(server.connections):
        await connection.lost


async def test_a_manifest_that_stalls_in_the_middle(server: Server, new_registry: NewRegistry) -> None:
    registry = new_registry(server.url, {"limits": Limits(first_byte_s=0.05)})
    server.on(BY_TAG, lambda asked: asked.head(200, {"Content-Length": "100"}) or asked.write(b"{"))
    with pytest.raises(UpstreamTimeout):
        await registry.tags.get(REPOSITORY, TAG)
    await server.connections[0].lost


async def test_cancel_closes_the_connection(server: Server, registry: RemoteRegistry) -> None:
    server.on(BLOB_PATH, lambda asked: None)
    opening = registry.blobs.open(REPOSITORY, BLOB_DIGEST)
    while not server.asked:
        await turns(1)
    opening.cancel()
    with pytest.raises(CancelledError):
        await opening
    await server.connections[0].lost
    assert len(server.asked) == 1


async def test_close_ends_what_is_under_way(server: Server, registry: RemoteRegistry) -> None:
    server.on(BLOB_PATH, lambda asked: None)
    opening = registry.blobs.open(REPOSITORY, BLOB_DIGEST)
    while not server.asked:
        await turns(1)
    await registry.close()
    with pytest.raises(TransferStopped):
        await opening


@pytest.mark.parametrize("status", [401, 404, 429, 500, 302])
async def test_no_body_is_left_unread(
    server: Server, registry: RemoteRegistry, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """A short one is read and its connection used again; an endless one is aborted."""
    monkeypatch.setattr(throttle, "hold_s", lambda *_: 0.0)  # a 429 stops nothing here
    server.on(BY_TAG, lambda asked: asked.reply(status, b"x" * 1000))
    for _ in range(3):
        with pytest.raises(Exception, match=r"upstream\.test"):
            await registry.tags.get(REPOSITORY, TAG)
        await turns(5)
    assert (server.opened, len(server.asked)) == (1, 3)

    def endless(asked: Asked) -> None:
        asked.head(status, {"Transfer-Encoding": "chunked"})
        for _ in range(20):
            asked.write(b"10000\r\n" + bytes(65536) + b"\r\n")

    server.on(BY_TAG, endless)
    with pytest.raises(Exception, match=r"upstream\.test"):
        await registry.tags.get(REPOSITORY, TAG)
    await server.connections[0].lost


async def test_manifests_do_not_queue_behind_bodies(server: Server, registry: RemoteRegistry) -> None:
    server.on(BLOB_PATH, Flood)
    server.on(BY_TAG, manifest_answer)
    blobs = [await registry.blobs.open(REPOSITORY, BLOB_DIGEST) for _ in range(20)]
    assert (await registry.tags.get(REPOSITORY, TAG)).manifest.content == MANIFEST
    for blob in blobs:
        blob.close()


async def test_no_cookie_comes_back(server: Server, registry: RemoteRegistry) -> None:
    server.on(BY_TAG, lambda asked: asked.reply(200, MANIFEST, {"Set-Cookie": "a=b; Path=/"}))
    await registry.tags.get(REPOSITORY, TAG)
    await registry.tags.get(REPOSITORY, TAG)
    assert [asked.header("Cookie") for asked in server.asked] == [None, None]


async def test_endless_headers(server: Server, registry: RemoteRegistry) -> None:
    """Memory does not depend on what an upstream sends (invariant 9)."""

    def endless(asked: Asked) -> None:
        asked.write(b"HTTP/1.1 200 X\r\n" + (b"X-A: " + b"a" * 1000 + b"\r\n") * 20_000)

    server.on(BY_TAG, endless)
    with pytest.raises(UpstreamUnreachable):
        await registry.tags.get(REPOSITORY, TAG)
    await server.asked[0].connection.lost


async def test_an_unwanted_body_that_drips(server: Server, registry: RemoteRegistry) -> None:
    """It is waited for a little, on the reactor's clock, and does not outlive the registry."""
    server.on(BY_TAG, lambda asked: asked.head(404, {"Content-Length": "10"}))
    with pytest.raises(Exception, match="404"):
        await registry.tags.get(REPOSITORY, TAG)
    lost = server.asked[0].connection.lost
    await registry.close()
    await lost


def test_a_discarded_body_is_given_up_in_time() -> None:
    from twisted.internet.task import Clock
    from twisted.web.http_headers import Headers

    from regproxy.headers.origins import Origin
    from regproxy.upstream.client import DISCARD_S, Answer

    class Response:
        code, length, headers = 404, 10, Headers()
        aborted = 0

        def deliverBody(self, protocol: object) -> None:
            """Nothing comes."""

        def abort(self) -> None:
            self.aborted += 1

    clock, response = Clock(), Response()
    response.original = response
    Answer("up", Origin.of("https://a.example"), response, clock).discard()
    clock.advance(DISCARD_S - 0.1)
    assert response.aborted == 0
    clock.advance(0.2)
    assert response.aborted == 1


@pytest.mark.parametrize("host", ["a..b", "a" * 70 + ".example", "-", "xn--a", "a_b.invalid"])
async def test_a_redirect_to_a_strange_host(server: Server, registry: RemoteRegistry, host: str) -> None:
    """Whatever the name, the error is one of ours."""
    server.on(BY_TAG, lambda asked: asked.reply(302, b"", {"Location": f"http://{host}/x"}))
    with pytest.raises(UpstreamTrouble):
        await registry.tags.get(REPOSITORY, TAG)
