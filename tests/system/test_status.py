"""``regproxy status`` beside a real daemon: what it shows of a slow cold pull, and when that is over."""

from __future__ import annotations

import json
import os
import pty
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from regproxy import __version__
from regproxy.oci.digest import Digest
from regproxy.testing import actions
from regproxy.testing.daemon import Daemon
from regproxy.testing.docker_registry import free_port
from regproxy.testing.images import sized_image
from regproxy.testing.processes import Child, Finished
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.reply import Gate
from regproxy.testing.rules import Match
from tests.system.client import Client

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
SIZE = 8 << 20
IMAGE = sized_image(SIZE)
BLOB: Digest = next(digest for digest, content in IMAGE.blobs.items() if len(content) == SIZE)
LIMIT_S = 60.0
STATUS = [sys.executable, "-m", "regproxy", "status"]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "TERM": "xterm", "NO_COLOR": "1"}


@attrs.define
class World:
    """A registry that holds a blob in its middle until ``gate`` opens, and a daemon in front of it."""

    registry: ScriptableRegistry
    gate: Gate
    daemon: Daemon
    client: Client
    settings: Path

    def status(self, *arguments: str) -> Child:
        return Child(reactor, [*STATUS, "--config", str(self.settings), *arguments], ENVIRONMENT, LIMIT_S)

    async def ended(self, *arguments: str) -> Finished:
        return await self.status(*arguments).ended()

    async def told(self, *arguments: str) -> dict[str, Any]:
        """The document."""
        ended = await self.ended("--json", *arguments)
        assert (ended.code, ended.err) == (0, b""), ended.text
        found: dict[str, Any] = json.loads(ended.out)
        return found


@pytest_twisted.async_yield_fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    registry = ScriptableRegistry(reactor)
    await registry.start()
    registry.put_image("team/app", "latest", IMAGE)
    gate = Gate()
    registry.script(Match(kind="blob"), actions.hold(gate, at=SIZE // 2))
    port, settings = free_port(), tmp_path / "regproxy.yml"
    content = {
        "listen": [f"tcp:{port}:interface=127.0.0.1"],
        "admin": [f"unix:{tmp_path}/admin.sock"],
        "storage": {"root": str(tmp_path / "content")},
        "upstreams": {
            "registry.example": {
                "endpoints": [registry.url],
                "insecure": True,
                "default": True,
                "public": True,
            },
            "dead.example": {"endpoints": ["http://127.0.0.1:1"], "insecure": True},
        },
    }
    settings.write_text(json.dumps(content))
    daemon = Daemon(reactor, settings, port, LIMIT_S)
    await daemon.start()
    client = Client(reactor, daemon.url)
    yield World(registry, gate, daemon, client, settings)
    await client.close()
    await daemon.stop()
    await registry.stop()


def pulled(world: World) -> Deferred[Any]:
    return Deferred.fromCoroutine(world.client.ask(f"/v2/team/app/blobs/{BLOB}"))


async def test_a_slow_cold_pull_with_its_bar_and_then_none(world: World) -> None:
    pull = pulled(world)
    await world.gate.arrived()
    watching = world.status("--watch", "--interval", "0.1")
    await watching.said(b"50 %")
    shown = watching.out.decode()
    assert f"registry.example/team/app  {str(BLOB)[:19]}  1 reader\n" in shown
    bar = re.search(r"\[(#+)(\.+)\]   50 %", shown)
    assert bar is not None
    assert abs(len(bar[1]) - len(bar[2])) <= 1
    assert "4.00 MiB of 8.00 MiB" in shown
    await watching.said(b"stands still")
    assert b"no fills in flight" not in watching.out
    world.gate.open()
    assert (await pull).body == IMAGE.blobs[BLOB]
    await watching.said(b"no fills in flight")
    watching.signal("INT")
    ended = await watching.ended()
    assert (ended.code, ended.err) == (0, b"")
    assert b"\x1b" not in ended.out


async def test_the_document_before_during_and_after(world: World) -> None:
    found = await world.told()
    assert found["fills"] == {"count": 0, "listed": []}
    assert [upstream["name"] for upstream in found["upstreams"]["listed"]] == [
        "registry.example",
        "dead.example",
    ]
    pull = pulled(world)
    await world.gate.arrived()
    fill = await _running(world)
    assert (fill["digest"], fill["size_bytes"], fill["readers"]) == (str(BLOB), SIZE, 1)
    assert 0 < fill["front_bytes"] <= SIZE // 2
    world.gate.open()
    await pull
    assert (await world.client.ask(f"/v2/dead.example/team/app/manifests/{IMAGE.digest}")).status >= 500
    assert (await pulled(world)).complete
    found = await _until_done(world)
    blob = found["content"]["blob"]
    assert (blob["hits"], blob["misses"], blob["pulled_bytes"], blob["pushed_bytes"]) == (
        1,
        1,
        SIZE,
        2 * SIZE,
    )
    assert 0 <= found["saved_bytes"] - SIZE < 1024, "the body of the error went out too"
    assert (found["disk"]["blobs"], found["disk"]["blob_bytes"]) == (1, SIZE)
    assert found["expiry"]["entries"] == 1
    alive, dead = found["upstreams"]["listed"]
    assert (alive["answers"], alive["trouble"]) == (True, None)
    assert dead["answers"] is False
    assert "refuse" in dead["trouble"]["reason"]


async def _running(world: World) -> dict[str, Any]:
    for _ in range(100):
        listed: list[dict[str, Any]] = (await world.told())["fills"]["listed"]
        if listed and listed[0]["state"] == "running" and listed[0]["front_bytes"]:
            return listed[0]
    raise AssertionError("no fill runs")


async def _until_done(world: World) -> dict[str, Any]:
    """Its last bytes are told before the disk has it."""
    for _ in range(100):
        found = await world.told()
        if not found["fills"]["count"] and found["expiry"]["entries"] and found["content"]["blob"]["hits"]:
            return found
    raise AssertionError(f"the fill stays: {found}")


async def test_it_says_who_is_not_there_and_what_may_be_named(world: World) -> None:
    socket = world.settings.parent / "admin.sock"
    for where in (str(socket), f"unix:{socket}"):
        assert (await world.told("--admin", where))["daemon"]["version"] == __version__
    strange = await world.ended("--admin", world.daemon.url)
    assert (strange.code, strange.out) == (5, b"")
    assert strange.err.count(b"\n") == 1
    await world.daemon.stop()
    gone = await world.ended()
    assert (gone.code, gone.out) == (3, b"")
    assert gone.err.startswith(f"regproxy: {socket}: no daemon there".encode())


async def test_an_address_that_may_not_ask_is_told_so(world: World) -> None:
    await world.daemon.stop()
    content = json.loads(world.settings.read_text())
    content["access"] = {"networks": ["10.0.0.0/8"]}
    content["admin"] = [f"tcp:{free_port()}:interface=127.0.0.1"]
    world.settings.write_text(json.dumps(content))
    await world.daemon.start()
    ended = await world.ended()
    assert (ended.code, ended.out) == (4, b"")
    assert b"access.networks" in ended.err
    assert ended.err.count(b"\n") == 1


async def test_watching_outlives_the_daemon(world: World) -> None:
    watching = world.status("--watch", "--interval", "0.1")
    await watching.said(b"no fills in flight")
    await world.daemon.stop()
    await watching.said(b"no daemon there")
    del watching.out[:]
    await world.daemon.start()
    await watching.said(b"no fills in flight")
    watching.signal("INT")
    assert (await watching.ended()).code == 0


async def test_on_a_terminal_it_draws_in_place_until_ctrl_c(world: World) -> None:
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    os.set_blocking(theirs, True)
    process = reactor.spawnProcess(  # type: ignore[attr-defined]
        ended := _Ended(),
        STATUS[0],
        [*STATUS, "--config", str(world.settings), "--watch", "--interval", "0.1"],
        env={**os.environ, **ENVIRONMENT, "NO_COLOR": ""},
        childFDs={0: theirs, 1: theirs, 2: theirs},
    )
    os.close(theirs)
    shown = ""
    for _ in range(500):
        shown += _at_hand(ours)
        if shown.count("no fills in flight") >= 3:
            break
        await deferLater(reactor, 0.02)
    assert shown.count("no fills in flight") >= 3, shown
    process.signalProcess("INT")
    assert await ended.over == 0
    shown += _at_hand(ours)
    os.close(ours)
    assert shown.count("\x1b[H") == shown.count("\x1b[J")
    assert "\x1b[32mready\x1b[0m" in shown
    assert set(re.findall(r"\x1b[^a-zA-Z]*[a-zA-Z]", shown)) <= {
        "\x1b[H",
        "\x1b[J",
        "\x1b[K",
        *(f"\x1b[{number}m" for number in (0, 1, 2, 31, 32, 33)),
    }
    assert "Traceback" not in shown


class _Ended(ProcessProtocol):
    """Tells the exit code."""

    def __init__(self) -> None:
        self.over: Deferred[int | None] = Deferred()

    def processEnded(self, reason: Failure) -> None:
        self.over.callback(reason.value.exitCode)  # type: ignore[union-attr]


def _at_hand(descriptor: int) -> str:
    try:
        return os.read(descriptor, 65536).decode()
    except (BlockingIOError, OSError):
        return ""
