"""Malformed requests to the whole mirror: 4xx OCI JSON, no upstream contact, nothing on disk."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from regproxy.testing.images import sized_image
from tests.system.mirror import World

pytestmark = pytest.mark.system

IMAGE = sized_image(5000)
HEX = "a" * 64

NAMES = [
    "UPPER",
    "a//b",
    "/a",
    "a/",
    "..",
    "a/../b",
    "a/./b",
    ".a",
    "-a",
    "_a",
    "a___b",
    "a._b",
    "a b",
    "a%20b",
    "a%2fb",
    "a%2Fb",
    "%2e%2e/x",
    "a%00b",
    "a%5cb",
    "a\\b",
    "%c3%a4",
    "a%ff",
    "a%",
    "a%zz",
    "a" * 256,
    "a/" * 140 + "a",
    "registry.test",
    "registry.test/",
    "a%0d%0aX: y",
    "a;b",
    "a:b",
    "a@b",
    "%252e%252e/x",
    "_layers/x",
    "a/_tags/b",
]
REFERENCES = [
    "",
    ".x",
    "-x",
    "a" * 129,
    "a%2Fb",
    "a%00",
    "..",
    "%2e%2e",
    "a%20b",
    "sha256:",
    f"sha256:{HEX[1:]}",
    f"sha256:{HEX}0",
    f"SHA256:{HEX}",
    f"sha256:{HEX.upper()}",
    f"sha512:{HEX}",
    f"md5:{'a' * 32}",
    "sha256:../../../etc/passwd",
    f"sha256%3A{HEX}%00",
    f"sha256:{HEX}/..",
    f"sha256:{HEX}%0a",
    f"sha1:{'a' * 40}",
    f"sha256:{'g' * 64}",
    f"sha256+b64:{HEX}",
    "latest%0d%0aX:y",
]
TARGETS = [
    *(f"/v2/{name}/manifests/latest" for name in NAMES),
    *(f"/v2/{name}/blobs/sha256:{HEX}" for name in NAMES),
    *(f"/v2/{name}/tags/list" for name in NAMES),
    *(f"/v2/team/app/manifests/{reference}" for reference in REFERENCES),
    *(f"/v2/team/app/blobs/{reference}" for reference in [*REFERENCES, "latest"]),
    *(f"/v2/team/app/tags/list?n={n}" for n in ["-1", "x", "1.5", "1e3", "%00", "9" * 5000]),
    "/v1/_ping",
    "/",
    "/v2/team/app",
    "/v2/team/app/uploads",
    "/v2/_catalog",
    "//v2/",
    "/v2//",
    "/v3/",
    "/v2/../v2/",
    "/v2/team/app/manifests/latest?ns=unknown.example",
    "/v2/team/app/manifests/latest?ns=http://127.0.0.1:1/",
    "/v2/team/app/manifests/latest?ns=user@registry.test",
    "/v2/team/app/manifests/latest?ns=[::1]",
    "/" + "a" * 9000,
    f"/v2/team/app/referrers/sha256:{HEX}",
    "/healthz",
    "/metrics",
    "/v2/team/app/manifests/latest/",
    "*",
]
WRITES = [
    f"{verb} {path}"
    for verb in ("PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "CONNECT", "get")
    for path in (
        "/v2/team/app/manifests/latest",
        f"/v2/team/app/blobs/sha256:{HEX}",
        "/v2/team/app/blobs/uploads/",
        "/v2/team/app/blobs/uploads/?mount=sha256:x&from=y",
        "/v2/UPPER/manifests/latest",
    )
]


@pytest_twisted.async_yield_fixture
async def world(tmp_path) -> AsyncIterator[World]:
    made = await World.started(tmp_path / "content", IMAGE)
    yield made
    await made.stop()


def exchange(url: str, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """One raw request on a connection of its own; status, headers and body until the close."""
    host = urlsplit(url)
    with socket.create_connection((host.hostname, host.port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, body


async def ask(world: World, method: str, target: str) -> tuple[int, dict[str, str], bytes]:
    request = f"{method} {target} HTTP/1.1\r\nHost: mirror.test\r\nConnection: close\r\n\r\n".encode(
        "latin-1"
    )
    return await deferToThread(exchange, world.mirror.url, request)


def judge(world: World, answer: tuple[int, dict[str, str], bytes], statuses: range | tuple[int, ...]) -> None:
    status, headers, body = answer
    assert status in statuses, answer
    assert headers["content-type"] == "application/json"
    assert headers["docker-distribution-api-version"] == "registry/2.0"
    assert int(headers["content-length"]) == len(body)
    [error] = json.loads(body)["errors"]
    assert error["code"]
    assert error["message"]
    assert world.registry.requests == ()
    kept = [path for folder in ("blobs", "fills", "repositories") for path in world.mirror.files(folder)]
    assert [path for path in kept if path.name != "_credential"] == []


async def test_malformed_reads(world):
    for target in TARGETS:
        try:
            judge(world, await ask(world, "GET", target), range(400, 500))
        except AssertionError as error:
            raise AssertionError(target) from error


async def test_the_same_by_head_has_no_body(world):
    for target in [target for target in TARGETS if " " not in target][::7]:
        got = await ask(world, "GET", target)
        head = await ask(world, "HEAD", target)
        assert head[0] == got[0], target
        assert head[2] == b"", target
        assert {**head[1], "date": ""} == {**got[1], "date": ""}, target


async def test_every_write_verb(world):
    for line in WRITES:
        method, target = line.split(" ")
        answer = await ask(world, method, target)
        judge(world, answer, (405,))
        assert answer[1]["allow"] == "get, head"


async def test_a_push_is_refused_before_its_body_is_read(world):
    line = b"PUT /v2/team/app/manifests/latest HTTP/1.1"
    request = line + b"\r\nHost: mirror.test\r\nContent-Length: 1000000000\r\n\r\n"
    judge(world, await deferToThread(exchange, world.mirror.url, request), (405,))


@pytest.mark.parametrize(
    "header",
    [
        "bytes=",
        "bytes=-",
        "bytes=5-2",
        "bytes=a-b",
        "items=0-1",
        "bytes=0-1,4-5",
        "bytes",
        "bytes=0-1x",
        "",
        "bytes=--1",
    ],
)
async def test_a_bad_range_is_ignored(world, header):
    [(digest, content)] = [(d, c) for d, c in IMAGE.blobs.items() if len(c) == 5000]
    answer = await world.client.ask(f"/v2/team/app/blobs/{digest}", range=header)
    assert (answer.status, answer.body) == (200, content)
