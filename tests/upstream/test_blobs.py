"""Sizes of blobs (R36): by HEAD, by a GET closed after its headers, never by one on 429 or 5xx."""

from __future__ import annotations

import pytest

from regproxy.errors import Denied, NotFound, Throttled, UpstreamFailed
from regproxy.upstream.answers import MAX_BLOB_BYTES
from regproxy.upstream.registry import RemoteRegistry
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Asked, Server
from tests.upstream.test_registry import BLOB, BLOB_DIGEST, BLOB_PATH
from tests.upstream.test_streams import Flood


async def test_by_head(server: Server, registry: RemoteRegistry) -> None:
    server.on(BLOB_PATH, lambda asked: asked.reply(200, BLOB))
    assert await registry.blobs.stat(REPOSITORY, BLOB_DIGEST) == len(BLOB)
    assert server.log() == [f"HEAD {BLOB_PATH}"]


@pytest.mark.parametrize("status", [401, 403, 404, 405, 501])
async def test_by_get_where_head_is_refused(server: Server, registry: RemoteRegistry, status: int) -> None:
    """The GET is closed after its headers (P15)."""
    server.on(BLOB_PATH, lambda asked: asked.reply(status) if asked.method == "HEAD" else Flood(asked))
    assert await registry.blobs.stat(REPOSITORY, BLOB_DIGEST) == 1 << 40
    assert server.log() == [f"HEAD {BLOB_PATH}", f"GET {BLOB_PATH}"]
    for connection in list(server.connections):
        await connection.lost


@pytest.mark.parametrize(("status", "error"), [(404, NotFound), (403, Denied)])
async def test_the_get_decides(
    server: Server, registry: RemoteRegistry, status: int, error: type[Exception]
) -> None:
    server.on(BLOB_PATH, lambda asked: asked.reply(status))
    with pytest.raises(error):
        await registry.blobs.stat(REPOSITORY, BLOB_DIGEST)
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("status", "error"), [(429, Throttled), (500, UpstreamFailed), (503, UpstreamFailed)]
)
async def test_no_get_on_trouble(
    server: Server, registry: RemoteRegistry, status: int, error: type[Exception]
) -> None:
    server.on(BLOB_PATH, lambda asked: asked.reply(status))
    with pytest.raises(error):
        await registry.blobs.stat(REPOSITORY, BLOB_DIGEST)
    assert set(server.log()) == {f"HEAD {BLOB_PATH}"}


async def test_a_size_that_nobody_tells(server: Server, registry: RemoteRegistry) -> None:
    """It is there, and its length is not told: no error, nothing read (R36, R42)."""
    server.on(BLOB_PATH, lambda asked: asked.head(200, {"Transfer-Encoding": "chunked"}))
    assert await registry.blobs.stat(REPOSITORY, BLOB_DIGEST) is None
    assert server.log() == [f"HEAD {BLOB_PATH}", f"GET {BLOB_PATH}"]
    for connection in list(server.connections):
        await connection.lost


async def test_a_size_that_the_get_tells(server: Server, registry: RemoteRegistry) -> None:
    def answer(asked: Asked) -> None:
        if asked.method == "HEAD":
            asked.head(200, {"Transfer-Encoding": "chunked"})
        else:
            asked.reply(200, BLOB)

    server.on(BLOB_PATH, answer)
    assert await registry.blobs.stat(REPOSITORY, BLOB_DIGEST) == len(BLOB)


@pytest.mark.parametrize("length", [MAX_BLOB_BYTES + 1, 2**63, 10**22, "0" * 20 + "9" * 22])
@pytest.mark.parametrize("call", ["stat", "open"])
async def test_a_length_that_no_disk_has(
    server: Server, registry: RemoteRegistry, length: int | str, call: str
) -> None:
    """Neither told to a client nor reserved: the upstream failed, by HEAD and by GET."""
    server.on(BLOB_PATH, lambda asked: asked.head(200, {"Content-Length": str(length)}))
    with pytest.raises(UpstreamFailed, match="larger than 16 TiB"):
        await getattr(registry.blobs, call)(REPOSITORY, BLOB_DIGEST)
    assert len(server.asked) == 1
    for connection in list(server.connections):
        await connection.lost


async def test_the_longest_blob(server: Server, registry: RemoteRegistry) -> None:
    server.on(BLOB_PATH, lambda asked: asked.head(200, {"Content-Length": str(MAX_BLOB_BYTES)}))
    assert await registry.blobs.stat(REPOSITORY, BLOB_DIGEST) == MAX_BLOB_BYTES
    (await registry.blobs.open(REPOSITORY, BLOB_DIGEST)).close()
