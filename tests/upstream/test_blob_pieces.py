"""Pieces of a blob over connections of their own: exactly what was asked for, or nothing (R85)."""

from __future__ import annotations

import os

import pytest

from regproxy.errors import NotFound, RangeIgnored, UpstreamFailed, UpstreamUnreachable
from regproxy.interfaces import IBlob, IRangedBlob
from regproxy.oci.digest import Digest
from regproxy.testing.contracts import read_to_end
from regproxy.upstream.answers import serves_ranges, strong_validator
from regproxy.upstream.registry import RemoteRegistry
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Asked, Server

BLOB = os.urandom(300_000)
DIGEST = Digest.of(BLOB)
PATH = f"/v2/library/nginx/blobs/{DIGEST}"
START, STOP = 100_000, 200_000
WHOLE = {"Accept-Ranges": "bytes", "ETag": '"the-blob"'}
SPAN = f"bytes {START}-{STOP - 1}/{len(BLOB)}"


async def opened(server: Server, registry: RemoteRegistry, headers: dict[str, str] | None = None) -> IBlob:
    server.on(PATH, lambda asked: asked.reply(200, BLOB, WHOLE if headers is None else headers))
    return await registry.blobs.open(REPOSITORY, DIGEST)


async def test_beside_the_whole(server: Server, registry: RemoteRegistry) -> None:
    blob = await opened(server, registry)
    assert IRangedBlob.providedBy(blob)
    assert blob.piece is not None
    server.on(PATH, lambda asked: asked.reply(206, BLOB[START:STOP], {"Content-Range": SPAN}))
    piece = await blob.piece(START, STOP)
    assert await read_to_end(piece) == BLOB[START:STOP]
    piece.close()
    assert await read_to_end(blob.body()) == BLOB
    asked = server.asked[-1]
    assert asked.all("Range") == [f"bytes={START}-{STOP - 1}"]
    assert asked.all("If-Range") == ['"the-blob"']


@pytest.mark.parametrize(
    "headers", [{}, {"Accept-Ranges": "none"}, {"Accept-Ranges": "bytes", "Transfer-Encoding": "chunked"}]
)
async def test_not_where_ranges_are_not_served(
    server: Server, registry: RemoteRegistry, headers: dict[str, str]
) -> None:
    """Nor where the size is not known."""

    def answer(asked: Asked) -> None:
        chunked = "Transfer-Encoding" in headers
        asked.reply(200, b"1\r\nx\r\n0\r\n\r\n" if chunked else BLOB, headers)

    server.on(PATH, answer)
    blob = await registry.blobs.open(REPOSITORY, DIGEST)
    assert blob.piece is None
    blob.close()


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (200, BLOB, {}),
        (206, BLOB[START:STOP], {}),
        (206, BLOB[START:STOP], {"Content-Range": "bytes what"}),
        (206, BLOB[START:STOP], {"Content-Range": f"bytes {START}-{STOP - 1}/*"}),
        (206, BLOB[START:STOP], {"Content-Range": f"bytes {START}-{STOP - 1}/{len(BLOB) + 1}"}),
        (206, BLOB[START:STOP], {"Content-Range": f"bytes {START + 1}-{STOP}/{len(BLOB)}"}),
        (206, BLOB[START:], {"Content-Range": f"bytes {START}-{len(BLOB) - 1}/{len(BLOB)}"}),
        (206, BLOB[START : STOP - 1], {"Content-Range": SPAN}),
    ],
)
async def test_anything_else_is_no_piece(
    server: Server, registry: RemoteRegistry, status: int, body: bytes, headers: dict[str, str]
) -> None:
    """And its connection is closed: nobody reads it."""
    blob = await opened(server, registry)
    server.on(PATH, lambda asked: asked.reply(status, body, headers))
    with pytest.raises(RangeIgnored):
        await blob.piece(START, STOP)
    await server.asked[-1].connection.lost
    assert await read_to_end(blob.body()) == BLOB, "the whole comes on"


@pytest.mark.parametrize(
    ("etag", "piece"),
    [('"the-blob"', True), (None, True), ('W/"the-blob"', True), ('"another"', False), ('""', False)],
)
async def test_a_piece_of_another_blob(
    server: Server, registry: RemoteRegistry, etag: str | None, piece: bool
) -> None:
    """By its own word, though it was asked for the same one (R90)."""
    blob = await opened(server, registry)
    headers = {"Content-Range": SPAN} | ({} if etag is None else {"ETag": etag})
    server.on(PATH, lambda asked: asked.reply(206, BLOB[START:STOP], headers))
    if piece:
        assert await read_to_end(await blob.piece(START, STOP)) == BLOB[START:STOP]
    else:
        with pytest.raises(RangeIgnored):
            await blob.piece(START, STOP)
        await server.asked[-1].connection.lost
    blob.close()


@pytest.mark.parametrize(("status", "error"), [(404, NotFound), (416, RangeIgnored), (503, UpstreamFailed)])
async def test_other_answers_are_errors(
    server: Server, registry: RemoteRegistry, status: int, error: type[Exception]
) -> None:
    blob = await opened(server, registry)
    server.on(PATH, lambda asked: asked.reply(status))
    with pytest.raises(error):
        await blob.piece(START, STOP)
    blob.close()


async def test_a_piece_that_is_cut(server: Server, registry: RemoteRegistry) -> None:
    blob = await opened(server, registry)

    def answer(asked: Asked) -> None:
        asked.head(206, {"Content-Range": SPAN, "Content-Length": str(STOP - START)})
        asked.write(BLOB[START : START + 10])
        asked.connection.transport.loseConnection()

    server.on(PATH, answer)
    piece = await blob.piece(START, STOP)
    with pytest.raises(UpstreamUnreachable):
        await read_to_end(piece)
    piece.close()
    blob.close()


@pytest.mark.parametrize(
    ("header", "does"),
    [("bytes", True), ("Bytes", True), ("none", False), ("", False), (None, False), ("x, bytes", True)],
)
def test_what_accept_ranges_says(header: str | None, does: bool) -> None:
    assert serves_ranges(header) is does


@pytest.mark.parametrize(
    ("etag", "validator"),
    [('"x"', '"x"'), (' "x" ', '"x"'), ('W/"x"', None), ("x", None), (None, None), ('"a\r\nb"', None),
     ('"' + "x" * 500 + '"', None), ('""', '""')],
)  # fmt: skip
def test_what_if_range_may_carry(etag: str | None, validator: str | None) -> None:
    assert strong_validator(etag) == validator


REST = f"bytes {START}-{len(BLOB) - 1}/{len(BLOB)}"


class TestFromAnOffset:
    """A blob of which the beginning is there already: one question, which is a proof too."""

    async def test_one_get_by_range(self, server: Server, registry: RemoteRegistry) -> None:
        headers = {"Content-Range": REST, "ETag": '"the-blob"'}
        server.on(PATH, lambda asked: asked.reply(206, BLOB[START:], headers))
        blob = await registry.blobs.open_from(REPOSITORY, DIGEST, START, '"known"')
        assert (blob.start, blob.size, blob.validator) == (START, len(BLOB), '"the-blob"')
        assert await read_to_end(blob.body()) == BLOB[START:]
        [asked] = [each for each in server.asked if each.all("Range")]
        assert asked.all("Range") == [f"bytes={START}-"]
        assert asked.all("If-Range") == ['"known"']
        assert blob.piece is not None
        server.on(PATH, lambda asked: asked.reply(206, BLOB[START:STOP], {"Content-Range": SPAN}))
        piece = await blob.piece(START, STOP)
        assert await read_to_end(piece) == BLOB[START:STOP]

    async def test_where_range_is_ignored(self, server: Server, registry: RemoteRegistry) -> None:
        """The whole."""
        server.on(PATH, lambda asked: asked.reply(200, BLOB, WHOLE))
        blob = await registry.blobs.open_from(REPOSITORY, DIGEST, START, None)
        assert (blob.start, blob.size) == (0, len(BLOB))
        assert await read_to_end(blob.body()) == BLOB
        assert server.asked[-1].all("If-Range") == []

    async def test_from_the_first_byte_on(self, server: Server, registry: RemoteRegistry) -> None:
        """No Range, so no condition either."""
        server.on(PATH, lambda asked: asked.reply(200, BLOB, WHOLE))
        blob = await registry.blobs.open_from(REPOSITORY, DIGEST, 0, '"known"')
        assert await read_to_end(blob.body()) == BLOB
        assert (server.asked[-1].all("Range"), server.asked[-1].all("If-Range")) == ([], [])

    @pytest.mark.parametrize(
        ("status", "body", "headers"),
        [
            (416, b"", {"Content-Range": f"bytes */{START}"}),
            (206, BLOB[START:], {}),
            (206, BLOB[START:], {"Content-Range": f"bytes {START}-{len(BLOB) - 1}/*"}),
            (206, BLOB[START:], {"Content-Range": f"bytes {START + 1}-{len(BLOB)}/{len(BLOB) + 1}"}),
            (206, BLOB[START:STOP], {"Content-Range": SPAN}),
            (206, BLOB[START:-1], {"Content-Range": REST}),
        ],
    )
    async def test_other_bytes(
        self, server: Server, registry: RemoteRegistry, status: int, body: bytes, headers: dict[str, str]
    ) -> None:
        """RangeIgnored: it is to be asked for the whole."""
        server.on(PATH, lambda asked: asked.reply(status, body, headers))
        with pytest.raises(RangeIgnored):
            await registry.blobs.open_from(REPOSITORY, DIGEST, START, None)

    async def test_it_is_gone(self, server: Server, registry: RemoteRegistry) -> None:
        server.on(PATH, lambda asked: asked.reply(404, b""))
        with pytest.raises(NotFound):
            await registry.blobs.open_from(REPOSITORY, DIGEST, START, None)

    async def test_an_absurd_size(self, server: Server, registry: RemoteRegistry) -> None:
        """A size that no disk has is none."""
        headers = {"Content-Range": f"bytes {START}-{10**19 - 1}/{10**19}"}
        server.on(PATH, lambda asked: asked.reply(206, BLOB[START:], headers))
        with pytest.raises(RangeIgnored):
            await registry.blobs.open_from(REPOSITORY, DIGEST, START, None)
