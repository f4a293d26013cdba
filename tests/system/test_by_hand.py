"""Operations by hand on a real daemon, and on its folder when it has ended."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from regproxy.testing.daemon import Daemon
from regproxy.testing.docker_registry import free_port
from regproxy.testing.images import Image, make_index, sized_image
from regproxy.testing.processes import Child, Finished
from regproxy.testing.registry import ScriptableRegistry
from tests.system.client import Client

pytestmark = pytest.mark.system

APP = "registry.test/team/app"


class House:
    """A registry with an index, and a daemon in front of it that is reached by its socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = ScriptableRegistry(reactor)
        self.image: Image = make_index(sized_image(200_000, 100_000))
        self.port = free_port()
        self.daemon = Daemon(reactor, folder / "regproxy.yml", self.port, 120)

    async def start(self) -> None:
        await self.registry.start()
        self.registry.put_image("team/app", "1.0", self.image)
        settings = {
            "listen": [f"tcp:{self.port}:interface=127.0.0.1"],
            "admin": [f"unix:{self.folder}/admin.sock"],
            "storage": {"root": str(self.folder / "root")},
            "upstreams": {
                "registry.test": {
                    "endpoints": [self.registry.url],
                    "insecure": True,
                    "default": True,
                    "public": True,
                }
            },
        }
        (self.folder / "regproxy.yml").write_text(json.dumps(settings))
        await self.daemon.start()

    async def run(self, *arguments: str) -> Finished:
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "REGPROXY_CONFIG": str(self.folder / "regproxy.yml"),
        }
        return await Child(reactor, [sys.executable, "-m", "regproxy", *arguments], env, 60).ended()

    async def told(self, *arguments: str) -> list[dict[str, Any]]:
        done = await self.run(*arguments, "--json")
        assert done.code == 0, done.text
        return [json.loads(line) for line in done.text.splitlines() if line.startswith("{")]

    async def stop(self) -> None:
        await self.daemon.stop()
        await self.registry.stop()


@pytest_twisted.async_yield_fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


async def test_what_is_done_by_hand(house: House) -> None:
    """Warmed, listed, pulled, counted, pinned, refreshed, looked at; in the log, over a restart, and under
    the folder's lock."""
    await warmed_and_counted(house)
    await pinned_and_refreshed(house)
    log = house.daemon.output
    for word in ("warm", "ls", "du", "inspect", "pin", "unpin", "refresh"):
        assert f"Operation {word} for uid {os.getuid()}" in log
    assert "Operation warm, job 1, is over (done): 1 of 1 images" in log
    assert "Operation job" not in log
    await house.daemon.stop()
    await without_a_daemon(house)


async def warmed_and_counted(house: House) -> None:
    blobs = house.image.all_blobs()
    [warmed] = await house.told("warm", "team/app:1.0")
    assert (warmed["done"], warmed["fetched_bytes"]) == (1, sum(map(len, blobs.values())))
    house.registry.clear()
    client = Client(reactor, house.daemon.url)
    sent = 0
    for path in (f"manifests/{house.image.digest}", *(f"blobs/{digest}" for digest in blobs)):
        answer = await client.ask(f"/v2/team/app/{path}")
        assert answer.status == 200
        sent += len(answer.body)
    await client.close()
    assert house.registry.requests == (), "all of it was here"
    [listed] = await house.told("ls", "team/*")
    assert (listed["repository"], listed["tag"], listed["pulls"]) == (APP, "1.0", 1)
    assert (listed["sent_bytes"], listed["missing"], listed["pinned"]) == (sent, 0, False)
    [sums] = await house.told("du")
    assert sums["disk_bytes"] == listed["size_bytes"] == sums["repositories"][0]["own_bytes"]
    [seen] = await house.told("inspect", "team/app:1.0")
    assert [node["here"] for node in seen["tree"]] == [True] * (2 + len(blobs))
    [status] = await house.told("status")
    [last] = status["last_used"]
    assert (last["image"], last["pulls"], last["sent_bytes"]) == (f"{APP}:1.0", 1, sent)


async def pinned_and_refreshed(house: House) -> None:
    [dry] = await house.told("pin", "--dry-run", "team/app:1.*")
    assert (dry["changed"], dry["images"], (house.folder / "root/pins").exists()) == (True, 1, False)
    await house.told("pin", "team/app:1.*")
    assert (await house.told("ls"))[0]["pinned"] is True
    assert (await house.run("pin", "team/app:1.*")).code == 7
    await house.told("unpin", "team/app:1.*")
    new = make_index(sized_image(150_000))
    house.registry.put_image("team/app", "1.0", new)
    [refreshed] = await house.told("refresh", "team/**")
    assert (refreshed["moved"], refreshed["done"]) == (1, 1)
    by_tag = {image["tag"]: image for image in await house.told("ls")}
    assert (by_tag["1.0"]["digest"], by_tag["1.0"]["missing"]) == (str(new.digest), 0)
    assert by_tag[None]["digest"] == str(house.image.digest)
    failed = await house.run("warm", "team/nope:1")
    assert failed.code == 8
    assert "team/nope:1" in failed.text


async def without_a_daemon(house: House) -> None:
    before = [(image["tag"], image["pulls"], image["sent_bytes"]) for image in await house.told("ls")]
    assert before[0][2] > 300_000 or before[1][2] > 300_000, "counts outlive a restart"
    await house.told("pin", "team/app:2")
    assert (house.folder / "root/pins").read_text() == f"{APP}:2\n"
    house.registry.put_image("team/app", "2", sized_image(90_000))
    [warmed] = await house.told("warm", "team/app:2")
    assert warmed["done"] == 1
    done = await house.run("ls", "team/app:2")
    assert "whole pinned" in done.text
    assert "no daemon answers" in done.text
    [sums] = await house.told("du")
    assert sums["count"] == 1
    await purged_without_a_daemon(house)
    nothing = await house.run("ls", "team/app:1.0")
    assert (nothing.code, "nothing that is cached is team/app:1.0" in nothing.text) == (7, True)
    await house.daemon.start()
    [listed] = await house.told("ls", "team/app:2")
    assert (listed["missing"], listed["pinned"]) == (0, True)
    assert (await house.run("purge", "team/app:1.0")).code == 7


async def purged_without_a_daemon(house: House) -> None:
    """By its name and by a pattern; a dry run takes nothing, and what others name stays."""
    [dry] = await house.told("purge", "--dry-run", "team/app:1.*")
    assert (dry["tags"], dry["dry_run"], dry["later_bytes"]) == (1, True, 0)
    assert dry["freed_bytes"] > 0
    [gone] = await house.told("purge", "team/app:1.*")
    assert {**gone, "dry_run": True} == dry, "what was foretold, and it was still there"
    assert (await house.run("ls", "team/app:1.0")).code == 7
    again = await house.run("purge", "team/app:1.0")
    assert (again.code, "no daemon answers" in again.text) == (7, True)


async def test_a_folder_that_is_in_use_is_left_alone(house: House) -> None:
    """By a daemon that cannot be asked: its socket is gone."""
    (house.folder / "admin.sock").unlink()
    done = await house.run("ls")
    assert done.code == 3
    assert f"in use by process {house.daemon.pid}" in done.text
