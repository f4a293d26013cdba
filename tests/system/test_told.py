"""What people are told by the whole mirror: warnings of upstreams, stale answers, errors, and a trace."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor

from regproxy.settings import AccessSettings, TagRule
from regproxy.testing import actions
from regproxy.testing.images import make_image
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.rules import Match
from tests.system.mirror import NAME, Mirror, upstream

pytestmark = pytest.mark.system

IMAGE = make_image()
BY_TAG = "/v2/team/app/manifests/latest"
RULE = TagRule("*", fresh_s=60.0, revalidate_wait_s=2.0, line=7)


@attrs.define
class World:
    registry: ScriptableRegistry
    mirror: Mirror
    access: io.StringIO


@pytest_twisted.async_yield_fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    registry, access = ScriptableRegistry(reactor), io.StringIO()
    await registry.start()
    registry.put_image("team/app", "latest", IMAGE)
    clients = AccessSettings(trace=(ip_network("127.0.0.0/8"),))
    one = upstream(registry, tags=(RULE,))
    mirror = Mirror(tmp_path / "content", one, access=access, clients=clients)
    await mirror.start()
    yield World(registry, mirror, access)
    await mirror.stop()
    await registry.stop()


async def test_an_upstreams_warning_reaches_who_is_served_from_the_disk(world: World) -> None:
    """R93: fetched, from memory, and stale, beside our own."""
    value = '299 - "this image is \\"deprecated\\""'
    warning = world.registry.script(Match(kind="manifest"), actions.header("Warning", value))
    ask = world.mirror.client.ask
    assert [(await ask(BY_TAG))["Warning"] for _ in range(2)] == [value, value]
    world.registry.unscript(warning)
    world.registry.script(Match(), actions.status(503))
    world.mirror.wall.now_s += 61
    stale = await ask(BY_TAG)
    ours, theirs = stale["Warning"].split(",", 1)
    assert ours.startswith(f'299 - "stale: {NAME}: ')
    assert (theirs, stale["Age"]) == (value, "61")
    line = world.access.getvalue().splitlines()[-1]
    assert " stale " in line
    assert line.endswith(f'"{ours[7:]}'), "the access line has the reason"
    world.registry.unscript()
    world.mirror.wall.now_s += 61
    assert (await ask(BY_TAG))["Warning"] == value, "a 304 takes nothing back"
    world.registry.put_image("team/app", "latest", make_image(labels={"version": "2"}))
    world.mirror.wall.now_s += 61
    assert "warning" not in (await ask(BY_TAG)).headers, "the upstream's next answer had none"


async def test_an_error_tells_what_is_known_and_what_can_be_done(world: World) -> None:
    world.registry.script(Match(), actions.status(503))
    answer = await world.mirror.client.ask(BY_TAG)
    (error,) = json.loads(answer.body)["errors"]
    assert (answer.status, error["code"]) == (502, "UNAVAILABLE")
    detail = error["detail"]
    assert (detail["upstream"], detail["status"]) == (NAME, 503)
    assert 0.0 <= detail["tried_s"] < 10.0
    assert detail["since"] == "2027-01-15T08:00:00Z"
    assert "try again" in detail["hint"]


async def test_a_trace_says_what_was_decided(world: World) -> None:
    ask = world.mirror.client.ask
    assert "x-regproxy-trace" not in (await ask(BY_TAG)).headers
    hit = (await ask(BY_TAG, x_regproxy_trace="1"))["X-Regproxy-Trace"]
    assert hit.startswith(f'how=hit; repository={NAME}/team/app; rule="*" (line 7); confirmed=0 s ago; ')
    assert f"digest={IMAGE.digest}; right=yes; " in hit
    world.registry.script(Match(), actions.status(503))
    world.mirror.wall.now_s += 61
    stale = (await ask(BY_TAG, x_regproxy_trace="1"))["X-Regproxy-Trace"]
    assert stale.startswith(f"how=stale; cause=stale: {NAME}: ")
    assert "confirmed=61 s ago" in stale
