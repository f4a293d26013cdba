"""The main path: manifests, blobs and tags of an upstream, with and without tokens."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from zope.interface.verify import verifyObject

from regproxy.errors import (
    ContentMismatch,
    Denied,
    NotFound,
    Throttled,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamUnreachable,
)
from regproxy.interfaces import IRemoteRegistry
from regproxy.oci import media_type as types
from regproxy.oci.digest import Digest
from regproxy.oci.tag import Tag
from regproxy.settings import Credentials
from regproxy.upstream.registry import RemoteRegistry
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Asked, Server

MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": types.OCI_MANIFEST, "layers": []}).encode()
DIGEST = Digest.of(MANIFEST)
BLOB = b"some layer" * 1000
TAG = Tag.parse("latest")
BY_TAG = "/v2/library/nginx/manifests/latest"
BY_DIGEST = f"/v2/library/nginx/manifests/{DIGEST}"
BLOB_DIGEST = Digest.of(BLOB)
BLOB_PATH = f"/v2/library/nginx/blobs/{BLOB_DIGEST}"


def manifest_answer(asked: Asked) -> None:
    headers = {"Content-Type": types.OCI_MANIFEST, "Docker-Content-Digest": str(DIGEST)}
    asked.reply(200, MANIFEST, {**headers, "ETag": f'"{DIGEST}"'})


def behind_tokens(server: Server, realm: str, handler: Callable[[Asked], None]) -> Callable[[Asked], None]:
    """Answer as ``handler`` does, to ``Bearer good-hunter2`` only."""

    def judge(asked: Asked) -> None:
        if asked.header("Authorization") == "Bearer good-hunter2":
            handler(asked)
        else:
            challenge = f'Bearer realm="{realm}",service="reg",scope="repository:library/nginx:pull"'
            asked.reply(401, b"{}", {"WWW-Authenticate": challenge})

    return judge


def token_answer(asked: Asked) -> None:
    asked.json({"token": "good-hunter2", "expires_in": 300})


async def read_all(registry: RemoteRegistry) -> bytes:
    blob = await registry.blobs.open(REPOSITORY, BLOB_DIGEST)
    body = blob.body()
    chunks = []
    while True:
        data = body.read(65536)
        if data is None:
            await body.ready()
        elif data:
            chunks.append(data)
        else:
            body.close()
            return b"".join(chunks)


def test_it_provides_the_interface(registry: RemoteRegistry) -> None:
    verifyObject(IRemoteRegistry, registry)


async def test_a_manifest_by_tag(server: Server, registry: RemoteRegistry) -> None:
    """One GET with the whole Accept set in one header, identity exactly once, our name (R14, R15, R89)."""
    server.on(BY_TAG, manifest_answer)
    found = await registry.tags.get(REPOSITORY, TAG)
    assert found.manifest is not None
    assert found.manifest.content == MANIFEST
    assert found.descriptor.digest == DIGEST
    assert found.etag == f'"{DIGEST}"'
    [asked] = server.asked
    assert asked.all("Accept") == [types.ACCEPT]
    assert asked.all("Accept-Encoding") == ["identity"]
    assert asked.header("User-Agent").startswith("regproxy/")
    assert asked.header("Cookie") is None


async def test_a_manifest_by_digest(server: Server, registry: RemoteRegistry) -> None:
    server.on(BY_DIGEST, manifest_answer)
    assert (await registry.manifests.get(REPOSITORY, DIGEST)).content == MANIFEST
    assert (await registry.manifests.stat(REPOSITORY, DIGEST)).size_bytes == len(MANIFEST)
    assert server.log() == [f"GET {BY_DIGEST}", f"HEAD {BY_DIGEST}"]


async def test_a_blob_streams_over_one_get(server: Server, registry: RemoteRegistry) -> None:
    """No HEAD before the GET, and the connection is used again (P15)."""
    server.on(BLOB_PATH, lambda asked: asked.reply(200, BLOB))
    assert await read_all(registry) == BLOB
    assert await read_all(registry) == BLOB
    assert server.log() == [f"GET {BLOB_PATH}"] * 2
    assert server.opened == 1


async def test_a_token_is_asked_for_once(server: Server, registry: RemoteRegistry) -> None:
    """401, token, retry; afterwards the scheme is remembered (R75, R76, P48)."""
    server.on("/token", token_answer)
    server.on(BY_DIGEST, behind_tokens(server, f"{server.url}/token?x=1", manifest_answer))
    server.on(
        BLOB_PATH, behind_tokens(server, f"{server.url}/token?x=1", lambda asked: asked.reply(200, BLOB))
    )
    await registry.manifests.get(REPOSITORY, DIGEST)
    assert await read_all(registry) == BLOB
    assert server.log() == [f"GET {BY_DIGEST}", "GET /token", f"GET {BY_DIGEST}", f"GET {BLOB_PATH}"]
    token = server.asked[1]
    assert token.query == [("x", "1"), ("service", "reg"), ("scope", "repository:library/nginx:pull")]
    assert token.header("Authorization") is None


async def test_credentials_go_to_the_token_server(
    server: Server, new_registry: Callable[..., RemoteRegistry]
) -> None:
    registry = new_registry(server.url, credentials=Credentials("me", "hunter2"))
    server.on("/token", token_answer)
    server.on(BY_TAG, behind_tokens(server, f"{server.url}/token", manifest_answer))
    await registry.tags.get(REPOSITORY, TAG)
    assert server.asked[1].header("Authorization") == "Basic bWU6aHVudGVyMg=="
    assert ("account", "me") in server.asked[1].query
    assert [asked.header("Authorization") for asked in (server.asked[0], server.asked[2])] == [
        None,
        "Bearer good-hunter2",
    ]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, UpstreamFailed),
        (401, Denied),
        (403, Denied),
        (404, NotFound),
        (410, NotFound),
        (429, Throttled),
        (500, UpstreamFailed),
        (503, UpstreamFailed),
        (204, UpstreamFailed),
        (206, UpstreamFailed),
        (304, UpstreamFailed),
    ],
)
async def test_each_status_is_its_error(
    server: Server, registry: RemoteRegistry, status: int, error: type[Exception]
) -> None:
    """R60, for manifests and blobs alike; nothing but exactly 200 is content."""
    server.on(BY_TAG, lambda asked: asked.reply(status, b""))
    server.on(BLOB_PATH, lambda asked: asked.reply(status, b""))
    with pytest.raises(error):
        await registry.tags.get(REPOSITORY, TAG)
    with pytest.raises(error):
        await registry.blobs.open(REPOSITORY, BLOB_DIGEST)


async def test_nobody_there(new_registry: Callable[..., RemoteRegistry], server: Server) -> None:
    await server.close()
    registry = new_registry(server.url)
    with pytest.raises(UpstreamUnreachable, match="refuses connections"):
        await registry.tags.get(REPOSITORY, TAG)


async def test_a_wrong_password_is_refused_trouble(
    server: Server, new_registry: Callable[..., RemoteRegistry]
) -> None:
    registry = new_registry(server.url, credentials=Credentials("me", "wrong-hunter2"))
    server.on("/token", lambda asked: asked.reply(401))
    server.on(BY_TAG, behind_tokens(server, f"{server.url}/token", manifest_answer))
    server.on("/v2/", behind_tokens(server, f"{server.url}/token", lambda asked: asked.reply(200, b"{}")))
    with pytest.raises(UpstreamRefused, match="refuses our credentials") as caught:
        await registry.tags.get(REPOSITORY, TAG)
    assert "wrong-hunter2" not in str(caught.value) + repr(registry)
    with pytest.raises(UpstreamRefused):
        await registry.check_credentials()


async def test_wrong_bytes(server: Server, registry: RemoteRegistry) -> None:
    """Other bytes than the digest, or than Docker-Content-Digest, are a mismatch (R13)."""
    server.on(
        BY_DIGEST, lambda asked: asked.reply(200, MANIFEST + b" ", {"Content-Type": types.OCI_MANIFEST})
    )
    with pytest.raises(ContentMismatch):
        await registry.manifests.get(REPOSITORY, DIGEST)
    headers = {"Content-Type": types.OCI_MANIFEST, "Docker-Content-Digest": str(BLOB_DIGEST)}
    server.on(BY_TAG, lambda asked: asked.reply(200, MANIFEST, headers))
    with pytest.raises(ContentMismatch):
        await registry.tags.get(REPOSITORY, TAG)


@pytest.mark.parametrize("credentials", [None, Credentials("me", "hunter2")])
async def test_who_is_denied_without_credentials_is_told_to_add_them(
    server: Server, new_registry: Callable[..., RemoteRegistry], credentials: Credentials | None
) -> None:
    registry = new_registry(server.url, credentials=credentials)
    server.on(BLOB_PATH, lambda asked: asked.reply(403, b""))
    with pytest.raises(Denied) as caught:
        await registry.blobs.open(REPOSITORY, BLOB_DIGEST)
    assert ("then add 'credentials' for upstream.test" in str(caught.value)) is (credentials is None)
