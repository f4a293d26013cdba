"""An upstream that fails as a whole, and what only looks like it: silence, hosts it leads to, credentials."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.task import deferLater

from regproxy.errors import (
    Denied,
    NotFound,
    Throttled,
    UpstreamDown,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTrouble,
    UpstreamUnreachable,
)
from regproxy.interfaces import Circuit, Standing
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.settings import Credentials
from regproxy.testing.contracts import outcome
from regproxy.testing.secrets import MARKER
from regproxy.upstream.attempts import CREDENTIAL_PATIENCE
from regproxy.upstream.circuit import FAILURES
from regproxy.upstream.limits import LIMITS
from regproxy.upstream.registry import RemoteRegistry
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Asked, Server
from tests.upstream.test_heard import closed_url

NewRegistry = Callable[..., RemoteRegistry]
DIGEST = Digest.of(b"a layer")
BLOB_PATH = f"/v2/library/nginx/blobs/{DIGEST}"
TAG = Tag("latest")
TAG_PATH = "/v2/library/nginx/manifests/latest"
QUICK = attrs.evolve(LIMITS, doubt_s=0.05, probe_s=0.3)
ME = Credentials("mirror", f"{MARKER}-password")


def other(number: int) -> Repository:
    return Repository.parse("upstream.test", f"library/other{number}")


def path_of(repository: Repository) -> str:
    return f"/v2/{repository.path}/manifests/latest"


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        await deferLater(reactor, 0.01, lambda: None)
    raise AssertionError("it never came to that")


async def down(registry: RemoteRegistry) -> list[object]:
    """Questions until it is known to be, and what they came to."""
    errors = []
    while registry.standing().asked:
        assert len(errors) < FAILURES
        errors.append(await outcome(registry.tags.get(REPOSITORY, TAG)))
    return errors


async def test_who_refuses_connections_is_down_after_so_many(new_registry: NewRegistry) -> None:
    """What is asked again of itself counts, too: the first question may be the one that finds out."""
    registry = new_registry(closed_url())
    for error in await down(registry):
        assert isinstance(error, UpstreamUnreachable | UpstreamDown)
        assert "refuses connections" in str(error)
    began = time.perf_counter()
    for asking in (
        registry.tags.get(REPOSITORY, TAG),
        registry.tags.stat(REPOSITORY, TAG, None),
        registry.tags.list(REPOSITORY),
        registry.blobs.open(REPOSITORY, DIGEST),
        registry.blobs.resume(REPOSITORY, DIGEST, 3, None),
        registry.manifests.get(REPOSITORY, DIGEST),
    ):
        error = await outcome(asking)
        assert isinstance(error, UpstreamDown)
        assert error.retry_after_s is not None
        assert error.retry_after_s >= 1
    assert time.perf_counter() - began < 0.5


async def test_silence_is_noticed_while_calls_wait(server: Server, new_registry: NewRegistry) -> None:
    """Long before they are given up: at 2 s it is asked whether it is there, at 7 s it is known not to be.
    They are told so then, as who comes later is."""
    for path in ("/v2/", TAG_PATH, BLOB_PATH):
        server.on(path, lambda asked: None)
    registry = new_registry(server.url, {"limits": QUICK})
    waiting = [registry.tags.get(REPOSITORY, TAG), registry.blobs.open(REPOSITORY, DIGEST)]
    await until(lambda: not registry.standing().asked)
    for asking in (*waiting, registry.tags.get(REPOSITORY, TAG)):
        assert asking.called
        error = await outcome(asking)
        assert isinstance(error, UpstreamDown)
        assert error.retry_after_s is not None
        assert error.since_s is not None
    assert sorted(server.log()[:3]) == sorted([f"GET {TAG_PATH}", f"GET {BLOB_PATH}", "GET /v2/"])
    server.on("/v2/", lambda asked: asked.reply(401))
    server.on(TAG_PATH, lambda asked: asked.reply(404))
    await until(lambda: registry.standing().asked)
    assert isinstance(await outcome(registry.tags.get(REPOSITORY, TAG)), NotFound)


async def test_who_waits_says_for_how_long_it_was_tried(server: Server, new_registry: NewRegistry) -> None:
    for path in ("/v2/", TAG_PATH):
        server.on(path, lambda asked: None)
    registry = new_registry(server.url, {"limits": QUICK})
    error = await outcome(registry.tags.get(REPOSITORY, TAG))
    assert isinstance(error, UpstreamDown)
    assert error.tried_s is not None
    assert QUICK.doubt_s + QUICK.probe_s <= error.tried_s < 5


async def test_what_has_not_waited_for_long_may_still_be_answered(
    server: Server, new_registry: NewRegistry
) -> None:
    """What others' failures open ends nothing that was asked a moment ago; only what is silent then, too."""
    waiting: list[Asked] = []
    server.on(TAG_PATH, waiting.append)
    registry = new_registry(server.url, {"limits": attrs.evolve(LIMITS, doubt_s=0.5, probe_s=0.3)})
    answered, silent = registry.tags.get(REPOSITORY, TAG), registry.tags.stat(REPOSITORY, TAG, None)
    await until(lambda: len(waiting) == 2)
    server.on("/v2/", lambda asked: asked.reply(500))
    for number in range(FAILURES):
        server.on(path_of(other(number)), lambda asked: asked.reply(500))
        await outcome(registry.tags.get(other(number), TAG))
    assert not registry.standing().asked
    assert not answered.called
    next(each for each in waiting if each.method == "GET").reply(404)
    assert isinstance(await outcome(answered), NotFound)
    assert isinstance(await outcome(silent), UpstreamDown)


async def test_where_it_has_sent_us_is_waited_for(server: Server, new_registry: NewRegistry) -> None:
    """It has answered, so what is slow is somebody else."""
    waiting: list[Asked] = []
    server.on(
        BLOB_PATH,
        lambda asked: asked.reply(
            307, b"", {"Location": server.url.replace("127.0.0.1", "localhost") + "/x"}
        ),
    )
    server.on("/x", waiting.append)
    registry = new_registry(server.url, {"limits": QUICK}, private=True)
    asking = registry.blobs.open(REPOSITORY, DIGEST)
    await until(lambda: len(waiting) == 1)
    await deferLater(reactor, 2 * QUICK.doubt_s, lambda: None)
    server.on("/v2/", lambda asked: asked.reply(500))
    for number in range(FAILURES):
        server.on(path_of(other(number)), lambda asked: asked.reply(500))
        await outcome(registry.tags.get(other(number), TAG))
    assert not registry.standing().asked
    assert not asking.called
    waiting[0].reply(404)
    assert isinstance(await outcome(asking), NotFound)


async def test_who_is_slow_and_there_is_not_taken_for_down(server: Server, new_registry: NewRegistry) -> None:
    waiting: list[Asked] = []
    server.on(TAG_PATH, waiting.append)
    server.on("/v2/", lambda asked: asked.reply(401))
    registry = new_registry(server.url, {"limits": QUICK})
    asking = registry.tags.get(REPOSITORY, TAG)
    await until(lambda: server.log().count("GET /v2/") == 1)
    await deferLater(reactor, 0.1, lambda: None)
    assert registry.standing() == Standing()
    waiting[0].reply(404)
    await outcome(asking)


async def test_probes_carry_no_token_and_no_credential(server: Server, new_registry: NewRegistry) -> None:
    server.on(TAG_PATH, lambda asked: asked.abort())
    server.on("/v2/", lambda asked: asked.reply(200))
    registry = new_registry(server.url, credentials=ME)
    await down(registry)
    await until(lambda: registry.standing().asked)
    (probe,) = [asked for asked in server.asked if asked.path == "/v2/"]
    assert probe.header("Authorization") is None


async def test_a_5xx_of_one_repository_is_its_own(server: Server, registry: RemoteRegistry) -> None:
    server.on(TAG_PATH, lambda asked: asked.reply(500))
    for _ in range(2 * FAILURES):
        assert isinstance(await outcome(registry.tags.get(REPOSITORY, TAG)), UpstreamFailed)
    assert registry.standing() == Standing()
    for number in range(FAILURES - 1):
        server.on(path_of(other(number)), lambda asked: asked.reply(503))
        await outcome(registry.tags.get(other(number), TAG))
    assert not registry.standing().asked, "of several it is the upstream's"


async def test_one_blob_that_leads_nowhere_is_no_outage(server: Server, registry: RemoteRegistry) -> None:
    server.on(BLOB_PATH, lambda asked: asked.reply(307, b"", {"Location": BLOB_PATH}))
    for _ in range(2 * FAILURES):
        assert isinstance(await outcome(registry.blobs.open(REPOSITORY, DIGEST)), UpstreamFailed)
    assert registry.standing() == Standing()


@pytest.mark.parametrize("status", [401, 403, 404, 429])
async def test_what_it_says_of_content_is_no_outage(
    server: Server, registry: RemoteRegistry, status: int
) -> None:
    for number in range(2 * FAILURES):
        server.on(path_of(other(number)), lambda asked: asked.reply(status))
        await outcome(registry.tags.get(other(number), TAG))
    assert registry.standing() == Standing()


async def test_the_host_that_blobs_are_at_is_not_the_registry(
    server: Server, new_server: Callable[[], Server], new_registry: NewRegistry
) -> None:
    """It fails, and fails, and is left alone; tags are asked as ever, and so is another host."""
    dead, alive = closed_url(), new_server()
    server.on(BLOB_PATH, lambda asked: asked.reply(307, b"", {"Location": f"{dead}/x"}))
    server.on(TAG_PATH, lambda asked: asked.reply(404))
    registry = new_registry(server.url)
    for _ in range(2 * FAILURES):
        assert isinstance(await outcome(registry.blobs.open(REPOSITORY, DIGEST)), UpstreamTrouble)
    assert registry.standing() == Standing()
    error = await outcome(registry.blobs.open(REPOSITORY, DIGEST))
    assert isinstance(error, UpstreamDown), "it is not connected to each time"
    assert not isinstance(await outcome(registry.tags.get(REPOSITORY, TAG)), UpstreamTrouble)
    server.on(BLOB_PATH, lambda asked: asked.reply(307, b"", {"Location": f"{alive.url}/x"}))
    alive.on("/x", lambda asked: asked.reply(200, b"a layer"))
    blob = await registry.blobs.open(REPOSITORY, DIGEST)
    blob.close()


async def test_429_is_answered_from_memory_for_that_kind_of_question_only(
    server: Server, registry: RemoteRegistry
) -> None:
    """On Docker Hub it is GETs of manifests that are counted: HEADs and blobs go on."""

    def answer(asked: Asked) -> None:
        if asked.method == "GET":
            asked.reply(429, b"", {"Retry-After": "60"})
        else:
            asked.reply(404)

    server.on(TAG_PATH, answer)
    server.on(BLOB_PATH, lambda asked: asked.reply(200, b"a layer"))
    for _ in range(3):
        error = await outcome(registry.tags.get(REPOSITORY, TAG))
        assert isinstance(error, Throttled)
        assert 59 <= (error.retry_after_s or 0) <= 66, "as it says, or a little more"
    assert server.log() == [f"GET {TAG_PATH}"]
    assert not isinstance(await outcome(registry.tags.stat(REPOSITORY, TAG, None)), Throttled)
    (await registry.blobs.open(REPOSITORY, DIGEST)).close()


def guarded(server: Server, allowed: Callable[[str], bool]) -> None:
    """A token server that gives tokens for some scopes, and a registry that wants them."""
    challenge = {"WWW-Authenticate": f'Bearer realm="{server.url}/token",service="x"'}

    def give(asked: Asked) -> None:
        if asked.header("Authorization") is None or not allowed(dict(asked.query).get("scope", "")):
            asked.reply(401)
        else:
            asked.json({"token": "t"})

    def answer(asked: Asked) -> None:
        asked.reply(401, b"", challenge) if asked.header("Authorization") is None else asked.reply(404)

    server.on("/token", give)
    for repository in (REPOSITORY, *(other(number) for number in range(6))):
        server.on(path_of(repository), answer)


async def test_a_scope_that_is_refused_holds_back_no_other(server: Server, new_registry: NewRegistry) -> None:
    guarded(server, lambda scope: "nginx" not in scope)
    registry = new_registry(server.url, credentials=ME)
    for _ in range(2 * CREDENTIAL_PATIENCE):
        assert isinstance(await outcome(registry.tags.get(REPOSITORY, TAG)), UpstreamRefused)
    assert server.log().count("GET /token") == 1, "it is not asked for again at once"
    assert not isinstance(await outcome(registry.tags.get(other(0), TAG)), UpstreamTrouble)
    assert registry.standing() == Standing()


async def test_a_wrong_password_is_not_tried_for_each_repository(
    server: Server, new_registry: NewRegistry
) -> None:
    """Accounts get locked by that. Without the credential all goes on, and so does a new one."""
    guarded(server, lambda scope: False)
    registry = new_registry(server.url, credentials=ME)
    for number in range(6):
        assert isinstance(await outcome(registry.tags.get(other(number), TAG)), UpstreamRefused)
    assert server.log().count("GET /token") == CREDENTIAL_PATIENCE
    assert registry.standing() == Standing(), "the upstream is there"
    anonymous = new_registry(server.url)
    before = len(server.asked)
    assert isinstance(await outcome(anonymous.tags.get(REPOSITORY, TAG)), Denied)
    assert len(server.asked) == before + 2


async def test_a_refusal_that_is_told_from_memory_is_no_news(
    server: Server, new_registry: NewRegistry, lines: list[str]
) -> None:
    """No line of the log for each client that asks, and no word of whether the upstream is there."""
    heard: list[UpstreamTrouble | None] = []
    guarded(server, lambda scope: False)
    registry = new_registry(server.url, {"heard": heard.append}, credentials=ME)
    first = await outcome(registry.tags.get(REPOSITORY, TAG))
    before = len(heard)
    for _ in range(20):
        again = await outcome(registry.tags.get(REPOSITORY, TAG))
        assert isinstance(again, UpstreamRefused)
        assert (again.status, again.since_s) == (first.status, first.since_s)
    assert (len(lines), len(heard)) == (1, before)


async def test_offline_asks_nothing_whatever_is_wanted(server: Server, new_registry: NewRegistry) -> None:
    registry = new_registry(server.url, offline=True)
    for asking in (
        registry.tags.get(REPOSITORY, TAG),
        registry.tags.list(REPOSITORY),
        registry.blobs.open(REPOSITORY, DIGEST),
        registry.manifests.stat(REPOSITORY, DIGEST),
    ):
        error = await outcome(asking)
        assert isinstance(error, UpstreamDown)
        assert error.retry_after_s is None
        assert "offline" in str(error)
    assert await registry.answers() is False
    assert registry.standing().circuit is Circuit.OFFLINE
    assert server.opened == 0
    assert registry.set_offline(False)
    assert not registry.set_offline(False), "that is no news"
    await outcome(registry.tags.get(REPOSITORY, TAG))
    assert server.log() == [f"GET {TAG_PATH}"]


async def test_offline_ends_the_probes_and_online_asks_at_once(
    server: Server, new_registry: NewRegistry
) -> None:
    server.on(TAG_PATH, lambda asked: asked.abort())
    server.on("/v2/", lambda asked: asked.abort())
    registry = new_registry(server.url)
    await down(registry)
    await until(lambda: "GET /v2/" in server.log())
    registry.set_offline(True)
    before = len(server.asked)
    await deferLater(reactor, 1.5, lambda: None)
    assert len(server.asked) == before
    registry.set_offline(False)
    server.on(TAG_PATH, lambda asked: asked.reply(404))
    assert not isinstance(await outcome(registry.tags.get(REPOSITORY, TAG)), UpstreamTrouble)


async def test_what_is_not_asked_is_no_news_of_the_upstream(new_registry: NewRegistry) -> None:
    """Nor a line in the log for each who wants something."""
    heard: list[Any] = []
    registry = new_registry(closed_url(), {"heard": heard.append})
    await down(registry)
    before = len(heard)
    assert isinstance(await outcome(registry.tags.get(REPOSITORY, TAG)), UpstreamDown)
    assert len(heard) == before
