"""The cases measured on docker-registry 2.8.2, numbered as there, each with the right outcome and
the upstream requests that it costs. Rows 20, 21 and the state file of 22 belong to expiry."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from regproxy.oci.digest import Digest
from regproxy.testing import actions
from regproxy.testing.images import make_index, sized_image
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.reply import Gate
from regproxy.testing.rules import Match
from regproxy.testing.tokens import EVERYTHING, TokenGuard, TokenServer
from tests.system.mirror import Mirror, World, upstream

SIZE = 300_000
IMAGE = sized_image(SIZE)
BLOB = next(digest for digest, content in IMAGE.blobs.items() if len(content) == SIZE)
CONTENT = IMAGE.blobs[BLOB]
TAG = "/v2/team/app/manifests/latest"
BY_DIGEST = f"/v2/team/app/manifests/{IMAGE.digest}"
BLOB_PATH = f"/v2/team/app/blobs/{BLOB}"

pytestmark = pytest.mark.system


@pytest_twisted.async_yield_fixture
async def world(tmp_path) -> AsyncIterator[World]:
    """A mirror in front of an open registry that has one image in two repositories."""
    made = await World.started(tmp_path / "content", IMAGE)
    made.registry.put_image("team/other", "latest", IMAGE)
    yield made
    await made.stop()


@pytest_twisted.async_yield_fixture
async def guarded(tmp_path) -> AsyncIterator[tuple[World, TokenServer]]:
    """The same behind a token server."""
    tokens = TokenServer(reactor, anonymous=EVERYTHING)
    await tokens.start()
    registry = ScriptableRegistry(reactor, guard=TokenGuard(tokens))
    await registry.start()
    registry.put_image("team/app", "latest", IMAGE)
    mirror = Mirror(tmp_path / "content", upstream(registry, tokens.url))
    await mirror.start()
    yield World(registry, mirror), tokens
    await mirror.stop()
    await registry.stop()
    await tokens.stop()


async def warm(world: World) -> None:
    """Everything of the image on disk, the registry's memory cleared."""
    assert (await world.client.ask(TAG)).status == 200
    for digest in IMAGE.blobs:
        assert (await world.client.ask(f"/v2/team/app/blobs/{digest}")).status == 200
    await world.mirror.settled()
    world.registry.clear()


def code(answer) -> str:
    """The OCI error code of an answer, which must be OCI JSON."""
    assert answer["content-type"] == "application/json"
    [error] = json.loads(answer.body)["errors"]
    assert error["message"]
    return error["code"]


async def test_1_cold_tag(guarded):
    world, tokens = guarded
    answer = await world.client.ask(TAG)
    assert (answer.status, answer.body) == (200, IMAGE.content)
    assert answer["content-type"] == IMAGE.media_type
    assert answer["docker-content-digest"] == str(IMAGE.digest)
    assert answer["etag"] == f'"{IMAGE.digest}"'
    assert world.asked() == ["GET manifest", "GET manifest"], "the first one is answered by the challenge"
    assert len(tokens.requests) == 1


async def test_2_warm_tag(guarded):
    world, tokens = guarded
    await warm(world)
    tokens.clear()
    assert (await world.client.ask(TAG)).body == IMAGE.content
    assert world.asked() == []
    world.mirror.wall.now_s += 61
    assert (await world.client.ask(TAG)).body == IMAGE.content
    assert world.asked() == ["HEAD manifest"]
    assert len(tokens.requests) <= 1, "a token lives longer than a tag is fresh, or is renewed once"


async def test_3_warm_digest(world):
    await warm(world)
    world.mirror.wall.now_s += 10_000
    answer = await world.client.ask(BY_DIGEST)
    assert (answer.status, answer.body) == (200, IMAGE.content)
    assert world.asked() == []


async def test_4_warm_tag_if_none_match(world):
    await warm(world)
    answer = await world.client.ask(TAG, if_none_match=f'"{IMAGE.digest}"')
    assert (answer.status, answer.body) == (304, b"")
    assert answer["etag"] == f'"{IMAGE.digest}"'
    assert answer["docker-content-digest"] == str(IMAGE.digest)
    assert world.asked() == []


async def test_5_tag_without_accept(world):
    answer = await world.client.ask(TAG)
    assert (answer.status, answer["content-type"]) == (200, IMAGE.media_type)


async def test_6_cold_head_of_a_blob(world):
    answer = await world.client.head(BLOB_PATH)
    assert (answer.status, answer["content-length"]) == (200, str(SIZE))
    assert answer["docker-content-digest"] == str(BLOB)
    assert world.asked() == ["HEAD blob"]
    assert world.mirror.files("blobs") == []


async def test_7_cold_range(world):
    answer = await world.client.ask(BLOB_PATH, range="bytes=0-99")
    assert (answer.status, answer.body) == (206, CONTENT[:100])
    assert answer["content-range"] == f"bytes 0-99/{SIZE}"
    assert world.asked() == ["GET blob"]


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [("bytes=1000-", 1000, SIZE), ("bytes=-5", SIZE - 5, SIZE), ("bytes=250000-999999", 250_000, SIZE)],
)
async def test_7_other_cold_ranges(world, header, start, stop):
    answer = await world.client.ask(BLOB_PATH, range=header)
    assert (answer.status, answer.body) == (206, CONTENT[start:stop])
    assert world.asked() == ["GET blob"]


async def test_8_warm_range_and_one_that_cannot_be(world):
    await warm(world)
    answer = await world.client.ask(BLOB_PATH, range="bytes=0-99")
    assert (answer.status, answer.body) == (206, CONTENT[:100])
    assert answer["content-range"] == f"bytes 0-99/{SIZE}"
    refused = await world.client.ask(BLOB_PATH, range=f"bytes={SIZE}-")
    assert (refused.status, refused["content-range"]) == (416, f"bytes */{SIZE}")
    assert refused["content-length"] == str(len(refused.body))
    assert refused.complete
    assert code(refused)
    assert world.asked() == []


async def test_9_the_same_blob_in_a_second_repository(world):
    await warm(world)
    answer = await world.client.ask(f"/v2/team/other/blobs/{BLOB}")
    assert (answer.status, answer.body) == (200, CONTENT)
    assert world.asked() == ["HEAD blob"]


async def test_10_concurrent_cold_gets(guarded):
    world, tokens = guarded
    answers = await gatherResults([Deferred.fromCoroutine(world.client.ask(BLOB_PATH)) for _ in range(8)])
    assert [(answer.status, answer.body) for answer in answers] == [(200, CONTENT)] * 8
    assert world.registry.count(method="GET", kind="blob", status=200) == 1
    assert world.registry.count(method="HEAD") == 0
    assert len(tokens.requests) == 1


async def test_11_a_client_that_drops_in_the_middle(world):
    gate = Gate()
    world.registry.script(Match(kind="blob"), actions.hold(gate, at=200_000))
    request = Deferred.fromCoroutine(world.client.ask(BLOB_PATH, range="bytes=0-99"))
    assert (await request).status == 206
    agent = Deferred.fromCoroutine(world.client.ask(BLOB_PATH))
    await gate.arrived()
    agent.addErrback(lambda _: None)
    await world.client.close()
    agent.cancel()
    gate.open()
    again = await world.client.ask(BLOB_PATH)
    assert (again.status, again.body) == (200, CONTENT)
    assert world.asked() == ["GET blob"]


async def test_12_wrong_bytes(world):
    world.registry.script(Match(kind="blob"), actions.wrong_bytes(at=100))
    for _ in range(2):
        answer = await world.client.ask(BLOB_PATH)
        assert not (answer.status == 200 and answer.complete)
    await world.mirror.settled()
    assert world.mirror.files("blobs") == []
    assert world.mirror.files("fills") == []
    assert world.mirror.files("quarantine") == []


async def test_12_wrong_bytes_of_a_small_blob_are_an_error_answer(world):
    config = next(digest for digest, content in IMAGE.blobs.items() if len(content) < SIZE)
    world.registry.script(Match(kind="blob"), actions.wrong_bytes())
    answer = await world.client.ask(f"/v2/team/app/blobs/{config}")
    assert answer.status == 502
    assert code(answer)


FAILURES = [
    (401, 403, "DENIED"),
    (403, 403, "DENIED"),
    (429, 429, "TOOMANYREQUESTS"),
    (500, 502, None),
    (503, 502, None),
    ("down", 502, None),
]


async def break_upstream(world: World, failure: int | str) -> None:
    if failure == "down":
        await world.registry.refuse_connections()
    else:
        wait = 7 if failure == 429 else None
        world.registry.script(Match(), actions.status(failure, retry_after=wait))


@pytest.mark.parametrize(("failure", "status", "expected"), FAILURES)
async def test_13_an_uncached_tag_of_a_failing_upstream(world, failure, status, expected):
    await break_upstream(world, failure)
    answer = await world.client.ask(TAG)
    assert answer.status == status
    assert code(answer) == (expected or code(answer))
    assert world.asked() == ([] if failure == "down" else ["GET manifest"])
    assert "registry.test" in answer.body.decode()
    assert "www-authenticate" not in answer.headers
    if failure == 429:
        assert answer["retry-after"] == "7"


@pytest.mark.parametrize(("failure", "status", "expected"), FAILURES)
async def test_14_a_cached_tag_of_a_failing_upstream(world, failure, status, expected):
    await warm(world)
    world.mirror.wall.now_s += 61
    await break_upstream(world, failure)
    answer = await world.client.ask(TAG)
    if failure in (401, 403):
        assert (answer.status, code(answer)) == (403, "DENIED")
    else:
        assert (answer.status, answer.body) == (200, IMAGE.content)
        assert answer["warning"].startswith('299 - "stale: registry.test')
        assert answer["age"] == "61"
    assert world.asked() == ([] if failure == "down" else ["HEAD manifest"])


@pytest.mark.parametrize(("failure", "status", "expected"), FAILURES)
@pytest.mark.parametrize(("path", "kind"), [(BY_DIGEST, "manifest"), (BLOB_PATH, "blob")])
async def test_15_an_uncached_digest_of_a_failing_upstream(world, failure, status, expected, path, kind):
    await break_upstream(world, failure)
    answer = await world.client.ask(path)
    assert answer.status == status
    assert code(answer) == (expected or code(answer))
    assert world.asked() == ([] if failure == "down" else [f"GET {kind}"])


@pytest.mark.parametrize("head_status", [404, 401, 403, 405])
async def test_16_a_blob_whose_head_is_refused(world, head_status):
    world.registry.script(Match(method="HEAD", kind="blob"), actions.status(head_status))
    answer = await world.client.head(BLOB_PATH)
    assert (answer.status, answer["content-length"]) == (200, str(SIZE))
    assert world.asked() == ["HEAD blob", "GET blob"]
    world.registry.clear()
    assert (await world.client.ask(BLOB_PATH)).body == CONTENT
    assert world.asked() == ["GET blob"]


async def test_17_a_page_of_tags(world):
    for tag in ("a", "b", "c"):
        world.registry.set_tag("team/app", tag, IMAGE.digest)
    first = await world.client.ask("/v2/team/app/tags/list?n=1")
    assert json.loads(first.body) == {"name": "team/app", "tags": ["a"]}
    assert first["link"] == '</v2/team/app/tags/list?last=a&n=1>; rel="next"'
    assert world.asked() == ["GET tags"]
    rest = await world.client.ask("/v2/team/app/tags/list?n=10&last=a")
    assert json.loads(rest.body)["tags"] == ["b", "c", "latest"]
    assert "link" not in rest.headers
    assert world.asked() == ["GET tags"]


def blob_file(world: World) -> str:
    return str(world.mirror.root / "blobs" / "sha256" / BLOB.hex[:2] / BLOB.hex)


async def test_18_a_blob_file_edited_in_place(world):
    await warm(world)
    path = blob_file(world)
    os.chmod(path, 0o640)
    with open(path, "r+b") as file:
        file.seek(10)
        file.write(b"!")
    answer = await world.client.ask(BLOB_PATH)
    assert not (answer.status == 200 and answer.complete and answer.body != CONTENT)
    again = await world.client.ask(BLOB_PATH)
    assert (again.status, again.body, again.complete) == (200, CONTENT, True)
    assert world.asked() == ["GET blob"]
    await world.mirror.settled()
    with open(path, "rb") as file:
        assert file.read() == CONTENT


async def test_18_a_blob_file_that_was_only_touched(world):
    await warm(world)
    os.utime(blob_file(world))
    for _ in range(2):
        answer = await world.client.ask(BLOB_PATH)
        assert (answer.status, answer.body) == (200, CONTENT)
    assert world.asked() == []


@pytest.mark.parametrize("damage", ["truncated", "removed", "a folder", "longer"])
async def test_19_a_blob_file_damaged_under_the_running_process(world, damage):
    await warm(world)
    path = blob_file(world)
    if damage == "truncated":
        os.truncate(path, 1000)
    elif damage == "longer":
        os.truncate(path, SIZE + 1)
    else:
        os.unlink(path)
    if damage == "a folder":
        os.mkdir(path)
        answer = await world.client.ask(BLOB_PATH)
        assert (answer.status, answer.body) == (200, CONTENT)
        return
    answer = await world.client.ask(BLOB_PATH)
    assert (answer.status, answer.body, answer.complete) == (200, CONTENT, True)
    await world.mirror.settled()
    assert world.asked() == ["GET blob"]
    assert (await world.client.ask(BLOB_PATH)).body == CONTENT
    assert world.asked() == ["GET blob"]


async def test_22_a_start_with_the_upstream_down(world):
    await warm(world)
    await world.mirror.stop()
    await world.registry.refuse_connections()
    await world.mirror.start()
    answer = await world.client.ask(TAG)
    assert (answer.status, answer.body) == (200, IMAGE.content)
    assert (await world.client.ask(BLOB_PATH)).body == CONTENT
    missing = await world.client.ask(f"/v2/team/app/blobs/{Digest.of(b'elsewhere')}")
    assert missing.status == 502
    assert "registry.test" in missing.body.decode()


async def test_23_a_tag_that_moves_between_requests(world):
    other = make_index()
    world.registry.put_image("team/app", None, other)
    head = await world.client.head(TAG)
    world.registry.set_tag("team/app", "latest", other.digest)
    got = await world.client.ask(TAG)
    assert got["docker-content-digest"] == str(Digest.of(got.body))
    assert got["docker-content-digest"] == head["docker-content-digest"], "fresh: the same answer"
    world.mirror.wall.now_s += 61
    gate = Gate()
    world.registry.script(Match(method="GET", kind="manifest"), actions.hold(gate))
    world.registry.set_tag("team/app", "latest", IMAGE.digest)
    world.registry.set_tag("team/app", "latest", other.digest)
    asking = Deferred.fromCoroutine(world.client.ask(TAG))
    await gate.arrived()
    world.registry.set_tag("team/app", "latest", IMAGE.digest)
    gate.open()
    moved = await asking
    assert (moved["docker-content-digest"], moved.body) == (str(other.digest), other.content)


async def test_24_the_base_is_answered_here(guarded):
    world, tokens = guarded
    answer = await world.client.ask("/v2/")
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer["docker-distribution-api-version"] == "registry/2.0"
    assert world.asked() == []
    assert len(tokens.requests) == 0
