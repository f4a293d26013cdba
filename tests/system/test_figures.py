"""The figures of a real daemon, beside what its clients received and what its upstreams recorded."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import attrs
import pytest
import pytest_twisted
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater

from regproxy.testing import actions
from regproxy.testing.daemon import Daemon
from regproxy.testing.docker_registry import free_port
from regproxy.testing.images import Image, sized_image
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.reply import Gate
from regproxy.testing.rules import Match
from regproxy.testing.tokens import EVERYTHING, TokenGuard, TokenServer
from regproxy.upstream.retrying import RETRIES
from tests.system.client import Answer, Client

pytestmark = pytest.mark.system

LIMIT_S = 100.0
LAYER = 700_000
IMAGE = sized_image(LAYER)
MOVED = sized_image(10_000, seed=7)
LARGE = 32 << 20
OUTCOMES = ("unchanged", "changed", "gone", "refused", "trouble")


def layer_of(image: Image, size: int) -> str:
    return str(next(digest for digest, content in image.blobs.items() if len(content) == size))


@attrs.define
class Counting:
    """One daemon, an open upstream (``calm``: tags are believed for an hour) and one behind tokens
    (``eager``: each request by tag asks). Keeps what its clients were given."""

    calm: ScriptableRegistry
    eager: ScriptableRegistry
    tokens: TokenServer
    daemon: Daemon
    client: Client
    admin: Client
    asked: Counter[str] = attrs.field(factory=Counter)
    received: Counter[str] = attrs.field(factory=Counter)

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        answer = await self.client.ask(f"/v2/{path}", method, **headers)
        self.note(path, len(answer.body) if answer.status < 400 else 0)
        return answer

    def note(self, path: str, size: int) -> None:
        kind = {"manifests": "manifest", "blobs": "blob"}[path.split("/")[-2]]
        self.asked[kind] += 1
        self.received[kind] += size

    async def figures(self) -> Figures:
        """What is counted once nothing is in flight."""
        for _ in range(500):
            answer = await self.admin.ask("/metrics")
            assert answer.status == 200
            found = Figures.read(answer.body.decode())
            if not found["regproxy_requests_in_flight"] and not found["regproxy_fills_in_flight"]:
                return found
            await deferLater(reactor, 0.01)
        raise AssertionError("something stays in flight")

    def recorded(self) -> Counter[tuple[str, str, str, str]]:
        """What reached upstreams and token server: upstream, method, kind, status."""
        seen: Counter[tuple[str, str, str, str]] = Counter()
        for name, registry in (("calm", self.calm), ("eager", self.eager)):
            for record in registry.requests:
                status = "none" if record.status in (None, 0) else str(record.status)
                seen[name, record.method, record.kind, status] += 1
        for record in self.tokens.requests:
            seen["eager", record.method, "token", str(record.status)] += 1
        return seen

    def sent(self, kind: str) -> int:
        """Bytes of bodies that upstreams sent with a 200."""
        return sum(
            record.sent_bytes
            for registry in (self.calm, self.eager)
            for record in registry.requests
            if record.kind == kind and record.status == 200
        )

    async def check(self) -> Figures:
        """Every figure that somebody else has too."""
        found = await self.figures()
        asked = {
            labels: count
            for labels, count in found.family(
                "regproxy_upstream_requests_total", "upstream", "method", "kind", "status"
            )
            if count and labels[2] != "base"
        }
        assert asked == {labels: count for labels, count in self.recorded().items() if labels[2] != "base"}
        for kind in ("blob", "manifest"):
            of = {"type": kind}
            assert found("registry_proxy_requests_total", **of) == self.asked[kind]
            assert found("registry_proxy_pushed_bytes_total", **of) == self.received[kind]
            assert found("registry_proxy_pulled_bytes_total", **of) == self.sent(kind)
            received = found.family("regproxy_upstream_received_bytes_total", "kind")
            assert sum(count for (each,), count in received if each == kind) == self.sent(kind)
        return found


class Figures:
    """A page of them."""

    def __init__(self, samples: list[tuple[str, dict[str, str], float]]) -> None:
        self._samples = samples

    @classmethod
    def read(cls, text: str) -> Figures:
        families = text_string_to_metric_families(text)
        return cls([(each.name, each.labels, each.value) for family in families for each in family.samples])

    def __repr__(self) -> str:
        return "\n".join(f"{name} {labels} {value}" for name, labels, value in self._samples if value)

    def family(self, name: str, *labels: str) -> list[tuple[tuple[str, ...], float]]:
        return [
            (tuple(found[label] for label in labels), value)
            for each, found, value in self._samples
            if each == name
        ]

    def __getitem__(self, name: str) -> float:
        return self(name)

    def __call__(self, name: str, **labels: str) -> float:
        (value,) = [value for each, found, value in self._samples if each == name and found == labels]
        return value

    def hows(self, kind: str) -> dict[str, float]:
        """What is not zero."""
        of = self.family("regproxy_answers_total", "type", "how")
        return {how: count for (each, how), count in of if each == kind and count}

    def hits_and_misses(self, kind: str) -> tuple[float, float]:
        return (
            self("registry_proxy_hits_total", type=kind),
            self("registry_proxy_misses_total", type=kind),
        )


@pytest_twisted.async_yield_fixture
async def counting(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Counting]:
    """``@pytest.mark.parametrize("counting", [{...}], indirect=True)`` adds settings."""
    tokens = TokenServer(reactor, anonymous=EVERYTHING)
    await tokens.start()
    calm, eager = ScriptableRegistry(reactor), ScriptableRegistry(reactor, guard=TokenGuard(tokens))
    for registry in (calm, eager):
        await registry.start()
        registry.put_image("team/app", "latest", IMAGE)
    port, admin = free_port(), free_port()
    common = {"insecure": True, "public": True, "prefix": True}
    settings = {
        "fill": {"ahead": 0},  # so that each request is told how it was answered by itself
        "listen": [f"tcp:{port}:interface=127.0.0.1"],
        "admin": [f"tcp:{admin}:interface=127.0.0.1"],
        "storage": {"root": str(tmp_path / "content")},
        "log": {"access": "off"},
        "upstreams": {
            "calm": {"endpoints": [calm.url], "tags": [{"fresh": "1h"}], **common},
            "eager": {
                "endpoints": [eager.url],
                "tags": [{"fresh": "0s", "revalidate_wait": "5s"}],
                "token_realms": [tokens.url],
                **common,
            },
        },
    }
    path = tmp_path / "regproxy.yml"
    path.write_text(json.dumps(settings | getattr(request, "param", {})))
    daemon = Daemon(reactor, path, port, LIMIT_S)
    await daemon.start()
    made = Counting(
        calm, eager, tokens, daemon, Client(reactor, daemon.url), Client(reactor, f"http://127.0.0.1:{admin}")
    )
    yield made
    for client in (made.client, made.admin):
        await client.close()
    await daemon.stop()
    for registry in (calm, eager):
        await registry.stop()
    await tokens.stop()


async def pull(counting: Counting, upstream: str) -> None:
    """As a client does: HEAD and GET of the tag, GET by digest, all blobs."""
    name = f"{upstream}/team/app"
    for method in ("HEAD", "GET"):
        assert (await counting.ask(f"{name}/manifests/latest", method)).status == 200
    assert (await counting.ask(f"{name}/manifests/{IMAGE.digest}")).status == 200
    for digest in IMAGE.blobs:
        assert (await counting.ask(f"{name}/blobs/{digest}")).status == 200


async def test_cold_then_warm(counting: Counting) -> None:
    await pull(counting, "calm")
    cold = await counting.check()
    assert cold.hows("manifest") == {"miss": 2, "hit": 1}, "HEAD, GET by its digest, then nothing"
    assert cold.hows("blob") == {"miss": len(IMAGE.blobs)}
    assert cold.hits_and_misses("blob") == (0, len(IMAGE.blobs))
    assert cold("regproxy_disk_bytes") == sum(map(len, IMAGE.blobs.values())) + len(IMAGE.manifest.content)
    assert cold("regproxy_disk_blobs") == len(IMAGE.blobs) + 1
    entries = {kind: cold("regproxy_disk_entries", kind=kind) for kind in ("blob", "manifest", "tag")}
    assert entries == {"blob": len(IMAGE.blobs), "manifest": 1, "tag": 1}

    before = counting.recorded()
    await pull(counting, "calm")
    warm = await counting.check()
    assert counting.recorded() == before
    assert warm.hits_and_misses("blob") == (len(IMAGE.blobs), len(IMAGE.blobs))
    assert warm.hows("manifest") == {"miss": 2, "hit": 4}
    pushed, pulled = (
        warm(f"registry_proxy_{word}_bytes_total", type="blob") for word in ("pushed", "pulled")
    )
    assert pushed == 2 * pulled == 2 * sum(map(len, IMAGE.blobs.values()))
    assert warm("regproxy_upstream_request_seconds_count", upstream="calm", kind="blob") == len(IMAGE.blobs)
    assert warm("regproxy_ready") == 1
    assert 0 <= warm("regproxy_reactor_lag_seconds") < 10
    await until(counting, lambda found: found("regproxy_reactor_late_seconds_count") >= 1)
    assert warm("regproxy_upstream_answers", upstream="calm") == 1
    assert math.isnan(warm("regproxy_upstream_answers", upstream="eager"))


async def test_heads_count_no_bytes_and_errors_neither_hits_nor_misses(counting: Counting) -> None:
    layer = layer_of(IMAGE, LAYER)
    assert (await counting.ask(f"calm/team/app/blobs/{layer}", "HEAD"))["content-length"] == str(LAYER)
    found = await counting.check()
    assert found.hits_and_misses("blob") == (0, 1)
    assert found("registry_proxy_pushed_bytes_total", type="blob") == 0
    assert (await counting.ask(f"calm/team/app/blobs/{layer}")).status == 200
    await counting.check()  # it is on disk now
    assert (await counting.ask(f"calm/team/app/blobs/{layer}", "HEAD")).status == 200
    partial = await counting.ask(f"calm/team/app/blobs/{layer}", Range="bytes=100-199")
    assert (partial.status, len(partial.body)) == (206, 100)
    missing = await counting.ask(f"calm/team/app/blobs/sha256:{'0' * 64}")
    assert missing.status == 404
    found = await counting.check()
    assert found.hits_and_misses("blob") == (2, 2)
    assert found.hows("blob") == {"hit": 2, "miss": 2, "none": 1}
    statuses = dict(found.family("regproxy_responses_total", "type", "method", "status"))
    assert statuses["blob", "GET", "206"] == 1
    assert statuses["blob", "GET", "404"] == 1
    assert statuses["blob", "HEAD", "200"] == 2


async def test_one_transfer_for_many(counting: Counting) -> None:
    layer = layer_of(IMAGE, LAYER)
    gate = Gate()
    counting.calm.script(Match(kind="blob"), actions.hold(gate, at=100_000))
    asking = [Deferred.fromCoroutine(counting.ask(f"calm/team/app/blobs/{layer}")) for _ in range(10)]
    await until(counting, lambda found: found("regproxy_readers_in_flight") == 10)
    gate.open()
    assert {len(answer.body) for answer in await gatherResults(asking)} == {LAYER}
    found = await counting.check()
    assert found.hows("blob") == {"miss": 1, "joined": 9}
    assert found.hits_and_misses("blob") == (9, 1)
    assert found("regproxy_fill_joins_total") == 9
    assert found("regproxy_readers_in_flight") == found("regproxy_spool_bytes") == 0


async def until(counting: Counting, what: Callable[[Figures], object]) -> Figures:
    """The figures as soon as ``what`` is true of them."""
    for _ in range(1500):
        found = Figures.read((await counting.admin.ask("/metrics")).body.decode())
        if what(found):
            return found
        await deferLater(reactor, 0.01)
    raise AssertionError(f"it does not come: {found}")


class Reader(Protocol):
    """Takes bytes of an answer until there are ``enough``, then no more; ``over`` fires at the end."""

    def __init__(self, enough: int) -> None:
        self.got = b""
        self.here: Deferred[None] = Deferred()
        self.over: Deferred[None] = Deferred()
        self._enough = enough

    def dataReceived(self, data: bytes) -> None:
        self.got += data
        if len(self.body) >= self._enough and not self.here.called:
            self.here.callback(None)

    def connectionLost(self, reason: object = None) -> None:
        self.over.callback(None)

    @property
    def body(self) -> bytes:
        return self.got.partition(b"\r\n\r\n")[2]


async def reading(counting: Counting, path: str, enough: int) -> Reader:
    host, port = counting.daemon.netloc.split(":")
    reader = Reader(enough)
    await connectProtocol(TCP4ClientEndpoint(reactor, host, int(port)), reader)
    reader.transport.write(f"GET /v2/{path} HTTP/1.1\r\nHost: mirror\r\n\r\n".encode())
    await reader.here
    return reader


async def test_a_cut_answer_counts_what_went_out(counting: Counting) -> None:
    """The upstream breaks off: what was read until then was sent, and was received."""
    layer, there = layer_of(IMAGE, LAYER), 300_000
    gate = Gate()
    counting.calm.script(Match(kind="blob", ranged=True), actions.status(404))
    counting.calm.script(Match(kind="blob", ranged=False), actions.cut(there), actions.hold(gate, at=there))
    path = f"calm/team/app/blobs/{layer}"
    reader = await reading(counting, path, there)
    gate.open()
    await reader.over
    assert len(reader.body) == there
    counting.note(path, there)
    found = await counting.check()
    assert found("registry_proxy_pulled_bytes_total", type="blob") == there
    assert found("regproxy_cut_answers_total", type="blob") == 1


async def test_a_client_that_leaves_counts_what_it_may_have_got(counting: Counting) -> None:
    """Not the rest; what lay in the sockets between, nobody can tell."""
    image = sized_image(LARGE)
    counting.calm.put_image("team/large", "latest", image)
    path = f"calm/team/large/blobs/{layer_of(image, LARGE)}"
    assert len((await counting.ask(path)).body) == LARGE
    before = (await counting.check())("registry_proxy_pushed_bytes_total", type="blob")
    reader = await reading(counting, path, 1)
    reader.transport.pauseProducing()
    await deferLater(reactor, 0.2)
    reader.transport.abortConnection()
    await reader.over
    found = await counting.figures()
    pushed = found("registry_proxy_pushed_bytes_total", type="blob") - before
    assert len(reader.body) <= pushed < LARGE * 3 / 4
    assert found("regproxy_cut_answers_total", type="blob") == 1


async def test_revalidations_and_tokens(counting: Counting) -> None:
    tag = "eager/team/app/manifests/latest"

    async def outcomes() -> dict[str, float]:
        found = await counting.check()
        of = {
            each: found("regproxy_revalidations_total", upstream="eager", outcome=each) for each in OUTCOMES
        }
        return {each: count for each, count in of.items() if count}

    assert (await counting.ask(tag)).status == 200
    assert await outcomes() == {}
    for _ in range(2):
        assert (await counting.ask(tag)).status == 200
    assert await outcomes() == {"unchanged": 2}
    counting.eager.put_image("team/app", "latest", MOVED)
    assert (await counting.ask(tag)).body == MOVED.manifest.content
    assert await outcomes() == {"unchanged": 2, "changed": 1}
    rule = counting.eager.script(Match(kind="manifest"), actions.status(503))
    stale = await counting.ask(tag)
    assert (stale.status, stale.body) == (200, MOVED.manifest.content)
    assert await outcomes() == {"unchanged": 2, "changed": 1, "trouble": 1}
    counting.eager.unscript(rule)
    counting.eager.script(Match(kind="manifest"), actions.status(404))
    assert (await counting.ask(tag)).status == 404
    assert await outcomes() == {"unchanged": 2, "changed": 1, "trouble": 1, "gone": 1}
    found = await counting.check()
    assert found.hows("manifest") == {"miss": 2, "revalidated": 2, "stale": 1, "none": 1}
    assert found("regproxy_stale_served_total", upstream="eager") == 1
    assert found("regproxy_stale_served_total", upstream="calm") == 0
    assert found("regproxy_tokens_total", upstream="eager", outcome="issued") == len(counting.tokens.requests)
    assert found("regproxy_tokens_total", upstream="eager", outcome="reused") > 0
    assert dict(found.family("regproxy_tag_answers_total", "upstream", "rule", "how")) == {
        ("eager", "*", "miss"): 2,
        ("eager", "*", "revalidated"): 2,
        ("eager", "*", "stale"): 1,
    }


async def test_ready_as_long_as_it_serves(counting: Counting) -> None:
    for _ in range(500):  # it is announced before it has looked at its credentials
        answer = await counting.admin.ask("/readyz")
        if answer.status == 200:
            break
        await deferLater(reactor, 0.01)
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ready"})
    for registry in (counting.calm, counting.eager):
        await registry.refuse_connections()
    for upstream in ("calm", "eager"):
        assert (await counting.ask(f"{upstream}/team/app/manifests/latest")).status == 502
    answer = await counting.admin.ask("/readyz")
    assert answer.status == 200
    assert json.loads(answer.body)["warnings"] == ["no upstream answers: only what is on disk is served"]
    assert (await counting.admin.head("/readyz")).status == 200
    assert (await counting.admin.head("/metrics")).body == b""
    found = await counting.figures()
    assert found("regproxy_upstream_answers", upstream="calm") == 0
    assert (
        found(
            "regproxy_upstream_requests_total", upstream="calm", method="GET", kind="manifest", status="none"
        )
        == 1 + RETRIES
    )


@pytest.mark.parametrize("counting", [{"ttl": "2s"}], indirect=True)
async def test_what_expires_is_counted_with_the_bytes_that_go(counting: Counting) -> None:
    await pull(counting, "calm")
    total = sum(map(len, IMAGE.blobs.values())) + len(IMAGE.manifest.content)
    kinds = ("blob", "manifest", "tag")

    def expired(found: Figures) -> list[float]:
        return [found("regproxy_expired_total", kind=kind) for kind in kinds]

    found = await until(counting, lambda found: expired(found) == [len(IMAGE.blobs), 1, 1])
    assert [found("regproxy_disk_entries", kind=kind) for kind in kinds] == [0, 0, 0]
    assert found("regproxy_removed_bytes_total") == total
    assert found("regproxy_removed_blobs_total") == len(IMAGE.blobs) + 1
    assert found("regproxy_disk_blobs") == found("regproxy_disk_bytes") == 0
