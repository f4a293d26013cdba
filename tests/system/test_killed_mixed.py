"""``kill -9`` at random moments of a mirror that does all at once, over a limit: pulls, expiry, purges,
eviction, pins, scrub, saving. After each restart the folder is right, and so is all that is served.

KILLS=200 for the long run (``make kill``), KILL_SEED for another one; the moment of a kill is the machine's.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from regproxy.interfaces import Kind
from regproxy.oci.digest import Digest
from regproxy.oci.media_type import ACCEPT
from regproxy.oci.repository import Repository
from regproxy.testing.checker import Checker, Fault, check
from regproxy.testing.images import Image, make_image, make_index
from regproxy.testing.layers import sized_layer
from tests.system.killing import SURVEYED, TTL_S, World, all_of, kill_often
from tests.system.load import REPOSITORIES, TAGS, Load
from tests.system.mixed import Operator

pytestmark = pytest.mark.system

KILLS = int(os.environ.get("KILLS", "8"))
SEED = int(os.environ.get("KILL_SEED") or random.randrange(10**8))
WORLDS = 2
KIB, MIB = 1 << 10, 1 << 20
LIMIT_BYTES = 6 * MIB
SLACK_BYTES = MIB
"""What is in flight without having asked: manifests, and the rest of blocks."""
SIGNS = ("evict", "save", "scrub", "purge", "pin", "fill")
SIGN_S = 3.0
ALWAYS = ("purge", "pin", "scrubbed", "save")
"""What happens in a few lives, whatever the machine is busy with; the rest of it does in MANY."""
MANY = 100
OPERATIONS = ("pull", "expire", "purge", "pin", "evict", "scrub", "save")


def make_images() -> list[Image]:
    """Twice as much as there may be, in layers that some of them share; every fourth is an index."""
    sizes = (20 * KIB, 150 * KIB, 500 * KIB, 900 * KIB)
    layers = [sized_layer(sizes[number % 4] + number, number) for number in range(32)]
    images = [
        make_image(layers[2 * number], layers[2 * number + 1], layers[number], labels={"number": str(number)})
        for number in range(16)
    ]
    return [make_index(each, images[n - 1]) if n % 4 == 3 else each for n, each in enumerate(images)]


class MixedWorld(World):
    """One in which everything goes on at once, over a limit."""

    async def begin(self) -> None:
        self.operator = Operator(self.root, self._folder / "admin.sock", self.rng)
        self.most_bytes = 0
        self.ended_early = self.at_start = 0
        await super().begin()

    def _make_load(self) -> Load:
        return Load(self.registry, self.rng, make_images())

    def _settings(self) -> dict[str, Any]:
        settings = super()._settings()
        settings["storage"] |= {"max_size": f"{LIMIT_BYTES // MIB} MiB", "min_free": "0 B"}
        return settings | {"scrub": {"every": "1d"}}

    async def round(self) -> None:
        """A life, a kill, a look; a start, a look at what it serves and at what it has cleared away."""
        chance = self.rng.random()
        if chance < 0.15:
            await self._kill_while_it_expires()
        elif chance < 0.25:
            await self._kill_while_it_ends()
        else:
            await self._kill_under_load()
        before = self._look()
        while self.rng.random() < 0.2:
            await self._kill_at_start()
            self.at_start += 1
            self._look()
        started_s = time.time()
        await self._start()
        await self._pins_are_kept()
        await self._still_served(before, started_s)
        await self.daemon.heard(SURVEYED)
        assert await self._looks_after_survey() == []
        await self._within_limit()
        if self.rng.random() < 0.3:
            self.load.turn_to_others()

    async def _kill_under_load(self) -> None:
        strike = Deferred.fromCoroutine(self._strike(self.rng.uniform(0.0, 1.5)))
        await self._live([*self.load.start(self.client), *self.operator.start(), strike])

    async def _kill_while_it_expires(self) -> None:
        """Nobody asks, so that what is there gets old."""
        self.load.killed = False
        strike = Deferred.fromCoroutine(self._strike(0.0, "expire", TTL_S + 2))
        await self._live([*self.operator.start(quiet=True), strike])

    async def _kill_while_it_ends(self) -> None:
        """A stop folds the state."""
        strike = Deferred.fromCoroutine(self._end_and_strike())
        await self._live([*self.load.start(self.client), *self.operator.start(), strike])

    async def _live(self, working: list[Deferred[Any]]) -> None:
        await all_of(working)
        await self.client.close()
        await self.operator.close()
        self.registry.clear()

    async def _strike(self, after_s: float, sign: str | None = None, limit_s: float = SIGN_S) -> None:
        """Some time later, half of them at a sign that something begins."""
        await deferLater(reactor, after_s)
        if sign is None and self.rng.random() < 0.5:
            sign = self.rng.choice(SIGNS)
        if sign is not None:
            await self.operator.until(sign, limit_s)
            await deferLater(reactor, self.rng.uniform(0.0, 0.01))
        await self._kill()

    async def _end_and_strike(self) -> None:
        await deferLater(reactor, self.rng.uniform(0.2, 1.0))
        self.load.killed = self.operator.killed = True
        self.daemon.signal(signal.SIGTERM)
        await deferLater(reactor, self.rng.uniform(0.0, 0.06))
        self.ended_early += 1
        await self._kill()

    async def _kill(self) -> None:
        self.load.killed = True
        self.kills += 1
        self.operator.strike(self.load.open)
        await self.daemon.kill()

    async def kill_quietly(self) -> None:
        """With nothing going on."""
        await self.daemon.kill()
        await self.client.close()

    def _look(self) -> Checker:
        looked = super()._look()
        self.most_bytes = max(self.most_bytes, self._taken())
        assert self._taken("blobs") <= LIMIT_BYTES
        assert self._taken() <= LIMIT_BYTES + SLACK_BYTES
        return looked

    def _taken(self, *tops: str) -> int:
        """On the disk; what vanishes meanwhile counts nothing."""
        found = 0
        for top in tops or ("blobs", "fills"):
            for folder, _, names in os.walk(self.root / top):
                for name in names:
                    try:
                        found += os.lstat(os.path.join(folder, name)).st_blocks * 512
                    except FileNotFoundError:
                        continue
        return found

    async def _within_limit(self) -> None:
        """After a start too."""
        taken = self._taken()
        self.most_bytes = max(self.most_bytes, taken)
        assert taken <= LIMIT_BYTES + SLACK_BYTES

    async def _pins_are_kept(self) -> None:
        """A pin whose answer came is there; of the one that the kill met either is right."""
        operator = self.operator
        operator.attach()
        found = await operator.listed()
        await operator.close()
        doubtful = {operator.doubtful} - {None}
        assert found ^ operator.pins <= doubtful, f"{found} is pinned, not {operator.pins}"
        operator.pins, operator.doubtful = found, None

    async def _ask_for(
        self, before: Checker, started_s: float, repository: Repository, kind: Kind, digest: Digest
    ) -> None:
        """It may have been evicted meanwhile, but what comes is right."""
        where = "manifests" if kind is Kind.MANIFEST else "blobs"
        path = f"/v2/{repository.path}/{where}/{digest}"
        answer = await self.client.ask(path, accept=ACCEPT)
        assert (answer.status, answer.complete) == (200, True), f"{path}: {answer.body[:300]!r}"
        assert digest.matches(answer.body), f"{path} was served with wrong bytes"

    async def let_all_expire(self) -> None:
        """But for what is pinned."""
        for pin in sorted(self.operator.pins):
            self.operator.attach()
            await self.operator._ask("unpin", image=pin)
            await self.operator.close()
        self.operator.pins.clear()
        await super().let_all_expire()


async def test_nothing_is_wrong_after_any_kill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limit_s = 60.0 + 5 * KILLS
    worlds = [MixedWorld(tmp_path / str(number), SEED + number, limit_s) for number in range(WORLDS)]
    began_s = time.monotonic()
    await all_of([Deferred.fromCoroutine(kill_often(world, KILLS // WORLDS)) for world in worlds])
    done, struck = Counter[str](), Counter[str]()
    for world in worlds:
        done += world.operator.done
        struck += world.operator.struck
    answers = sum(world.load.answers for world in worlds)
    kills = sum(world.kills for world in worlds)
    with capsys.disabled():
        print(
            f"\nKILL_SEED={SEED}: {kills} kills in {time.monotonic() - began_s:.0f} s "
            f"({sum(world.at_start for world in worlds)} at a start, "
            f"{sum(world.ended_early for world in worlds)} while it ended), {answers} answers; "
            f"in progress: {dict(struck.most_common())}; done: {dict(done.most_common())}; "
            f"most on disk {max(world.most_bytes for world in worlds) / MIB:.2f} of {LIMIT_BYTES / MIB} MiB"
        )
    assert kills >= KILLS
    assert answers > KILLS
    assert [each for each in ALWAYS if not done[each]] == []
    if KILLS >= MANY:
        assert [each for each in (*ALWAYS, "evict", "expire", "unpin") if not done[each]] == []
        assert [each for each in OPERATIONS if not struck[each]] == []


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    _write(path, bytes(content))


def _write(path: Path, content: bytes) -> None:
    path.chmod(0o640)
    path.write_bytes(content)
    path.chmod(0o440)


DAMAGE: dict[Fault, tuple[str, Callable[[Path], object]]] = {
    Fault.WRONG_HASH: ("blobs/sha256/*/*", _flip),
    Fault.INCOMPLETE: ("blobs/sha256/*/*", lambda path: _write(path, path.read_bytes()[:-1])),
    Fault.NO_BLOB: ("blobs/sha256/*/*", Path.unlink),
    Fault.BROKEN_LINK: ("repositories/**/_layers/sha256/*", lambda path: _write(path, b"{")),
    Fault.BROKEN_TAG: ("repositories/**/_tags/*", lambda path: _write(path, b"{")),
    Fault.STRANGER: ("blobs/sha256/*", lambda path: (path / "core").write_bytes(b"")),
    Fault.STATE_CUT: ("scheduler-state.json", lambda path: path.write_bytes(path.read_bytes()[:-2])),
}


async def test_what_is_wrong_would_be_found(tmp_path: Path) -> None:
    """In the folder of a daemon that was killed, and in what the next one knows of pins."""
    world = MixedWorld(tmp_path / "world", SEED)
    await world.begin()
    try:
        await world.load._pull(world.client, REPOSITORIES[2], TAGS[0])
        await world.daemon.heard(SURVEYED)
        await world.kill_quietly()
        assert check(world.root) == []
        for number, (fault, (pattern, damage)) in enumerate(DAMAGE.items()):
            copy = tmp_path / str(number)
            shutil.copytree(world.root, copy)
            damage(min(copy.glob(pattern)))
            assert fault in {finding.fault for finding in check(copy)}
        world.operator.pins = {"registry.test/a:lost"}
        await world.daemon.start()
        with pytest.raises(AssertionError, match="is pinned, not"):
            await world._pins_are_kept()
        await world.kill_quietly()
        _flip(min(world.root.glob("blobs/sha256/*/*")))
        with pytest.raises(AssertionError):
            world._look()
    finally:
        await world.end()
