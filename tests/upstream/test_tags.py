"""What a tag means, asked as cheaply as the upstream allows (R14, R50, R51)."""

from __future__ import annotations

import json

import pytest

from regproxy.errors import ContentMismatch, Denied, ManifestRefused, NotFound, Throttled, UpstreamFailed
from regproxy.interfaces import RemoteTag
from regproxy.oci import media_type as types
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import MAX_MANIFEST_BYTES, Descriptor
from regproxy.upstream.registry import RemoteRegistry
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Asked, Server
from tests.upstream.test_registry import BY_DIGEST, BY_TAG, DIGEST, MANIFEST, TAG, manifest_answer

KNOWN = RemoteTag(Descriptor(DIGEST, len(MANIFEST), types.OCI_MANIFEST), '"an etag"')
OTHER = RemoteTag(Descriptor(Digest.of(b"other"), 5, types.OCI_MANIFEST))
GOOD = {"Content-Type": types.OCI_MANIFEST, "Docker-Content-Digest": str(DIGEST)}


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in GOOD.items() if name not in names}


async def test_an_unknown_tag_costs_one_head(server: Server, registry: RemoteRegistry) -> None:
    server.on(BY_TAG, manifest_answer)
    found = await registry.tags.stat(REPOSITORY, TAG, None)
    assert found == RemoteTag(KNOWN.descriptor, f'"{DIGEST}"')
    assert server.log() == [f"HEAD {BY_TAG}"]
    assert server.asked[0].header("If-None-Match") is None
    assert server.asked[0].all("Accept") == [types.ACCEPT]


@pytest.mark.parametrize(
    ("known", "condition"), [(KNOWN, '"an etag"'), (OTHER, f'"{OTHER.descriptor.digest}"')]
)
async def test_not_changed(
    server: Server, registry: RemoteRegistry, known: RemoteTag, condition: str
) -> None:
    """304, or 200 with the same digest; asked with the ETag, or the digest in its place."""
    server.on(BY_TAG, lambda asked: asked.head(304))
    assert await registry.tags.stat(REPOSITORY, TAG, known) is None
    assert server.asked[0].header("If-None-Match") == condition
    headers = {**GOOD, "Docker-Content-Digest": str(known.descriptor.digest)}
    server.on(BY_TAG, lambda asked: asked.reply(200, MANIFEST, headers))
    assert await registry.tags.stat(REPOSITORY, TAG, known) is None
    assert server.log() == [f"HEAD {BY_TAG}"] * 2


async def test_changed(server: Server, registry: RemoteRegistry) -> None:
    server.on(BY_TAG, manifest_answer)
    found = await registry.tags.stat(REPOSITORY, TAG, OTHER)
    assert found is not None
    assert found.descriptor == KNOWN.descriptor
    assert found.manifest is None


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, Denied), (403, Denied), (404, NotFound), (429, Throttled), (500, UpstreamFailed)],
)
async def test_a_failed_head_never_becomes_a_get(
    server: Server, registry: RemoteRegistry, status: int, error: type[Exception]
) -> None:
    """A GET costs quota (R51)."""
    server.on(BY_TAG, lambda asked: asked.reply(status))
    server.on(BY_DIGEST, lambda asked: asked.reply(status))
    with pytest.raises(error):
        await registry.tags.stat(REPOSITORY, TAG, KNOWN)
    with pytest.raises(error):
        await registry.manifests.stat(REPOSITORY, DIGEST)
    asked = [f"HEAD {BY_TAG}", f"HEAD {BY_DIGEST}"]
    assert server.log() == (asked[:1] if status == 429 else asked)  # a 429 holds for both


@pytest.mark.parametrize("known", [None, OTHER, KNOWN])
@pytest.mark.parametrize(
    "head",
    [
        lambda asked: asked.reply(405),
        lambda asked: asked.reply(501),
        lambda asked: asked.reply(200, MANIFEST, without("Docker-Content-Digest")),
        lambda asked: asked.reply(200, MANIFEST, {**GOOD, "Docker-Content-Digest": "sha256:nonsense"}),
    ],
)
async def test_a_head_that_tells_nothing_becomes_a_get(
    server: Server, registry: RemoteRegistry, known: RemoteTag | None, head: object
) -> None:
    """Hashed, and None when it turns out unchanged."""
    server.on(BY_TAG, lambda asked: head(asked) if asked.method == "HEAD" else manifest_answer(asked))
    found = await registry.tags.stat(REPOSITORY, TAG, known)
    assert server.log() == [f"HEAD {BY_TAG}", f"GET {BY_TAG}"]
    if known is KNOWN:
        assert found is None
    else:
        assert found is not None
        assert found.manifest is not None
        assert found.manifest.content == MANIFEST


@pytest.mark.parametrize("length", [True, False])
async def test_a_head_without_type_or_length(server: Server, registry: RemoteRegistry, length: bool) -> None:
    def head(asked: Asked) -> None:
        if asked.method == "GET":
            manifest_answer(asked)
        elif length:
            asked.reply(200, MANIFEST, without("Content-Type"))
        else:
            asked.head(200, GOOD)

    server.on(BY_TAG, head)
    server.on(BY_DIGEST, head)
    found = await registry.tags.stat(REPOSITORY, TAG, None)
    assert found is not None
    assert found.descriptor == KNOWN.descriptor
    assert await registry.manifests.stat(REPOSITORY, DIGEST) == KNOWN.descriptor


async def test_a_304_that_nobody_asked_for(server: Server, registry: RemoteRegistry) -> None:
    server.on(BY_TAG, lambda asked: asked.head(304))
    server.on(BY_DIGEST, lambda asked: asked.head(304))
    with pytest.raises(UpstreamFailed, match="304"):
        await registry.tags.stat(REPOSITORY, TAG, None)
    with pytest.raises(UpstreamFailed, match="304"):
        await registry.manifests.stat(REPOSITORY, DIGEST)


async def test_a_head_for_another_digest_or_too_large(server: Server, registry: RemoteRegistry) -> None:
    headers = {**GOOD, "Docker-Content-Digest": str(OTHER.descriptor.digest)}
    server.on(BY_DIGEST, lambda asked: asked.reply(200, MANIFEST, headers))
    with pytest.raises(ContentMismatch, match="another digest"):
        await registry.manifests.stat(REPOSITORY, DIGEST)
    server.on(BY_TAG, lambda asked: asked.head(200, {**GOOD, "Content-Length": str(MAX_MANIFEST_BYTES + 1)}))
    with pytest.raises(ManifestRefused, match="larger"):
        await registry.tags.stat(REPOSITORY, TAG, None)


async def test_sha512(server: Server, registry: RemoteRegistry) -> None:
    """Hashed with the algorithm that was asked for, whatever the header's is (R13)."""
    digest = Digest.of(MANIFEST, "sha512")
    server.on(f"/v2/library/nginx/manifests/{digest}", manifest_answer)
    assert (await registry.manifests.get(REPOSITORY, digest)).digest == digest


@pytest.mark.parametrize(
    ("content", "content_type", "reason"),
    [
        (b"<html>", types.OCI_MANIFEST, "not JSON"),
        (b"[]", types.OCI_MANIFEST, "no object"),
        (b'{"a": 1}', "application/json", "no manifest"),
        (json.dumps({"manifests": [], "layers": []}).encode(), types.OCI_INDEX, "at once"),
        (MANIFEST, types.OCI_INDEX, "mediaType"),
    ],
)
async def test_what_is_no_manifest(
    server: Server, registry: RemoteRegistry, content: bytes, content_type: str, reason: str
) -> None:
    """The error names the cause, and that it is about a manifest (R19, R60)."""
    server.on(BY_TAG, lambda asked: asked.reply(200, content, {"Content-Type": content_type}))
    with pytest.raises(ManifestRefused, match=reason):
        await registry.tags.get(REPOSITORY, TAG)


async def test_signed_schema_1_states_the_digest_of_its_payload(
    server: Server, registry: RemoteRegistry
) -> None:
    content = b'{"schemaVersion": 1, "signatures": []}'
    headers = {"Content-Type": types.DOCKER_SCHEMA1_SIGNED, "Docker-Content-Digest": str(DIGEST)}
    server.on(BY_TAG, lambda asked: asked.reply(200, content, headers))
    assert (await registry.tags.get(REPOSITORY, TAG)).descriptor.digest == Digest.of(content)
    found = await registry.tags.stat(REPOSITORY, TAG, None)
    assert found is not None
    assert found.descriptor.digest == Digest.of(content)


@pytest.mark.parametrize("etag", ["", "x" * 300, '"\x7f"', '"caf\xe9"'])
async def test_an_etag_that_cannot_be_sent_back(server: Server, registry: RemoteRegistry, etag: str) -> None:
    server.on(BY_TAG, lambda asked: asked.reply(200, MANIFEST, {**GOOD, "ETag": etag}))
    assert (await registry.tags.get(REPOSITORY, TAG)).etag in (None, '"caf��"')
