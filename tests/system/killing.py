"""A mirror that is killed and started again, looked at by the checker each time: what the tests of
``kill -9`` have in common.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater

from regproxy.interfaces import Kind
from regproxy.oci.digest import Digest
from regproxy.oci.media_type import ACCEPT
from regproxy.oci.repository import Repository
from regproxy.testing.checker import Checker, Fault, Finding, lasting
from regproxy.testing.docker_registry import free_port
from regproxy.testing.forked import ForkedDaemon, ForkServer
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.saved_state import key_of
from tests.system.client import Client
from tests.system.load import Load

TTL_S = 2.0
NAME = "registry.test"
SURVEYED = "The survey found "


class World:
    """A registry, and a mirror in front of it that is killed and started again."""

    def __init__(self, folder: Path, seed: int, limit_s: float = 280) -> None:
        folder.mkdir()
        self.seed = seed
        self.root = folder / "root"
        self.rng = random.Random(seed)
        self.registry = ScriptableRegistry(reactor)
        self.kills = self.expired = self.revalidated = 0
        self._server = ForkServer(reactor, limit_s=limit_s)
        self._folder, self._port = folder, free_port()
        self._known: set[str] = set()
        self._spooled: set[str] = set()

    async def begin(self) -> None:
        await self.registry.start()
        self.load = self._make_load()
        settings = self._folder / "regproxy.json"
        settings.write_text(json.dumps(self._settings()))
        self.daemon = ForkedDaemon(self._server, settings)
        await self._start()

    def _make_load(self) -> Load:
        return Load(self.registry, self.rng)

    def _settings(self) -> dict[str, Any]:
        return {
            "listen": [f"tcp:{self._port}:interface=127.0.0.1"],
            "admin": [f"unix:{self._folder}/admin.sock"],
            "storage": {"root": str(self.root)},
            "ttl": f"{int(TTL_S)}s",
            "tags": [{"match": "*", "fresh": "100ms"}],
            "log": {"access": "off"},
            "upstreams": {NAME: {"endpoints": [self.registry.url], "insecure": True, "default": True}},
        }

    async def _start(self) -> None:
        await self.daemon.start()
        self.client = Client(reactor, f"http://127.0.0.1:{self._port}")

    async def end(self) -> None:
        await self._server.close()
        await self.client.close()
        await self.registry.stop()

    async def round(self) -> None:
        """Load, a kill, a look; a start, a look at what it serves, and what it has cleared away."""
        if self.rng.random() < 0.2:
            await self._kill_while_it_expires()
        else:
            await self._kill_under_load()
        before = self._look()
        while self.rng.random() < 0.3:
            await self._kill_at_start()
            self._look()
        started_s = time.time()
        await self._start()
        await self._still_served(before, started_s)
        await self.daemon.heard(SURVEYED)
        assert await self._looks_after_survey() == []
        await deferLater(reactor, self.rng.uniform(0.0, 0.6))
        await self._still_served(before, started_s)
        if self.rng.random() < 0.3:
            self.load.turn_to_others()
        if self.rng.random() < 0.2:
            await self._stop_and_look()

    async def _kill_under_load(self) -> None:
        strike = Deferred.fromCoroutine(self._strike(self.rng.uniform(0.0, 0.7)))
        await all_of([*self.load.start(self.client), strike])
        await self.client.close()
        self.revalidated += self.registry.count("HEAD", "manifest")
        self.registry.clear()

    async def _kill_while_it_expires(self) -> None:
        """Nobody asks; the first removal is the sign."""
        looked = Checker(self.root)
        looked.check()
        links = [self.root / path for path in looked.walked.keys.values()]
        given_up_s = time.monotonic() + TTL_S + 2
        while all(map(os.path.exists, links)) and time.monotonic() < given_up_s:
            await deferLater(reactor, 0.001)
        await self._strike(self.rng.uniform(0.0, 0.01))
        await self.client.close()

    async def _strike(self, after_s: float) -> None:
        await deferLater(reactor, after_s)
        self.load.killed = True
        self.kills += 1
        await self.daemon.kill()

    async def _kill_at_start(self) -> None:
        await self.daemon.spawn()
        await deferLater(reactor, self.rng.uniform(0.05, 0.25))
        self.kills += 1
        await self.daemon.kill()

    def _look(self) -> Checker:
        """At the folder of a daemon that is dead: nothing in it is wrong."""
        looked = Checker(self.root)
        assert looked.check() == []
        assert list((self.root / "quarantine").glob("*")) == []
        self.expired += len(self._known - looked.walked.keys.keys())
        self._known = set(looked.walked.keys)
        self._spooled = {str(path.relative_to(self.root)) for path in (self.root / "fills").glob("*")}
        return looked

    async def _looks_after_survey(self) -> list[Finding]:
        """What the survey should have cleared away; the daemon works, so one look is not enough."""
        looks = []
        for _ in range(4):
            looks.append([one for one in Checker(self.root).check(surveyed=True) if not self._is_new(one)])
            if not looks[-1]:
                return []
            await deferLater(reactor, 0.1)
        return lasting(looks)

    def _is_new(self, finding: Finding) -> bool:
        """A transfer of this life."""
        return finding.fault is Fault.LEFTOVER and finding.path not in self._spooled

    async def _still_served(self, before: Checker, started_s: float) -> None:
        """What was complete at the kill is there, without asking anybody, unless its time was over."""
        complete = sorted(before.walked.links, key=str)
        for repository, kind, digest in self.rng.sample(complete, len(complete) // 4):
            await self._ask_for(before, started_s, repository, kind, digest)

    async def _ask_for(
        self, before: Checker, started_s: float, repository: Repository, kind: Kind, digest: Digest
    ) -> None:
        self.registry.clear()
        where = "manifests" if kind is Kind.MANIFEST else "blobs"
        path = f"/v2/{repository.path}/{where}/{digest}"
        answer = await self.client.ask(path, accept=ACCEPT)
        assert (answer.status, answer.complete) == (200, True), f"{path}: {answer.body[:300]!r}"
        assert digest.matches(answer.body), f"{path} was served with wrong bytes"
        entry = before.state.entries.get(key_of(repository, digest))
        due_s = TTL_S + (started_s if entry is None else entry.used_s)
        if any(record.kind in ("blob", "manifest") for record in self.registry.requests):
            assert time.time() > due_s, f"{path} was lost {due_s - time.time()} s before its time"

    async def _stop_and_look(self) -> None:
        """At a folder that was closed: nothing is left over, and the state knows what lies there."""
        self.daemon.signal(signal.SIGTERM)
        await self.daemon.ended()
        await self.client.close()
        found = Checker(self.root).check(surveyed=True, saved=True)
        assert [one for one in found if one.fault is not Fault.NO_RECORD] == []
        await self._start()
        await self.daemon.heard(SURVEYED)

    async def let_all_expire(self) -> None:
        """A while after the last use nothing is left: no file, no folder, no entry."""
        await deferLater(reactor, TTL_S + 2.5)
        self.daemon.signal(signal.SIGTERM)
        await self.daemon.ended()
        looked = Checker(self.root)
        assert looked.check(surveyed=True, saved=True) == []
        assert (looked.walked.blobs, looked.walked.keys, looked.state.entries) == ({}, {}, {})


async def all_of(working: list[Deferred[Any]]) -> None:
    """Wait for all of them, whatever happens; then the first error counts."""
    for succeeded, result in await DeferredList(working, consumeErrors=True):
        if not succeeded:
            result.raiseException()


async def kill_often(world: World, kills: int) -> None:
    await world.begin()
    try:
        while world.kills < kills:
            await world.round()
        await world.let_all_expire()
    except BaseException as error:
        raise AssertionError(
            f"KILL_SEED={world.seed}, {world.root}, after {world.kills} kills: {error}\n{world.daemon.output}"
        ) from error
    finally:
        await world.end()
