"""The scriptable registry answers rightly until it is told not to, and tells what it was asked."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.error import ConnectError

from regproxy.oci import media_type as types
from regproxy.oci.digest import Digest
from regproxy.testing import actions
from regproxy.testing.contents import Quirks
from regproxy.testing.images import make_image, make_index, sized_image
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.reply import Gate
from regproxy.testing.rules import Match
from tests.testing.raw import Raw, begin, connect, fetch

BLOB = bytes(range(256)) * 40
DIGEST = Digest.of(BLOB)
BLOB_PATH = f"/v2/a/b/blobs/{DIGEST}"
IMAGE = make_image()
TAG_PATH = "/v2/a/b/manifests/latest"


@pytest_twisted.async_yield_fixture
async def registry() -> AsyncIterator[ScriptableRegistry]:
    server = ScriptableRegistry(reactor)
    await server.start()
    server.put_blob("a/b", BLOB)
    server.put_image("a/b", "latest", IMAGE)
    yield server
    await server.stop()


async def blob(registry: ScriptableRegistry, *acts: actions.Action, **headers: str) -> Raw:
    registry.script(Match(kind="blob"), *acts)
    return await fetch(registry.url, BLOB_PATH, **headers)


async def test_base_is_two_bytes_of_json(registry: ScriptableRegistry) -> None:
    answer = await fetch(registry.url, "/v2/")
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.header("Docker-Distribution-Api-Version") == "registry/2.0"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_manifest_by_tag_and_digest_have_the_same_headers(
    registry: ScriptableRegistry, method: str
) -> None:
    for reference in ("latest", str(IMAGE.digest)):
        answer = await fetch(registry.url, f"/v2/a/b/manifests/{reference}", method)
        assert answer.status == 200
        assert answer.body == (IMAGE.content if method == "GET" else b"")
        assert answer.header("Content-Length") == str(len(IMAGE.content))
        assert answer.header("Content-Type") == types.OCI_MANIFEST
        assert answer.header("Docker-Content-Digest") == str(IMAGE.digest)
        assert answer.header("ETag") == f'"{IMAGE.digest}"'


async def test_conditional_head_is_304(registry: ScriptableRegistry) -> None:
    answer = await fetch(registry.url, TAG_PATH, "HEAD", If_None_Match=f'"{IMAGE.digest}"')
    assert (answer.status, answer.header("ETag")) == (304, f'"{IMAGE.digest}"')


async def test_blob_whole_and_in_part(registry: ScriptableRegistry) -> None:
    assert (await fetch(registry.url, BLOB_PATH)).body == BLOB
    part = await fetch(registry.url, BLOB_PATH, Range="bytes=10-19")
    assert (part.status, part.body) == (206, BLOB[10:20])
    assert part.header("Content-Range") == f"bytes 10-19/{len(BLOB)}"
    beyond = await fetch(registry.url, BLOB_PATH, Range="bytes=999999-")
    assert (beyond.status, beyond.header("Content-Range")) == (416, f"bytes */{len(BLOB)}")


@pytest.mark.parametrize(("tag", "status"), [(str(DIGEST), 206), ("sha256:" + "0" * 64, 200)])
async def test_if_range(registry: ScriptableRegistry, tag: str, status: int) -> None:
    answer = await fetch(registry.url, BLOB_PATH, Range="bytes=5-", If_Range=f'"{tag}"')
    assert (answer.status, answer.body) == (status, BLOB[5:] if status == 206 else BLOB)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2/a/b/manifests/none", "MANIFEST_UNKNOWN"),
        ("/v2/other/manifests/none", "NAME_UNKNOWN"),
        (f"/v2/a/b/blobs/{Digest.of(b'x')}", "BLOB_UNKNOWN"),
        ("/v1/x", "UNSUPPORTED"),
    ],
)
async def test_what_is_not_there_is_a_404(registry: ScriptableRegistry, path: str, code: str) -> None:
    answer = await fetch(registry.url, path)
    assert (answer.status, json.loads(answer.body)["errors"][0]["code"]) == (404, code)


async def test_writes_are_refused_without_reading_them(registry: ScriptableRegistry) -> None:
    answer = await fetch(registry.url, "/v2/a/b/blobs/uploads/", "POST", Content_Length="99999999")
    assert (answer.status, answer.header("Allow")) == (405, "GET, HEAD")


async def test_tags_come_in_pages_with_links(registry: ScriptableRegistry) -> None:
    for name in ("v1", "v2", "v3"):
        registry.set_tag("a/b", name, IMAGE.digest)
    path: str | None = "/v2/a/b/tags/list?n=2"
    found: list[str] = []
    while path:
        answer = await fetch(registry.url, path)
        found += json.loads(answer.body)["tags"]
        link = answer.header("Link")
        path = link[1 : link.index(">")] if link else None
    assert found == ["latest", "v1", "v2", "v3"]
    assert registry.count(kind="tags") == 2
    bad = await fetch(registry.url, "/v2/a/b/tags/list?n=x")
    assert bad.status == 400


async def test_several_requests_share_one_connection(registry: ScriptableRegistry) -> None:
    client = await connect(registry.url)
    request = f"GET {BLOB_PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    client.transport.write(request * 2 + request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    await client.ended
    assert client.received.count(BLOB) == 3
    assert [(r.status, r.sent_bytes, r.finished) for r in registry.requests] == [(200, len(BLOB), True)] * 3


async def test_status_with_retry_after_and_body(registry: ScriptableRegistry) -> None:
    answer = await blob(registry, actions.status(429, b"Too Many", retry_after="7"))
    assert (answer.status, answer.header("Retry-After"), answer.body) == (429, "7", b"Too Many")


async def test_html_wrong_bytes_and_header_faults(registry: ScriptableRegistry) -> None:
    assert (await blob(registry, actions.html())).header(
        "Content-Type",
    ) == "text/html; charset=utf-8"
    spoilt = await blob(registry, actions.wrong_bytes(3))
    assert spoilt.body != BLOB
    assert (spoilt.body[:3], spoilt.body[4:]) == (BLOB[:3], BLOB[4:])
    bare = await blob(registry, actions.no_header("docker-content-digest"), actions.header("X-A", "1"))
    assert (bare.header("Docker-Content-Digest"), bare.header("X-A")) == (None, "1")


async def test_wrong_lengths(registry: ScriptableRegistry) -> None:
    for by in (-3, 5):
        answer = await blob(registry, actions.wrong_length(by))
        assert (answer.header("Content-Length"), answer.body) == (str(len(BLOB) + by), BLOB)


async def test_no_length_in_chunks_or_until_close(registry: ScriptableRegistry) -> None:
    answer = await blob(registry, actions.chunked())
    assert (answer.header("Content-Length"), answer.header("Transfer-Encoding")) == (None, "chunked")
    size, _, rest = answer.body.partition(b"\r\n")
    assert (int(size, 16), rest) == (len(BLOB), BLOB + b"\r\n0\r\n\r\n")
    closed = await blob(registry, actions.until_close())
    assert (closed.header("Content-Length"), closed.header("Transfer-Encoding")) == (None, None)
    assert closed.body == BLOB


async def test_cut_ends_after_so_many_bytes_and_says_so_in_the_log(registry: ScriptableRegistry) -> None:
    answer = await blob(registry, actions.cut(100))
    assert (answer.body, answer.header("Content-Length")) == (BLOB[:100], str(len(BLOB)))
    record = registry.requests[-1]
    assert (record.status, record.sent_bytes, record.finished) == (200, 100, False)


async def test_reset_sends_nothing(registry: ScriptableRegistry) -> None:
    answer = await blob(registry, actions.reset())
    assert (answer.head, answer.clean) == (b"", False)
    assert registry.requests[-1].status == 0


async def test_drip_comes_in_pieces_and_whole(registry: ScriptableRegistry) -> None:
    answer = await blob(registry, actions.drip(len(BLOB) // 3, 0.001), actions.chunked())
    assert answer.body.count(b"\r\n") >= 2 * 4
    assert registry.requests[-1].finished


async def test_gate_before_the_status_line(registry: ScriptableRegistry) -> None:
    gate = Gate()
    registry.script(Match(kind="blob"), actions.hold(gate))
    client = await begin(registry.url, BLOB_PATH)
    await gate.arrived()
    assert client.received == b""
    assert registry.requests[-1].status is None
    gate.open()
    assert (await client.ended).body == BLOB


async def test_gate_within_the_body_holds_exactly_there(registry: ScriptableRegistry) -> None:
    gate = Gate()
    registry.script(Match(kind="blob"), actions.hold(gate, at=1000))
    clients = [await begin(registry.url, BLOB_PATH) for _ in range(3)]
    await gate.arrived(3)
    for client in clients:
        await client.has(1000)
        assert client.body() == BLOB[:1000]
    gate.open()
    assert [(await client.ended).body for client in clients] == [BLOB] * 3
    assert (await fetch(registry.url, BLOB_PATH)).body == BLOB


async def test_a_client_that_leaves_a_gate_leaves_nothing_behind(registry: ScriptableRegistry) -> None:
    gate = Gate()
    registry.script(Match(kind="blob"), actions.hold(gate, at=0))
    client = await begin(registry.url, BLOB_PATH)
    await gate.arrived()
    client.transport.abortConnection()
    await client.ended
    await registry.stop()
    assert "0 waiting" in repr(gate)


async def test_encoded_answer(registry: ScriptableRegistry) -> None:
    answer = await blob(registry, actions.encoded())
    assert answer.header("Content-Encoding") == "gzip"
    assert gzip.decompress(answer.body) == BLOB


async def test_redirect_to_the_cdn_and_what_it_tells(registry: ScriptableRegistry) -> None:
    answer = await blob(registry, actions.to_cdn(302))
    location = answer.header("Location")
    assert answer.status == 302
    assert location is not None
    assert location.startswith(registry.cdn_url)
    path = location[len(registry.cdn_url) :]
    assert (await fetch(registry.cdn_url, path)).body == BLOB
    assert (await fetch(registry.cdn_url, path, Range="bytes=1-2")).body == BLOB[1:3]
    leaked = await fetch(registry.cdn_url, path, Authorization="Bearer x")
    assert leaked.status == 400
    assert registry.requests[-1].authorization == "Bearer x"
    assert registry.count(host="cdn", kind="cdn", reference=str(DIGEST)) == 3


async def test_redirect_loop_and_elsewhere(registry: ScriptableRegistry) -> None:
    assert (await blob(registry, actions.redirect_loop())).header("Location") == registry.url + BLOB_PATH
    assert (await blob(registry, actions.redirect("/x", 301))).header("Location") == "/x"


async def test_huge_manifest_has_its_size(registry: ScriptableRegistry) -> None:
    registry.script(Match(kind="manifest"), actions.huge_manifest())
    answer = await fetch(registry.url, TAG_PATH)
    assert len(answer.body) == 32 * actions.MIB
    assert json.loads(answer.body)["schemaVersion"] == 2


async def test_challenge_of_ten_schemes(registry: ScriptableRegistry) -> None:
    answer = await blob(registry, actions.ten_schemes("https://auth.example/token"))
    assert answer.status == 401
    assert answer.head.count(b"WWW-Authenticate: ") == 3


async def test_ignored_range_is_the_whole_body(registry: ScriptableRegistry) -> None:
    answer = await blob(registry, actions.ignore_range(), Range="bytes=5-9")
    assert (answer.status, answer.body) == (200, BLOB)


async def test_rules_count_and_the_last_one_wins(registry: ScriptableRegistry) -> None:
    registry.script(Match(kind="blob", method="GET"), actions.status(500))
    second = registry.script(Match(kind="blob", nth=2), actions.status(404))
    first = registry.script(Match(kind="blob", times=1), actions.status(403))
    statuses = [(await fetch(registry.url, BLOB_PATH)).status for _ in range(3)]
    assert statuses == [403, 404, 500]
    assert (first.hits, second.hits, second.seen) == (1, 1, 3)
    registry.unscript()
    assert (await fetch(registry.url, BLOB_PATH)).status == 200


@pytest.mark.parametrize(
    "match", [Match(repository="x"), Match(reference="x"), Match(method="HEAD"), Match(ranged=True)]
)
async def test_rules_leave_other_requests_alone(registry: ScriptableRegistry, match: Match) -> None:
    registry.script(match, actions.status(500))
    assert (await fetch(registry.url, BLOB_PATH)).status == 200


async def test_refused_and_accepted_again_on_the_same_port(registry: ScriptableRegistry) -> None:
    url = registry.url
    await registry.refuse_connections()
    with pytest.raises(ConnectError):
        await fetch(url, "/v2/")
    registry.accept_connections()
    assert (await fetch(url, "/v2/")).status == 200


async def test_count_and_clear(registry: ScriptableRegistry) -> None:
    await fetch(registry.url, TAG_PATH, "HEAD", Authorization="Basic eDp5")
    record = registry.requests[0]
    assert (record.method, record.kind, record.repository, record.reference) == (
        "HEAD",
        "manifest",
        "a/b",
        "latest",
    )
    assert (record.authorization, record.status, record.sent_bytes) == ("Basic eDp5", 200, 0)
    assert registry.count(method="HEAD") == 1
    assert registry.count(method="GET") == 0
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        record.status = 5  # type: ignore[misc]
    registry.clear()
    assert registry.requests == ()


async def test_a_large_body_waits_for_its_reader(registry: ScriptableRegistry) -> None:
    image = registry.put_image("big", None, sized_image(48 * actions.MIB))
    digest = max(image.blobs, key=lambda d: len(image.blobs[d]))
    client = await begin(registry.url, f"/v2/big/blobs/{digest}")
    client.transport.pauseProducing()
    for _ in range(20):
        await fetch(registry.url, "/v2/")
    sent = registry.requests[0].sent_bytes
    assert sent < 32 * actions.MIB
    client.transport.resumeProducing()
    assert digest.matches((await client.ended).body)


async def test_quirks_of_real_registries(registry: ScriptableRegistry) -> None:
    registry.quirks = Quirks(
        strict_accept=True,
        blob_head_status=401,
        blob_redirect_status=307,
        extra_headers={"manifest": (("RateLimit-Remaining", "9;w=21600"),)},
        digest_header=False,
        max_page=1,
        absolute_links=True,
    )
    registry.set_tag("a/b", "z", IMAGE.digest)
    assert (await fetch(registry.url, TAG_PATH, Accept=types.OCI_INDEX)).status == 404
    seen = await fetch(registry.url, TAG_PATH, Accept=f"{types.OCI_MANIFEST}, x/y;q=0.5")
    assert (seen.status, seen.header("RateLimit-Remaining")) == (200, "9;w=21600")
    assert seen.header("Docker-Content-Digest") is None
    assert (await fetch(registry.url, BLOB_PATH, "HEAD")).status == 401
    assert (await fetch(registry.url, BLOB_PATH)).status == 307
    link = (await fetch(registry.url, "/v2/a/b/tags/list")).header("Link")
    assert link is not None
    assert link.startswith(f"<{registry.url}/v2/")


async def test_stop_cuts_what_is_under_way_and_is_idempotent() -> None:
    server = ScriptableRegistry(reactor)
    await server.start()
    server.put_image("a/b", "latest", make_index())
    server.script(Match(), actions.hold(gate := Gate()), actions.drip(1, 60))
    client = await begin(server.url, TAG_PATH)
    await gate.arrived()
    gate.open()
    await client.has(1)
    await server.stop()
    await server.stop()
    assert not (await client.ended).clean
    assert server.connection_count == 0


async def test_cdn_has_validators_of_its_own(registry: ScriptableRegistry) -> None:
    path = f"/cdn/a/b/{DIGEST}?signature=hunter2"
    whole = await fetch(registry.cdn_url, path)
    tag = whole.header("ETag")
    assert tag not in (None, f'"{DIGEST}"')
    assert whole.header("Docker-Content-Digest") is None
    same = await fetch(registry.cdn_url, path, Range="bytes=3-5", If_Range=tag or "")
    assert (same.status, same.body) == (206, BLOB[3:6])
    other = await fetch(registry.cdn_url, path, Range="bytes=3-5", If_Range=f'"{DIGEST}"')
    assert (other.status, other.body) == (200, BLOB)
    assert (await fetch(registry.cdn_url, f"/cdn/a/b/{Digest.of(b'x')}")).status == 404
    assert (await fetch(registry.cdn_url, f"/cdn/a/b/{IMAGE.digest}")).body == IMAGE.content


async def test_rules_reach_the_cdn_too(registry: ScriptableRegistry) -> None:
    registry.script(Match(kind="cdn"), actions.status(403))
    assert (await fetch(registry.cdn_url, f"/cdn/a/b/{DIGEST}")).status == 403
    assert (await fetch(registry.url, BLOB_PATH)).status == 200
