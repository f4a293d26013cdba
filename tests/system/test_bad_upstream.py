"""Upstreams that answer wrongly: a clear error to the client, one log line, nothing kept."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher

from regproxy.settings import Credentials
from regproxy.testing import actions
from regproxy.testing.images import sized_image
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.rules import Match
from regproxy.testing.tokens import TokenGuard, TokenServer, User, huge_token
from tests.system.mirror import Mirror, World, upstream

pytestmark = pytest.mark.system

IMAGE = sized_image(100_000)
SMALL = next(digest for digest, content in IMAGE.blobs.items() if len(content) < 10_000)
LARGE = next(digest for digest, content in IMAGE.blobs.items() if len(content) == 100_000)
TAG = "/v2/team/app/manifests/latest"
BY_DIGEST = f"/v2/team/app/manifests/{IMAGE.digest}"
BLOB = f"/v2/team/app/blobs/{SMALL}"
PASSWORD = "correct-hunter2-battery"


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """What is logged as a warning or worse."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        if event["log_level"] in (LogLevel.warn, LogLevel.error, LogLevel.critical):
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


@pytest_twisted.async_yield_fixture
async def world(tmp_path) -> AsyncIterator[World]:
    made = await World.started(tmp_path / "content", IMAGE)
    yield made
    await made.stop()


def kept(world: World) -> list[str]:
    """Everything that a failed request must not leave."""
    found = [path for folder in ("blobs", "fills", "repositories") for path in world.mirror.files(folder)]
    return [str(path) for path in found if path.name != "_credential"]


async def refused(world: World, path: str, status: int = 502) -> str:
    """Ask; the answer must be an error that names the upstream, with nothing kept; its message."""
    answer = await world.client.ask(path)
    assert answer.status == status, answer
    assert answer["content-type"] == "application/json"
    [error] = json.loads(answer.body)["errors"]
    assert error["detail"]["upstream"] == "registry.test"
    await world.mirror.settled()
    assert kept(world) == []
    return error["message"]


EVERYWHERE = [
    ("html", (actions.html(),), "web page"),
    ("encoded", (actions.encoded(),), "encoded"),
    ("redirect loop", (actions.redirect_loop(),), "redirect"),
    ("redirect to nowhere", (actions.redirect("//[bad/"),), "redirect"),
    ("redirect to a file", (actions.redirect("file:///etc/passwd"),), "redirect"),
    ("server error", (actions.status(500),), "500"),
    ("no content", (actions.status(204, body=b""),), "204"),
    ("reset", (actions.reset(),), ""),
]


@pytest.mark.parametrize("path", [TAG, BY_DIGEST, BLOB])
@pytest.mark.parametrize(("name", "action", "cause"), EVERYWHERE, ids=[name for name, _, _ in EVERYWHERE])
async def test_an_answer_that_is_none(world, warnings, path, name, action, cause):
    world.registry.script(Match(), *action)
    message = await refused(world, path)
    assert cause in message
    assert len(warnings) == 1, warnings
    assert "registry.test" in warnings[0]
    assert cause in warnings[0]


@pytest.mark.parametrize("path", [BY_DIGEST, BLOB])
async def test_wrong_bytes(world, warnings, path):
    world.registry.script(Match(), actions.wrong_bytes())
    await refused(world, path)
    assert len(warnings) == 1, warnings


async def test_wrong_bytes_by_tag_that_are_no_manifest(world, warnings):
    world.registry.script(Match(), actions.body(b"not a manifest"))
    await refused(world, TAG)
    assert len(warnings) == 1, warnings


@pytest.mark.parametrize("path", [TAG, BY_DIGEST, BLOB])
async def test_a_body_shorter_than_announced(world, warnings, path):
    world.registry.script(Match(), actions.wrong_length(10))
    await refused(world, path)
    assert len(warnings) == 1, warnings


@pytest.mark.parametrize("path", [TAG, BY_DIGEST, BLOB])
@pytest.mark.parametrize("action", [actions.chunked(), actions.until_close()])
async def test_no_length_is_served_and_has_one_when_kept(world, path, action):
    world.registry.script(Match(), action)
    first = await world.client.ask(path)
    assert (first.status, first.complete) == (200, True)
    await world.mirror.settled()
    again = await world.client.ask(path)
    assert again["content-length"] == str(len(first.body))
    assert again.body == first.body


async def test_a_cut_in_the_middle_costs_no_pull(world):
    """Each connection is cut, and each has brought something."""
    world.registry.script(Match(kind="blob"), actions.cut(90_000))
    answer = await world.client.ask(f"/v2/team/app/blobs/{LARGE}")
    assert (answer.status, answer.complete) == (200, True)
    assert LARGE.matches(answer.body)
    await world.mirror.settled()
    assert len(kept(world)) == 2, "the blob and its link"


@pytest.mark.parametrize("path", [TAG, BY_DIGEST])
async def test_a_manifest_of_32_mib_is_not_read_to_its_end(world, warnings, path):
    world.registry.script(Match(kind="manifest"), actions.huge_manifest())
    await refused(world, path)
    assert world.registry.requests[-1].sent_bytes < 32 << 20
    assert len(warnings) == 1, warnings


async def test_a_challenge_with_ten_schemes_is_understood(world):
    tokens = TokenServer(reactor, anonymous={"*": ("pull",)})
    await tokens.start()
    world.registry.script(Match(times=1), actions.ten_schemes(tokens.realm))
    answer = await world.client.ask(TAG)
    assert (answer.status, len(tokens.requests)) == (
        502 if answer.status == 502 else 200,
        len(tokens.requests),
    )
    await tokens.stop()


async def test_an_upstream_whose_api_answers_and_says_nothing_else_is_a_timeout_within_15_s(world, warnings):
    from regproxy.testing.reply import Gate

    gate = Gate()
    world.registry.script(Match(kind="manifest"), actions.hold(gate))
    started = reactor.seconds()
    await refused(world, TAG, 504)
    assert reactor.seconds() - started < 15
    assert len(warnings) == 1, warnings
    gate.open()


async def test_an_upstream_that_says_nothing_at_all_is_down_within_10_s(world, warnings):
    from regproxy.testing.reply import Gate

    gate = Gate()
    world.registry.script(Match(), actions.hold(gate))
    started = reactor.seconds()
    await refused(world, TAG, 503)
    assert reactor.seconds() - started < 10
    assert ["is not asked for now" in line for line in warnings] == [True]
    gate.open()


@pytest_twisted.async_yield_fixture
async def guarded(tmp_path) -> AsyncIterator[tuple[World, TokenServer]]:
    tokens = TokenServer(reactor, users={"mirror": User(PASSWORD, {"*": ("pull",)})})
    await tokens.start()
    registry = ScriptableRegistry(reactor, guard=TokenGuard(tokens))
    await registry.start()
    registry.put_image("team/app", "latest", IMAGE)
    mirror = Mirror(
        tmp_path / "content", upstream(registry, tokens.url, credentials=Credentials("mirror", PASSWORD))
    )
    await mirror.start()
    yield World(registry, mirror), tokens
    await mirror.stop()
    await registry.stop()
    await tokens.stop()


async def test_a_token_of_100_mib_is_refused_early(guarded, warnings):
    world, tokens = guarded
    tokens.script(huge_token(100 << 20))
    await refused(world, TAG)
    assert all(record.sent_bytes < 50 << 20 for record in tokens.requests)
    assert len(warnings) == 1, warnings


@pytest.mark.parametrize(
    ("action", "cause"),
    [(actions.status(401), "credentials"), (actions.status(500), "500"), (actions.html(), "")],
)
async def test_a_token_server_that_fails(guarded, warnings, action, cause):
    world, tokens = guarded
    tokens.script(action)
    assert cause in await refused(world, TAG)
    assert len(warnings) == 1, warnings
    assert PASSWORD not in "".join(warnings)


async def test_a_realm_elsewhere_gets_no_credentials(world, tmp_path, warnings):
    thief = TokenServer(reactor, anonymous=None)
    await thief.start()
    honest = TokenServer(reactor)
    await honest.start()
    registry = ScriptableRegistry(reactor)
    await registry.start()
    registry.script(Match(), actions.challenge(f'Bearer realm="{thief.realm}",service="x"'))
    mirror = Mirror(
        tmp_path / "other", upstream(registry, honest.url, credentials=Credentials("mirror", PASSWORD))
    )
    await mirror.start()
    try:
        message = await refused(World(registry, mirror), TAG)
        assert "token_realms" in message
        assert all(record.authorization is None for record in thief.requests)
        assert PASSWORD not in "".join(str(record.request) for record in thief.requests)
    finally:
        await mirror.stop()
        for server in (registry, thief, honest):
            await server.stop()
