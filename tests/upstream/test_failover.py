"""Several endpoints: the next one is asked where one is in trouble, and its word alone refuses nothing."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import attrs
import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.task import Clock

from regproxy.errors import Denied, NotFound, UpstreamError, UpstreamFailed, UpstreamSlow, UpstreamTrouble
from regproxy.interfaces import RemoteTag
from regproxy.oci.digest import Digest
from regproxy.oci.tag import Tag
from regproxy.settings import UpstreamSettings
from regproxy.testing.contracts import outcome, read_to_end
from regproxy.testing.images import make_image
from regproxy.upstream.endpoints import RETRY_S, SLOW_S, Endpoint, Endpoints, plan
from regproxy.upstream.limits import LIMITS
from regproxy.upstream.registry import RemoteRegistry
from regproxy.upstream.streams import RemoteBody
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Asked, Server

BLOB = os.urandom(50_000)
DIGEST = Digest.of(BLOB)
PATH = f"/v2/library/nginx/blobs/{DIGEST}"
IMAGE, MOVED = make_image(), make_image(labels={"moved": "yes"})
TAG_PATH = "/v2/library/nginx/manifests/latest"
TAG = Tag("latest")


@attrs.frozen
class Pair:
    """Two endpoints and who asks them."""

    first: Server
    second: Server
    registry: RemoteRegistry


@pytest_twisted.async_yield_fixture
async def pair() -> AsyncIterator[Pair]:
    servers = [Server(reactor), Server(reactor)]
    urls = tuple(server.url for server in servers)
    limits = attrs.evolve(LIMITS, endpoint_s=0.3)
    registry = RemoteRegistry(UpstreamSettings("registry.test", urls, insecure=True), reactor, limits=limits)
    yield Pair(*servers, registry)
    await registry.close()
    for server in servers:
        await server.close()


async def blob_of(registry: RemoteRegistry) -> bytes:
    blob = await registry.blobs.open(REPOSITORY, DIGEST)
    return await read_to_end(blob.body())


async def test_the_first_is_asked_as_long_as_it_answers(pair: Pair) -> None:
    pair.first.on(PATH, lambda asked: asked.reply(200, BLOB))
    for _ in range(3):
        assert await blob_of(pair.registry) == BLOB
    assert (len(pair.first.asked), len(pair.second.asked)) == (3, 0)


@pytest.mark.parametrize("trouble", ["500", "503", "reset", "hangs", "down"])
async def test_trouble_of_the_first_costs_nobody_a_pull(pair: Pair, trouble: str) -> None:
    """And the next request does not wait for it again."""

    def answer(asked: Asked) -> None:
        if trouble.isdigit():
            asked.reply(int(trouble))
        elif trouble == "reset":
            asked.connection.transport.abortConnection()

    pair.first.on(PATH, answer)
    pair.second.on(PATH, lambda asked: asked.reply(200, BLOB))
    if trouble == "down":
        await pair.first.close()
    assert await blob_of(pair.registry) == BLOB
    before = len(pair.first.asked)
    assert await blob_of(pair.registry) == BLOB
    assert len(pair.first.asked) == before
    assert await pair.registry.answers()


async def test_when_all_are_in_trouble_the_first_ones_is_told(pair: Pair) -> None:
    pair.first.on(PATH, lambda asked: asked.reply(502))
    pair.second.on(PATH, lambda asked: asked.reply(503))
    error = await outcome(pair.registry.blobs.open(REPOSITORY, DIGEST))
    assert isinstance(error, UpstreamFailed)
    assert "502" in str(error)


@pytest.mark.parametrize(("status", "error"), [(404, NotFound), (403, Denied)])
async def test_the_first_may_refuse(pair: Pair, status: int, error: type[UpstreamError]) -> None:
    pair.first.on(PATH, lambda asked: asked.reply(status))
    pair.second.on(PATH, lambda asked: asked.reply(200, BLOB))
    assert isinstance(await outcome(pair.registry.blobs.open(REPOSITORY, DIGEST)), error)
    assert pair.second.asked == []


@pytest.mark.parametrize("status", [404, 403, 401, 429])
async def test_what_another_refuses_is_no_refusal(pair: Pair, status: int) -> None:
    """It may only be behind: nothing that is cached is given up for it."""
    pair.first.on(PATH, lambda asked: asked.reply(500))
    pair.second.on(PATH, lambda asked: asked.reply(status))
    error = await outcome(pair.registry.blobs.open(REPOSITORY, DIGEST))
    assert isinstance(error, UpstreamTrouble)
    assert "500" in str(error)


async def test_a_transfer_that_breaks_is_asked_on_from_the_next(pair: Pair) -> None:
    def cut(asked: Asked) -> None:
        asked.head(200, {"Content-Length": str(len(BLOB))})
        asked.write(BLOB[:1000])
        asked.connection.transport.loseConnection()

    pair.first.on(PATH, cut)
    span = f"bytes 1000-{len(BLOB) - 1}/{len(BLOB)}"
    pair.second.on(PATH, lambda asked: asked.reply(206, BLOB[1000:], {"Content-Range": span}))
    blob = await pair.registry.blobs.open(REPOSITORY, DIGEST)
    with pytest.raises(UpstreamTrouble):
        await read_to_end(blob.body())
    rest = await pair.registry.blobs.resume(REPOSITORY, DIGEST, 1000, len(BLOB))
    assert await read_to_end(rest) == BLOB[1000:]
    rest.close()
    assert len(pair.first.asked) == 1


async def test_a_slow_one_is_asked_after_the_others_for_blobs_alone(pair: Pair) -> None:
    """What has come is handed out; the rest comes from the next, which is asked first from then on."""

    def dawdle(asked: Asked) -> None:
        asked.head(200, {"Content-Length": str(len(BLOB))})
        asked.write(BLOB[:1000])

    pair.first.on(PATH, dawdle)
    pair.first.on("/v2/", lambda asked: asked.reply(200))
    span = f"bytes 1000-{len(BLOB) - 1}/{len(BLOB)}"
    pair.second.on(PATH, lambda asked: asked.reply(206, BLOB[1000:], {"Content-Range": span}))
    blob = await pair.registry.blobs.open(REPOSITORY, DIGEST)
    body = blob.body()
    assert isinstance(body, RemoteBody)
    while not body.came:
        await body.ready()
    assert body.elsewhere()
    body.give_up(UpstreamSlow("registry.test", "slow"), slow=True)
    assert body.read(2000) == BLOB[:1000]
    with pytest.raises(UpstreamSlow):
        body.read(1)
    body.close()
    rest = await pair.registry.blobs.resume(REPOSITORY, DIGEST, 1000, len(BLOB))
    assert not rest.elsewhere(), "the other one is known to be slow"
    assert await read_to_end(rest) == BLOB[1000:]
    rest.close()
    assert len(pair.first.asked) == 1
    assert await pair.registry.answers()
    assert len(pair.first.asked) == 2, "small answers come from the first as ever"


async def test_another_digest_of_a_cached_tag_is_believed_of_the_first_only(pair: Pair) -> None:
    def means(image: object) -> object:
        headers = {"Content-Type": image.media_type, "Docker-Content-Digest": str(image.digest)}
        return lambda asked: asked.reply(200, image.content, headers)

    known = RemoteTag(IMAGE.descriptor)
    pair.first.on(TAG_PATH, lambda asked: asked.reply(500))
    pair.second.on(TAG_PATH, means(IMAGE))
    assert await pair.registry.tags.stat(REPOSITORY, TAG, known) is None, "the same one is good news"
    pair.second.on(TAG_PATH, means(MOVED))
    assert isinstance(await outcome(pair.registry.tags.stat(REPOSITORY, TAG, known)), UpstreamTrouble)
    fresh = await pair.registry.tags.stat(REPOSITORY, TAG, None)
    assert fresh.descriptor.digest == MOVED.digest, "of an unknown tag any word is better than none"


async def test_a_first_that_is_back_is_asked_first_again(pair: Pair) -> None:
    pair.first.on(PATH, lambda asked: asked.reply(500))
    pair.second.on(PATH, lambda asked: asked.reply(200, BLOB))
    assert await blob_of(pair.registry) == BLOB
    pair.first.on(PATH, lambda asked: asked.reply(200, BLOB))
    for endpoint in pair.registry._endpoints.order():
        if endpoint.failed_s is not None:
            endpoint.failed_s -= RETRY_S
    before = len(pair.second.asked)
    assert await blob_of(pair.registry) == BLOB
    assert len(pair.second.asked) == before


failures = st.lists(st.none() | st.floats(0, 100), min_size=1, max_size=5)


@given(failures, st.floats(100, 130))
def test_the_order(failed, now_s):
    endpoints = [Endpoint(f"https://{n}", n > 0, at) for n, at in enumerate(failed)]
    found = plan(endpoints, now_s)
    assert sorted(found, key=endpoints.index) == endpoints, "all of them, each once"
    good = [each.failed_s is None or now_s - each.failed_s >= RETRY_S for each in found]
    assert good == sorted(good, reverse=True)
    written = [endpoints.index(each) for each, is_good in zip(found, good, strict=True) if is_good]
    assert written == sorted(written)
    longest_ago = [each.failed_s for each, is_good in zip(found, good, strict=True) if not is_good]
    assert longest_ago == sorted(longest_ago)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=5))
def test_slow_ones_come_last_of_the_good_for_blobs(found):
    endpoints = [
        Endpoint(f"https://{n}", n > 0, 1000.0 if failed else None, 1000.0 if slow else None)
        for n, (failed, slow) in enumerate(found)
    ]
    now_s = 1000.0 + RETRY_S / 2
    by_speed = plan(endpoints, now_s, by_speed=True)
    assert [(each.failed_s, each.slow_s) for each in by_speed] == sorted(
        ((each.failed_s, each.slow_s) for each in endpoints),
        key=lambda pair: (pair[0] is not None, pair[0] is None and pair[1] is not None),
    )
    as_written = plan(endpoints, now_s)
    assert as_written == sorted(endpoints, key=lambda each: each.failed_s is not None)
    assert plan(endpoints, 1000.0 + SLOW_S, by_speed=True) == endpoints, "only for a while"


def test_an_answer_makes_good():
    clock = Clock()
    endpoints = Endpoints(["https://a/", "https://b"], clock)
    a, b = endpoints.order()
    assert (endpoints.first, a.later, b.later) == ("https://a", False, True)
    endpoints.failed(a)
    assert endpoints.order() == [b, a]
    endpoints.answered(a)
    assert endpoints.order() == [a, b]
    endpoints.failed(a)
    clock.advance(RETRY_S)
    assert endpoints.order() == [a, b]
