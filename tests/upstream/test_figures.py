"""What an upstream's requests, bytes and tokens leave in the figures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import CancelledError, Deferred

from regproxy.errors import UpstreamTrouble, UpstreamUnreachable
from regproxy.metrics.figures import Figures
from regproxy.upstream.circuit import FAILURES
from regproxy.upstream.registry import RemoteRegistry
from regproxy.upstream.retrying import RETRIES
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Asked, Server
from tests.upstream.test_heard import closed_url
from tests.upstream.test_outages import until
from tests.upstream.test_registry import (
    BLOB,
    BLOB_DIGEST,
    BLOB_PATH,
    BY_TAG,
    MANIFEST,
    TAG,
    behind_tokens,
    manifest_answer,
    read_all,
    token_answer,
)

NewRegistry = Callable[..., RemoteRegistry]


async def test_what_is_asked_and_received_is_counted(server: Server, new_registry: NewRegistry) -> None:
    """Requests by their answers; bytes of bodies that were of use, not those of errors."""
    figures = Figures(["upstream.test"])
    registry = new_registry(server.url, {"figures": figures.upstream("upstream.test")})
    server.on(BLOB_PATH, lambda asked: asked.reply(200, BLOB))
    await registry.blobs.stat(REPOSITORY, BLOB_DIGEST)
    assert await read_all(registry) == BLOB
    with pytest.raises(Exception, match="404"):
        await registry.tags.get(REPOSITORY, TAG)
    server.on(BY_TAG, manifest_answer)
    await registry.tags.get(REPOSITORY, TAG)

    def count(name: str, **labels: str) -> float | None:
        return figures.registry.get_sample_value(name, {"upstream": "upstream.test"} | labels)

    asked = dict.fromkeys(
        (
            ("blob", "HEAD", "200"),
            ("blob", "GET", "200"),
            ("manifest", "GET", "404"),
            ("manifest", "GET", "200"),
        ),
        1.0,
    )
    assert asked == {
        words: count(
            "regproxy_upstream_requests_total", **dict(zip(("kind", "method", "status"), words, strict=True))
        )
        for words in asked
    }
    assert count("regproxy_upstream_request_seconds_count", kind="blob") == 2
    assert count("regproxy_upstream_received_bytes_total", kind="blob") == len(BLOB)
    assert count("regproxy_upstream_received_bytes_total", kind="manifest") == len(MANIFEST)
    pulled = "registry_proxy_pulled_bytes_total"
    assert figures.registry.get_sample_value(pulled, {"type": "blob"}) == len(BLOB)
    assert figures.registry.get_sample_value(pulled, {"type": "manifest"}) == len(MANIFEST)


@pytest.mark.parametrize("hold", [False, True])
async def test_a_request_without_an_answer_is_counted(
    server: Server, new_registry: NewRegistry, hold: bool
) -> None:
    """A connection that is cut, and one that nobody waits for any more."""
    figures = Figures(["upstream.test"])
    registry = new_registry(server.url, {"figures": figures.upstream("upstream.test")})
    arrived: Deferred[None] = Deferred()

    def asked(asked: Asked) -> None:
        if not hold:
            asked.abort()
        if not arrived.called:
            arrived.callback(None)

    server.on(BY_TAG, asked)
    asking = registry.tags.get(REPOSITORY, TAG)
    await arrived
    if hold:
        asking.cancel()
    with pytest.raises((UpstreamUnreachable, CancelledError)):
        await asking
    labels = {"upstream": "upstream.test", "kind": "manifest", "method": "GET", "status": "none"}
    asked = figures.registry.get_sample_value("regproxy_upstream_requests_total", labels)
    assert asked == (1 if hold else 1 + RETRIES)
    del labels["method"], labels["status"]
    assert figures.registry.get_sample_value("regproxy_upstream_request_seconds_count", labels) == 0


async def test_tokens_are_counted_by_what_came_of_them(server: Server, new_registry: NewRegistry) -> None:
    figures = Figures(["upstream.test"])
    registry = new_registry(server.url, {"figures": figures.upstream("upstream.test")})
    server.on(BY_TAG, behind_tokens(server, f"{server.url}/token", manifest_answer))

    def counted() -> dict[str, float | None]:
        return {
            outcome: figures.registry.get_sample_value(
                "regproxy_tokens_total", {"upstream": "upstream.test", "outcome": outcome}
            )
            for outcome in ("issued", "reused", "failed")
        }

    server.on("/token", lambda asked: asked.reply(503))
    with pytest.raises(UpstreamTrouble):
        await registry.tags.get(REPOSITORY, TAG)
    assert counted() == {"issued": 0, "reused": 0, "failed": 1}
    server.on("/token", token_answer)
    for _ in range(3):
        await registry.tags.get(REPOSITORY, TAG)
    assert counted() == {"issued": 1, "reused": 2, "failed": 1}


async def test_circuits_and_probes_are_counted_by_endpoint(server: Server, new_registry: NewRegistry) -> None:
    """Each endpoint has its series from the start, or the best of them could not be told."""
    figures = Figures(["upstream.test"])
    options = {"figures": figures.upstream("upstream.test")}
    registry = new_registry(server.url, options, endpoints=(closed_url(), server.url))

    def count(name: str, endpoint: str, **labels: str) -> float | None:
        words = {"upstream": "upstream.test", "endpoint": endpoint} | labels
        return figures.registry.get_sample_value(f"regproxy_upstream_{name}", words)

    assert [count("circuit", number) for number in "01"] == [0, 0]
    assert count("circuit_opened_total", "0") == 0
    first, second = (each.breaker for each in registry._endpoints)
    for _ in range(FAILURES):
        first.failed(first.began(), "refuses connections")
    assert [count("circuit", number) for number in "01"] == [2, 0]
    assert count("circuit_opened_total", "0") == 1
    server.on("/v2/", lambda asked: asked.reply(401))
    second.doubt()
    await until(lambda: count("probes_total", "1", outcome="answered") == 1)
    await until(lambda: (count("probes_total", "0", outcome="failed") or 0) >= 1)
    registry.set_offline(True)
    assert [count("circuit", number) for number in "01"] == [3, 3]
    registry.set_offline(False)
    assert [count("circuit", number) for number in "01"] == [0, 0]
