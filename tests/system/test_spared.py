"""What upstreams are not asked: after a 429, and for what they do not have, over real sockets."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from regproxy import operations
from regproxy.admin.purge import PurgeRequest
from regproxy.oci.repository import Repository
from regproxy.settings import Credentials
from regproxy.testing import actions
from regproxy.testing.images import make_image
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.rules import Match
from regproxy.testing.tokens import BasicGuard
from tests.system.mirror import NAME, Mirror, World, upstream

pytestmark = pytest.mark.system

IMAGE = make_image()
BLOB = next(iter(IMAGE.blobs))
TAG = "/v2/team/app/manifests/latest"
ABSENT = "/v2/team/app/manifests/absent"


@pytest_twisted.async_yield_fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.started(tmp_path / "content", IMAGE)
    yield made
    await made.stop()


async def test_a_429_is_asked_once(world: World) -> None:
    """What is cached is served, with a warning; what is not gets the same 429 from memory, counted down."""
    assert (await world.client.ask(TAG)).status == 200
    world.registry.clear()
    world.mirror.wall.now_s += 700
    world.registry.script(Match(kind="manifest"), actions.status(429, b"Too Many", retry_after="30"))
    began_s = time.monotonic()
    for _ in range(5):
        refused = await world.client.ask(ABSENT)
        assert refused.status == 429
        assert 25 <= int(refused["retry-after"]) <= 33
        [error] = json.loads(refused.body)["errors"]
        assert error["code"] == "TOOMANYREQUESTS"
        stale = await world.client.ask(TAG)
        assert (stale.status, stale.body) == (200, IMAGE.content)
        assert stale["warning"].startswith('299 - "stale: registry.test')
    assert time.monotonic() - began_s < 5.0
    assert world.asked() == ["GET manifest"]
    assert (await world.client.ask(f"/v2/team/app/blobs/{BLOB}")).status == 200


async def test_a_tag_that_is_not_there_is_asked_for_once(world: World) -> None:
    """However many ask, until an operator or a client wants to know again."""
    answers = await gatherResults([Deferred.fromCoroutine(world.client.ask(ABSENT)) for _ in range(20)])
    assert {answer.status for answer in answers} == {404}
    assert (await world.client.ask(ABSENT)).status == 404
    assert world.asked() == ["GET manifest"]
    world.registry.put_image("team/app", "absent", IMAGE)
    assert (await world.client.ask(ABSENT)).status == 404
    settings = world.mirror._settings
    purge = dict(operations.actions(settings, world.mirror.mirror))["purge"]
    await purge.carry_out(PurgeRequest(Repository.parse(NAME, "team/app"), None, dry_run=False))
    assert (await world.client.ask(ABSENT)).status == 200


async def test_another_password_asks_again(tmp_path: Path) -> None:
    """What one login is not shown is no answer for the next one."""
    password = tmp_path / "password"
    password.write_text("hunter2")
    registry = ScriptableRegistry(reactor, guard=BasicGuard("mirror", "hunter2"))
    await registry.start()
    registry.put_image("team/app", "latest", IMAGE)
    login = Credentials("mirror", password_file=password)
    mirror = Mirror(tmp_path / "content", upstream(registry, credentials=login))
    await mirror.start()
    try:
        assert (await mirror.client.ask(ABSENT)).status == 404
        registry.put_image("team/app", "absent", IMAGE)
        assert (await mirror.client.ask(ABSENT)).status == 404
        registry.guard = BasicGuard("mirror", "hunter3")
        password.write_text("hunter3")
        assert (await mirror.client.ask(ABSENT)).status == 200
    finally:
        await mirror.stop()
        await registry.stop()
