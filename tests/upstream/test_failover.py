"""Several endpoints: the next one is asked where one is in trouble, and its word alone refuses nothing."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from functools import partial
from types import SimpleNamespace
from urllib.parse import urlsplit

import attrs
import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.task import Clock

from regproxy.errors import (
    Denied,
    NotFound,
    Throttled,
    UpstreamDown,
    UpstreamError,
    UpstreamFailed,
    UpstreamSlow,
    UpstreamTrouble,
    UpstreamUnreachable,
)
from regproxy.expiry.pulse import Beat, Pulse
from regproxy.interfaces import Circuit, RemoteTag, Standing
from regproxy.oci.digest import Digest
from regproxy.oci.tag import Tag
from regproxy.settings import UpstreamSettings
from regproxy.testing.contracts import outcome, read_to_end
from regproxy.testing.images import make_image
from regproxy.upstream.circuit import FAILURES, STEP_BACK_S, CircuitState
from regproxy.upstream.endpoints import SLOW_S, Endpoint, Endpoints, best, plan
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
    pulse: Pulse
    """What was heard of the upstream, by ``clock``."""
    clock: Clock

    @property
    def beat(self) -> Beat:
        """Its trouble left out."""
        return attrs.evolve(self.pulse.beat("registry.test"), trouble=None, trouble_ago_s=None)

    @property
    def alive(self) -> bool | None:
        return self.pulse.alive("registry.test")


@pytest_twisted.async_yield_fixture
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """Its parameters are limits."""
    servers = [Server(reactor), Server(reactor)]
    urls = tuple(server.url for server in servers)
    limits = attrs.evolve(LIMITS, **{"endpoint_s": 1.0, **getattr(request, "param", {})})
    clock = Clock()
    pulse = Pulse(clock.seconds)
    told = partial(pulse.heard, "registry.test")
    settings = UpstreamSettings("registry.test", urls, insecure=True)
    registry = RemoteRegistry(settings, reactor, limits=limits, heard=told)
    pulse.watch("registry.test", registry.answers, lambda: registry.standing().circuit)
    yield Pair(*servers, registry, pulse, clock)
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
    breaker = next(iter(pair.registry._endpoints)).breaker
    breaker._state = attrs.evolve(breaker.state, failed_s=reactor.seconds() - STEP_BACK_S)
    before = len(pair.second.asked)
    assert await blob_of(pair.registry) == BLOB
    assert len(pair.second.asked) == before


async def first_down(pair: Pair) -> list[Endpoint]:
    """Both endpoints, when the circuit of the first is open; the second one answers."""
    await pair.first.close()
    pair.second.on(PATH, lambda asked: asked.reply(200, BLOB))
    endpoints = list(pair.registry._endpoints)
    breaker = endpoints[0].breaker
    for _ in range(FAILURES):
        breaker._state = attrs.evolve(breaker.state, failed_s=None)
        assert await blob_of(pair.registry) == BLOB
    assert breaker.state.circuit is Circuit.OPEN
    return endpoints


async def test_a_first_whose_circuit_is_open_is_not_asked_and_probed(pair: Pair) -> None:
    """Only the probe finds that it is back, and nobody waits for that."""
    _, second = await first_down(pair)
    assert pair.registry.standing() == Standing(), "the second one is there"
    (first_host, away), (second_host, there) = pair.registry.endpoints()
    assert (first_host, second_host) == (urlsplit(pair.first.url).netloc, urlsplit(pair.second.url).netloc)
    assert (away.circuit, there) == (Circuit.OPEN, Standing())
    assert "refuses connections" in away.reason
    assert pair.registry._endpoints.order() == [second]
    pair.registry.set_offline(True)
    assert [standing.circuit for _, standing in pair.registry.endpoints()] == [Circuit.OFFLINE] * 2


async def test_an_upstream_answers_by_the_second_however_often_the_first_is_probed(pair: Pair) -> None:
    """Since the first answer on, and so what is cached of it may expire; down is it with its last one."""
    first, second = await first_down(pair)
    for passed_s in (100.0, 200.0):
        pair.clock.advance(100)
        assert isinstance(await outcome(first.breaker._probe()), UpstreamUnreachable)
        assert (pair.beat, pair.alive) == (Beat(True, passed_s), True)
    await pair.second.close()
    assert isinstance(await outcome(pair.registry.blobs.open(REPOSITORY, DIGEST)), UpstreamUnreachable)
    assert (pair.beat, pair.alive) == (Beat(False, 0.0), None)
    second.breaker._state = attrs.evolve(second.breaker.state, circuit=Circuit.OPEN)
    pair.clock.advance(50)
    assert isinstance(await outcome(first.breaker._probe()), UpstreamUnreachable)
    assert (pair.beat, pair.alive) == (Beat(False, 50.0), False)
    assert pair.pulse.beat("registry.test").trouble_ago_s == 0.0, "as no other is asked it speaks for all"


@pytest.mark.parametrize("pair", [{"probe_s": 0.1, "first_byte_s": 5.0}], indirect=True)
async def test_whether_it_answers_is_asked_of_the_second_where_the_first_is_silent(pair: Pair) -> None:
    pair.first.on("/v2/", lambda asked: None)
    pair.second.on("/v2/", lambda asked: asked.reply(401))
    assert await pair.registry.answers()
    assert (pair.beat, pair.alive) == (Beat(True, 0.0), True)


@pytest.mark.parametrize("pair", [{"doubt_s": 0.1, "probe_s": 0.1, "endpoint_s": 5.0}], indirect=True)
@pytest.mark.parametrize("status", [200, 503])
async def test_a_first_that_is_given_up_says_nothing_of_the_second(pair: Pair, status: int) -> None:
    """It was silent, and its circuit opened meanwhile: what the second one says is told, and is heard."""
    for path in ("/v2/", PATH):
        pair.first.on(path, lambda asked: None)
    pair.second.on(PATH, lambda asked: asked.reply(status, BLOB))
    found = await outcome(pair.registry.blobs.stat(REPOSITORY, DIGEST))
    first, second = pair.registry._endpoints
    assert (first.breaker.state.closed, second.breaker.state.closed) == (False, True)
    if status == 200:
        assert (found, pair.beat) == (len(BLOB), Beat(True, 0.0))
        return
    assert type(found) is UpstreamFailed
    assert "503" in found.reason
    assert pair.beat == Beat(False, 0.0)


@given(st.lists(st.sampled_from(Circuit), min_size=1, max_size=5), st.data())
def test_who_is_alone_speaks_for_the_upstream(circuits: list[Circuit], data: st.DataObject) -> None:
    breakers = [SimpleNamespace(state=CircuitState(circuit)) for circuit in circuits]
    urls = [f"https://{number}" for number in range(len(circuits))]
    clock = Clock()
    endpoints = Endpoints("a", urls, lambda n, _: breakers[n], clock, clock.seconds)
    number = data.draw(st.integers(0, len(circuits) - 1))
    others = circuits[:number] + circuits[number + 1 :]
    assert endpoints.alone(number) == (Circuit.CLOSED not in others)


async def test_nobody_waits_when_all_circuits_are_open(pair: Pair) -> None:
    for server in (pair.first, pair.second):
        await server.close()
    for _ in range(FAILURES):
        error = await outcome(pair.registry.blobs.open(REPOSITORY, DIGEST))
    assert isinstance(error, UpstreamUnreachable)
    down = await outcome(pair.registry.blobs.open(REPOSITORY, DIGEST))
    assert isinstance(down, UpstreamDown)
    assert "refuses connections" in str(down)
    assert down.retry_after_s == 1
    assert down.since_s == pytest.approx(reactor.seconds(), abs=30)
    assert not pair.registry.standing().asked


async def test_a_list_whose_first_page_came_from_one_that_is_down_now(pair: Pair) -> None:
    """Its other pages are nobody else's."""
    tags = "/v2/library/nginx/tags/list"
    pair.first.on(tags, lambda asked: asked.reply(500))

    def page(asked: Asked) -> None:
        second = list(pair.registry._endpoints)[1].breaker
        second._state = attrs.evolve(second.state, circuit=Circuit.OPEN)
        link = {"Link": f'<{pair.second.url}{tags}?last=a>; rel="next"', "Content-Type": "application/json"}
        asked.reply(200, b'{"tags": ["a"]}', link)

    pair.second.on(tags, page)
    error = await outcome(pair.registry.tags.list(REPOSITORY))
    assert isinstance(error, UpstreamTrouble)


@pytest.mark.parametrize("status", [401, 403, 404, 429])
async def test_answers_open_nothing(pair: Pair, status: int) -> None:
    pair.first.on(PATH, lambda asked: asked.reply(status))
    pair.second.on(PATH, lambda asked: asked.reply(404))
    for _ in range(2 * FAILURES):
        assert await outcome(pair.registry.blobs.open(REPOSITORY, DIGEST)) is not None
    assert pair.registry.standing() == Standing()
    first, _ = pair.registry._endpoints
    assert first.breaker.state.failures == 0


async def test_a_first_that_allows_no_more_does_not_block_the_second(pair: Pair) -> None:
    """Nor is it asked again before it said so; where the second has nothing either, its 429 is told."""
    pair.first.on(PATH, lambda asked: asked.reply(429, b"", {"Retry-After": "60"}))
    pair.second.on(PATH, lambda asked: asked.reply(200, BLOB))
    assert await blob_of(pair.registry) == BLOB
    assert await blob_of(pair.registry) == BLOB
    assert (len(pair.first.asked), len(pair.second.asked)) == (1, 2)
    pair.second.on(PATH, lambda asked: asked.reply(404))
    error = await outcome(pair.registry.blobs.open(REPOSITORY, DIGEST))
    assert isinstance(error, Throttled)
    assert 50 < error.retry_after_s <= 66
    assert len(pair.first.asked) == 1


states = st.builds(
    CircuitState,
    circuit=st.sampled_from([Circuit.CLOSED, Circuit.CLOSED, Circuit.OPEN, Circuit.HALF_OPEN]),
    failed_s=st.none() | st.floats(0, 100),
    first_s=st.none() | st.floats(0, 100),
    due_s=st.none() | st.floats(0, 100),
)


@given(st.lists(states, min_size=1, max_size=5), st.floats(100, 130))
def test_the_order(found: list[CircuitState], now_s: float) -> None:
    order = plan(found, now_s)
    assert sorted(order) == [n for n, state in enumerate(found) if state.closed], "each that is asked, once"
    good = [not found[n].stepped_back(now_s) for n in order]
    assert good == sorted(good, reverse=True)
    written = [n for n in order if not found[n].stepped_back(now_s)]
    assert written == sorted(written)
    longest_ago = [found[n].failed_s for n in order if found[n].stepped_back(now_s)]
    assert longest_ago == sorted(longest_ago)


@given(st.lists(states, min_size=1, max_size=5), st.floats(0, 130), st.sets(st.integers(0, 4)))
def test_slow_ones_come_last_of_the_good_for_blobs(
    found: list[CircuitState], now_s: float, slow: set[int]
) -> None:
    as_written, by_speed = plan(found, now_s), plan(found, now_s, slow)
    good = [number for number in as_written if not found[number].stepped_back(now_s)]
    assert by_speed[: len(good)] == sorted(good, key=lambda number: (number in slow, number))
    assert by_speed[len(good) :] == as_written[len(good) :], "who has failed comes behind them all the same"


def test_a_slow_one_is_asked_after_the_others_for_a_while():
    clock = Clock()
    breakers = [SimpleNamespace(state=CircuitState()) for _ in range(2)]
    endpoints = Endpoints("a", ["https://a/", "https://b"], lambda n, _: breakers[n], clock, clock.seconds)
    a, b = endpoints.order()
    assert endpoints.elsewhere(a)
    endpoints.slow(a)
    assert endpoints.order(by_speed=True) == [b, a]
    assert endpoints.order() == [a, b], "what is short is asked of the first"
    assert not endpoints.elsewhere(b), "the other is known to be slow"
    clock.advance(SLOW_S)
    assert endpoints.order(by_speed=True) == [a, b]
    breakers[1].state = CircuitState(Circuit.OPEN)
    assert not endpoints.elsewhere(a), "the other is not asked"


@given(st.lists(states, min_size=1, max_size=5), st.floats(0, 130))
def test_the_standing_of_all(found: list[CircuitState], now_s: float) -> None:
    stands = best(found, now_s, 1000.0)
    assert not stands.asked
    assert stands.retry_s is not None
    assert stands.retry_s >= 0
    firsts = [state.first_s for state in found if state.first_s is not None]
    assert (stands.since_s is None) == (not firsts)
    assert stands.since_s is None or stands.since_s == max(firsts) + 1000.0
