"""What people are told with an answer: warnings, age, the access line, and the trace for operators."""

from __future__ import annotations

from ipaddress import ip_network

import attrs
import pytest

from regproxy.errors import UpstreamFailed
from regproxy.interfaces import How, TagAnswer, TagList
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag
from regproxy.settings import LOCAL_NETWORKS
from regproxy.web.trace import MAX_TRACE_LENGTH, Tracing, trace_value
from tests.web.doubles import MANIFEST, REPOSITORY, Front, MemoryRegistry, filled

BY_TAG = "/v2/library/nginx/manifests/latest"
BY_DIGEST = f"/v2/library/nginx/manifests/{MANIFEST.digest}"
LIST = "/v2/library/nginx/tags/list"
LATEST = Tag("latest")
ASKS = "X-Regproxy-Trace: 1"
STALE = "stale: docker.io: it answered 503; last confirmed 2026-11-24T09:00:00Z"


def stale() -> MemoryRegistry:
    registry = filled(warning=STALE, age_s=61.9)
    registry.tag_map[REPOSITORY, LATEST] = attrs.evolve(registry.tag_map[REPOSITORY, LATEST], how=How.STALE)
    return registry


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_stale_tag_says_so_to_the_client_and_in_the_access_line(method: str) -> None:
    async with Front(stale()) as front:
        reply = await front.ask(method, BY_TAG)
    assert reply.headers["warning"] == f'299 - "{STALE}"'
    assert reply.headers["age"] == "61"
    (record,) = front.records
    assert (record.status, record.how, record.cause) == (200, "stale", STALE)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("path", "about"), [(BY_TAG, LATEST), (BY_DIGEST, MANIFEST.digest), (LIST, None)])
async def test_an_upstreams_warning_is_passed_on(method: str, path: str, about: Reference | None) -> None:
    """R93: with the answer that it is about, and no other."""
    registry = filled()
    registry.warns[REPOSITORY, about] = ('it "goes" soon', "twice")
    async with Front(registry) as front:
        reply = await front.ask(method, path)
        others = [await front.ask(method, each) for each in {BY_TAG, BY_DIGEST, LIST} - {path}]
    assert reply.headers["warning"] == '299 - "it \\"goes\\" soon", 299 - "twice"'
    assert "age" not in reply.headers
    assert not any("warning" in other.headers for other in others)
    assert front.records[0].cause is None, "nothing of it is in the log: it is the upstream's text"


async def test_ours_comes_first_and_the_same_one_once() -> None:
    registry = stale()
    registry.warns[REPOSITORY, LATEST] = ("theirs", STALE)
    async with Front(registry) as front:
        reply = await front.ask("GET", BY_TAG)
    assert reply.headers["warning"] == f'299 - "{STALE}", 299 - "theirs"'


async def test_what_is_at_hand_has_it_too() -> None:
    """Hits are answered by a shorter way, with a head that is made once."""
    registry = filled()
    registry.hits[REPOSITORY, LATEST] = TagAnswer(MANIFEST.descriptor, MANIFEST, How.HIT)
    async with Front(registry) as front:
        before = await front.ask("GET", BY_TAG)
        registry.warns[REPOSITORY, LATEST] = ("theirs",)
        warned = await front.ask("GET", BY_TAG)
        registry.warns.clear()
        after = await front.ask("GET", BY_TAG)
    assert warned.headers["warning"] == '299 - "theirs"'
    assert (warned.status, warned.body) == (200, MANIFEST.content)
    assert "warning" not in before.headers.keys() | after.headers.keys()


async def test_a_stale_list_says_how_old_it_is() -> None:
    registry = filled()
    registry.lists[REPOSITORY] = TagList(("1.0",), How.STALE, "stale: x", 90.5)
    async with Front(registry) as front:
        reply = await front.ask("GET", LIST)
    assert (reply.headers["warning"], reply.headers["age"]) == ('299 - "stale: x"', "90")
    assert front.records[0].cause == "stale: x"


def brief(repository: Repository, reference: Reference | None) -> list[tuple[str, str]]:
    return [("of", f"{repository} {reference}")]


def tracing(*networks: str) -> Tracing:
    return Tracing(tuple(map(ip_network, networks)), brief)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (BY_TAG, "how=revalidated; of=docker.io/library/nginx latest"),
        (BY_DIGEST, f"how=miss; of=docker.io/library/nginx {MANIFEST.digest}"),
        (LIST, "how=hit; of=docker.io/library/nginx None"),
    ],
)
async def test_an_operator_gets_a_trace(path: str, told: str) -> None:
    async with Front(filled(), tracing=tracing("127.0.0.0/8")) as front:
        reply = await front.ask("GET", path, ASKS)
        silent = await front.ask("GET", path)
    assert reply.headers["x-regproxy-trace"] == told
    assert "x-regproxy-trace" not in silent.headers
    assert reply.body == silent.body


async def test_a_hit_at_hand_and_a_blob_and_an_error_have_one() -> None:
    registry = filled()
    registry.hits[REPOSITORY, LATEST] = TagAnswer(MANIFEST.descriptor, MANIFEST, How.HIT)
    async with Front(registry, tracing=tracing("127.0.0.0/8")) as front:
        hit = await front.ask("GET", BY_TAG, ASKS)
        (digest,) = [digest for _, digest in registry.blob_map if registry.blob_map[REPOSITORY, digest]]
        blob = await front.ask("GET", f"/v2/library/nginx/blobs/{digest}", ASKS)
        registry.hits.clear()
        registry.error = UpstreamFailed("docker.io", "it answered 503")
        failed = await front.ask("GET", BY_TAG, ASKS)
    assert hit.headers["x-regproxy-trace"] == "how=hit; of=docker.io/library/nginx latest"
    assert blob.headers["x-regproxy-trace"] == f"how=hit; of=docker.io/library/nginx {digest}"
    assert failed.status == 502
    assert failed.headers["x-regproxy-trace"] == (
        "how=none; cause=docker.io: it answered 503; of=docker.io/library/nginx latest"
    )


@pytest.mark.parametrize(
    ("networks", "line"),
    [
        ((), ASKS),
        (("10.0.0.0/8",), ASKS),
        (("127.0.0.0/8",), "X-Regproxy-Trace: 0"),
        (("127.0.0.0/8",), "X-Regproxy-Trace: yes"),
    ],
)
async def test_nobody_else_gets_one(networks: tuple[str, ...], line: str) -> None:
    """An address outside access.trace, and who does not ask."""
    async with Front(filled(), tracing=tracing(*networks)) as front:
        reply = await front.ask("GET", BY_TAG, line)
    assert reply.status == 200
    assert "x-regproxy-trace" not in reply.headers


async def test_who_is_not_let_in_gets_none() -> None:
    async with Front(filled(), tracing=tracing("127.0.0.0/8"), networks=LOCAL_NETWORKS[2:]) as front:
        reply = await front.ask("GET", BY_TAG, ASKS)
    assert reply.status == 403
    assert "x-regproxy-trace" not in reply.headers


async def test_without_the_setting_nobody_is_asked_whether_he_asks() -> None:
    async with Front(filled()) as front:
        reply = await front.ask("GET", BY_TAG, ASKS)
    assert "x-regproxy-trace" not in reply.headers


def test_a_trace_is_one_harmless_line() -> None:
    value = trace_value(How.STALE, "why", [("rule", "caf\u00e9\r\nSet-Cookie: x"), ("long", "x" * 5000)])
    assert value.startswith("how=stale; cause=why; rule=caf???Set-Cookie: x; long=xxx")
    assert len(value) == MAX_TRACE_LENGTH
