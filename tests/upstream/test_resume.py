"""Reading on from an offset: only an exact 206 is accepted, what ignores Range is read up to there."""

from __future__ import annotations

import os
from typing import Any

import pytest

from regproxy.errors import ContentMismatch, Denied, NotFound, UpstreamFailed, UpstreamUnreachable
from regproxy.interfaces import IBody
from regproxy.oci.digest import Digest
from regproxy.testing.contracts import read_to_end
from regproxy.upstream.registry import RemoteRegistry
from regproxy.upstream.validators import MAX_VALIDATORS, Validators
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Asked, Server

BLOB = os.urandom(300_000)
DIGEST = Digest.of(BLOB)
PATH = f"/v2/library/nginx/blobs/{DIGEST}"
START = 100_000


def partial(asked: Asked, span: str, body: bytes = BLOB[START:], **headers: str) -> None:
    asked.reply(206, body, {"Content-Range": span, **{k.replace("_", "-"): v for k, v in headers.items()}})


async def resume(registry: RemoteRegistry, size: int | None = len(BLOB), start: int = START) -> IBody:
    return await registry.blobs.resume(REPOSITORY, DIGEST, start, size)


@pytest.mark.parametrize("size", [len(BLOB), None])
@pytest.mark.parametrize("total", [str(len(BLOB)), "*"])
async def test_an_exact_206(server: Server, registry: RemoteRegistry, size: int | None, total: str) -> None:
    server.on(PATH, lambda asked: partial(asked, f"bytes {START}-{len(BLOB) - 1}/{total}"))
    body = await resume(registry, size)
    assert await read_to_end(body) == BLOB[START:]
    body.close()
    [asked] = server.asked
    assert asked.all("Range") == [f"bytes={START}-"]
    assert asked.all("Accept-Encoding") == ["identity"]


@pytest.mark.parametrize("size", [len(BLOB), None])
async def test_an_upstream_that_ignores_range(
    server: Server, registry: RemoteRegistry, size: int | None
) -> None:
    server.on(PATH, lambda asked: asked.reply(200, BLOB))
    body = await resume(registry, size)
    assert await read_to_end(body) == BLOB[START:]
    body.close()


async def test_from_the_start_there_is_no_range(server: Server, registry: RemoteRegistry) -> None:
    server.on(PATH, lambda asked: asked.reply(200, BLOB))
    body = await resume(registry, start=0)
    assert await read_to_end(body) == BLOB
    body.close()
    assert server.asked[0].all("Range") == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": f"bytes {START + 1}-{len(BLOB) - 1}/{len(BLOB)}"},
        {"Content-Range": f"bytes {START}-{len(BLOB) - 2}/{len(BLOB)}"},
        {"Content-Range": f"bytes 0-{len(BLOB) - 1}/{len(BLOB)}"},
        {"Content-Range": f"bytes */{len(BLOB)}"},
        {"Content-Range": "bytes what"},
        {"Content-Type": "multipart/byteranges; boundary=x"},
        {"Content-Range": f"bytes {START}-{len(BLOB) - 1}/{len(BLOB)}", "Content-Length": "5"},
        {"Content-Range": f"bytes {START}-{len(BLOB) - 1}/{len(BLOB)}", "Content-Encoding": "gzip"},
        {"Content-Range": f"bytes {START}-{len(BLOB) - 1}/{len(BLOB)}", "Content-Type": "text/html"},
    ],
)
async def test_a_206_of_anything_else_is_refused(
    server: Server, registry: RemoteRegistry, headers: dict[str, str]
) -> None:
    body = BLOB[START:] if "Content-Length" not in headers else b"12345"
    server.on(PATH, lambda asked: asked.reply(206, body, headers))
    with pytest.raises(UpstreamFailed):
        await resume(registry)


@pytest.mark.parametrize("total", [len(BLOB), len(BLOB) + 1])
async def test_the_connection_of_a_refused_one_is_closed(
    server: Server, registry: RemoteRegistry, total: int
) -> None:
    """Nobody reads the rest of it."""

    def answer(asked: Asked) -> None:
        span = f"bytes {START}-{len(BLOB) - 2}/{total}"
        asked.head(206, {"Content-Range": span, "Content-Length": str(len(BLOB) - 1 - START)})
        asked.write(BLOB[START : START + 1000])

    server.on(PATH, answer)
    with pytest.raises(UpstreamFailed):
        await resume(registry)
    for connection in list(server.connections):
        await connection.lost


async def test_a_206_that_nobody_asked_for(server: Server, registry: RemoteRegistry) -> None:
    server.on(PATH, lambda asked: partial(asked, f"bytes 0-{len(BLOB) - 1}/{len(BLOB)}", BLOB))
    with pytest.raises(UpstreamFailed):
        await resume(registry, start=0)


@pytest.mark.parametrize("ignores", [True, False])
async def test_another_size_is_another_blob(server: Server, registry: RemoteRegistry, ignores: bool) -> None:
    def answer(asked: Asked) -> Any:
        if ignores:
            return asked.reply(200, BLOB)
        return partial(asked, f"bytes {START}-{len(BLOB) - 1}/{len(BLOB)}")

    server.on(PATH, answer)
    with pytest.raises(ContentMismatch):
        await resume(registry, size=len(BLOB) + 1)


@pytest.mark.parametrize(
    ("status", "error"), [(404, NotFound), (403, Denied), (416, UpstreamFailed), (503, UpstreamFailed)]
)
async def test_other_answers_are_errors(
    server: Server, registry: RemoteRegistry, status: int, error: type[Exception]
) -> None:
    server.on(PATH, lambda asked: asked.reply(status))
    with pytest.raises(error):
        await resume(registry)


async def test_range_goes_along_with_a_redirect(server: Server, registry: RemoteRegistry) -> None:
    """The bytes come from where the registry sends us, and only there Range matters."""
    server.on(PATH, lambda asked: asked.reply(307, b"", {"Location": "/cdn"}))
    server.on("/cdn", lambda asked: partial(asked, f"bytes {START}-{len(BLOB) - 1}/{len(BLOB)}"))
    body = await resume(registry)
    assert await read_to_end(body) == BLOB[START:]
    body.close()
    assert server.asked[-1].all("Range") == [f"bytes={START}-"]


async def test_a_cut_inside_is_told(server: Server, registry: RemoteRegistry) -> None:
    def answer(asked: Asked) -> None:
        span = f"bytes {START}-{len(BLOB) - 1}/{len(BLOB)}"
        asked.head(206, {"Content-Range": span, "Content-Length": str(len(BLOB) - START)})
        asked.write(BLOB[START : START + 1000])
        asked.close()

    server.on(PATH, answer)
    body = await resume(registry)
    with pytest.raises(UpstreamUnreachable):
        await read_to_end(body)
    body.close()


async def test_a_body_that_is_closed_closes_its_connection(server: Server, registry: RemoteRegistry) -> None:
    def answer(asked: Asked) -> None:
        span = f"bytes {START}-{len(BLOB) - 1}/{len(BLOB)}"
        asked.head(206, {"Content-Range": span, "Content-Length": str(len(BLOB) - START)})
        asked.write(BLOB[START : START + 1000])

    server.on(PATH, answer)
    (await resume(registry)).close()
    for connection in list(server.connections):
        await connection.lost


@pytest.mark.parametrize("answer", ["416", "another validator"])
async def test_one_that_refuses_each_range_is_asked_for_all_of_it(
    server: Server, registry: RemoteRegistry, answer: str
) -> None:
    """And so is one whose rest is of something else, by its own word (R90)."""

    def reply(asked: Asked) -> None:
        if not asked.all("Range"):
            asked.reply(200, BLOB, {"ETag": '"the-blob"'})
        elif answer == "416":
            asked.reply(416, b"", {"Content-Range": f"bytes */{len(BLOB)}"})
        else:
            rest = bytes(len(BLOB) - START)
            partial(asked, f"bytes {START}-{len(BLOB) - 1}/{len(BLOB)}", rest, ETag='"another"')

    server.on(PATH, reply)
    (await registry.blobs.open(REPOSITORY, DIGEST)).close()
    body = await resume(registry)
    assert await read_to_end(body) == BLOB[START:]
    body.close()
    assert [asked.all("Range") for asked in server.asked] == [[], [f"bytes={START}-"], []]


async def test_what_a_cdn_refuses_in_the_middle_is_no_refusal(
    server: Server, registry: RemoteRegistry, new_server: Any
) -> None:
    """A signature that has expired: trouble, after which the registry is asked again (R87)."""
    elsewhere = new_server()
    server.on(PATH, lambda asked: asked.reply(307, b"", {"Location": f"{elsewhere.url}/signed?x=y"}))
    elsewhere.on("/signed", lambda asked: asked.reply(403, b"expired"))
    with pytest.raises(UpstreamFailed):
        await resume(registry)
    with pytest.raises(Denied):
        await registry.blobs.open(REPOSITORY, DIGEST)


def test_validators_are_of_one_endpoint_and_few() -> None:
    known = Validators()
    known.note(REPOSITORY, DIGEST, "https://a", '"x"')
    assert known.of(REPOSITORY, DIGEST, "https://a") == '"x"'
    assert known.of(REPOSITORY, DIGEST, "https://b") is None
    for number in range(MAX_VALIDATORS):
        known.note(REPOSITORY, Digest.of(str(number).encode()), None, '"y"')
    assert known.of(REPOSITORY, DIGEST, "https://a") is None
    known.note(REPOSITORY, DIGEST, None, '"x"')
    known.note(REPOSITORY, DIGEST, None, None)
    assert known.of(REPOSITORY, DIGEST, None) is None
