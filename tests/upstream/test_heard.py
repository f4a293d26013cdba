"""Whether an upstream is there: a probe of its own, and what each call to it has shown."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from twisted.internet import reactor

from regproxy.errors import (
    Denied,
    NotFound,
    Throttled,
    UpstreamError,
    UpstreamFailed,
    UpstreamTimeout,
    UpstreamTrouble,
    UpstreamUnreachable,
)
from regproxy.oci.digest import Digest
from regproxy.oci.media_type import OCI_MANIFEST
from regproxy.oci.tag import Tag
from regproxy.upstream.limits import LIMITS
from regproxy.upstream.registry import RemoteRegistry
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Asked, Server
from tests.upstream.test_registry import behind_tokens, token_answer

NewRegistry = Callable[..., RemoteRegistry]
DIGEST = Digest.of(b"a layer")
BLOB_PATH = f"/v2/library/nginx/blobs/{DIGEST}"


@pytest.fixture
def heard() -> list[UpstreamTrouble | None]:
    return []


def closed_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize(
    ("status", "answers"),
    [(200, True), (401, True), (403, True), (404, True), (429, True), (500, False), (503, False)],
)
async def test_any_answer_below_500_is_one(
    server: Server, registry: RemoteRegistry, status: int, answers: bool
) -> None:
    """A challenge too: nobody has to be let in for that, and no token is asked for."""
    challenge = {"WWW-Authenticate": f'Bearer realm="{server.url}/token",service="x"'}
    server.on("/v2/", lambda asked: asked.reply(status, b"{}", challenge))
    assert await registry.answers() is answers
    assert server.log() == ["GET /v2/"]


async def test_no_connection_is_no_answer(new_registry: NewRegistry) -> None:
    assert await new_registry(closed_url()).answers() is False


async def test_a_connection_that_breaks_is_no_answer(server: Server, registry: RemoteRegistry) -> None:
    server.on("/v2/", Asked.abort)
    assert await registry.answers() is False


async def test_silence_is_no_answer(server: Server, new_registry: NewRegistry) -> None:
    """In the time that a first byte has."""
    server.on("/v2/", lambda asked: None)
    options: dict[str, Any] = {"limits": attrs.evolve(LIMITS, first_byte_s=0.05)}
    assert await new_registry(server.url, options).answers() is False


async def test_a_probe_at_the_end_never_fails(server: Server, registry: RemoteRegistry) -> None:
    server.on("/v2/", lambda asked: None)
    asking = registry.answers()
    await registry.close()
    assert await asking is False
    assert await registry.answers() is False


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (200, None),
        (404, NotFound),
        (403, Denied),
        (429, Throttled),
        (500, UpstreamFailed),
        (503, UpstreamFailed),
    ],
)
@pytest.mark.parametrize("what", ["open", "stat", "tag"])
async def test_each_call_is_heard(
    server: Server,
    new_registry: NewRegistry,
    heard: list[UpstreamTrouble | None],
    status: int,
    error: type[Exception] | None,
    what: str,
) -> None:
    """Once: an answer is one whatever it says, 5xx is trouble, whoever asked."""
    registry = new_registry(server.url, {"heard": heard.append})

    def reply(asked: Asked) -> None:
        asked.reply(status, b"a layer", {"Docker-Content-Digest": str(DIGEST), "Content-Type": OCI_MANIFEST})

    for path in (BLOB_PATH, "/v2/library/nginx/manifests/latest"):
        server.on(path, reply)
    asking: Any = {
        "open": lambda: registry.blobs.open(REPOSITORY, DIGEST),
        "stat": lambda: registry.blobs.stat(REPOSITORY, DIGEST),
        "tag": lambda: registry.tags.stat(REPOSITORY, Tag("latest"), None),
    }[what]()
    if error is None:
        found = await asking
        if what == "open":
            found.close()
    else:
        with pytest.raises(error):
            await asking
    trouble = error is not None and issubclass(error, UpstreamTrouble)
    assert [one is not None for one in heard] == [trouble]


async def test_a_token_server_is_heard_by_the_call_that_needs_it_alone(
    server: Server, new_registry: NewRegistry, heard: list[UpstreamTrouble | None]
) -> None:
    """Its answer is none of the upstream's; what it fails with is heard once."""
    registry = new_registry(server.url, {"heard": heard.append})
    server.on("/token", token_answer)
    server.on(BLOB_PATH, behind_tokens(server, f"{server.url}/token", lambda asked: asked.reply(503)))
    with pytest.raises(UpstreamFailed):
        await registry.blobs.stat(REPOSITORY, DIGEST)
    assert [type(one) for one in heard] == [UpstreamFailed]
    heard.clear()
    broken = new_registry(server.url, {"heard": heard.append})
    server.on("/token", lambda asked: asked.reply(500))
    with pytest.raises(UpstreamTrouble) as caught:
        await broken.blobs.stat(REPOSITORY, DIGEST)
    assert heard == [caught.value]
    assert caught.value.since_s is not None


async def test_no_connection_is_heard(new_registry: NewRegistry, heard: list[UpstreamTrouble | None]) -> None:
    registry = new_registry(closed_url(), {"heard": heard.append})
    with pytest.raises(UpstreamUnreachable):
        await registry.blobs.stat(REPOSITORY, DIGEST)
    assert [type(one) for one in heard] == [UpstreamUnreachable]


async def test_silence_is_heard(
    server: Server, new_registry: NewRegistry, heard: list[UpstreamTrouble | None]
) -> None:
    server.on(BLOB_PATH, lambda asked: None)
    limits = attrs.evolve(LIMITS, first_byte_s=0.05)
    registry = new_registry(server.url, {"heard": heard.append, "limits": limits})
    with pytest.raises(UpstreamTimeout):
        await registry.blobs.stat(REPOSITORY, DIGEST)
    assert [type(one) for one in heard] == [UpstreamTimeout]


async def test_a_probe_is_heard(
    server: Server, new_registry: NewRegistry, heard: list[UpstreamTrouble | None]
) -> None:
    registry = new_registry(server.url, {"heard": heard.append})
    server.on("/v2/", lambda asked: asked.reply(401))
    await registry.answers()
    server.on("/v2/", lambda asked: asked.reply(502))
    await registry.answers()
    assert [one is not None for one in heard] == [False, True]


async def test_what_the_end_cuts_off_says_nothing(
    server: Server, new_registry: NewRegistry, heard: list[UpstreamTrouble | None]
) -> None:
    """We left, the upstream did not."""
    server.on(BLOB_PATH, lambda asked: None)
    registry = new_registry(server.url, {"heard": heard.append})
    asking = registry.blobs.stat(REPOSITORY, DIGEST)
    asking.addErrback(lambda failure: None)
    reactor.callLater(0.01, registry.close)
    await asking
    assert heard == []


async def test_trouble_says_how_long_it_was_tried_and_since_when(
    server: Server, new_registry: NewRegistry
) -> None:
    """P14: since the first trouble after the last answer, whatever that said; seconds since the epoch."""
    times = iter(range(1000, 2000))
    registry = new_registry(server.url, {"wall": lambda: float(next(times))})

    async def asked(status: int) -> UpstreamError:
        server.on(BLOB_PATH, lambda asked: asked.reply(status))
        with pytest.raises(UpstreamError) as caught:
            await registry.blobs.stat(REPOSITORY, DIGEST)
        assert caught.value.status == status
        assert caught.value.tried_s is not None
        assert 0.0 <= caught.value.tried_s < 10.0
        return caught.value

    first, second = await asked(503), await asked(500)
    assert first.since_s == second.since_s is not None
    answered = await asked(404)
    assert answered.since_s is None
    again = await asked(503)
    assert again.since_s is not None
    assert first.since_s is not None
    assert again.since_s > first.since_s


async def test_silence_says_how_long_it_was_tried(server: Server, new_registry: NewRegistry) -> None:
    server.on(BLOB_PATH, lambda asked: None)
    registry = new_registry(server.url, {"limits": attrs.evolve(LIMITS, first_byte_s=0.05)})
    with pytest.raises(UpstreamTimeout) as caught:
        await registry.blobs.stat(REPOSITORY, DIGEST)
    assert caught.value.tried_s is not None
    assert 0.05 <= caught.value.tried_s < 5.0
    assert (caught.value.status, caught.value.since_s is None) == (None, False)
