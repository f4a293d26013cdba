"""Bits flip in the folder of a whole mirror: no client gets a wrong byte with a 200 or a 206, and while the
upstream has it, no pull fails for it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, succeed

from regproxy.errors import StorageFailed
from regproxy.oci.digest import Digest
from regproxy.oci.media_type import ACCEPT
from regproxy.testing.images import Image, make_index, sized_image
from tests.system.client import Answer
from tests.system.load import BROKEN
from tests.system.mirror import Mirror, World

pytestmark = pytest.mark.system

KEPT = ("VERSION", "lock")
SIZES = (3000, 70_000, 200_000)


def flip(random: Random, root: Path, silent: bool) -> None:
    """One bit of one file. ``silent``: as a disk does it, without a trace in the file's times."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.name not in KEPT)
    path = random.choice(files)
    found, content = path.stat(), bytearray(path.read_bytes())
    if not content:
        return
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.chmod(0o640)
    path.write_bytes(content)
    path.chmod(found.st_mode & 0o777)
    if silent:
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


async def scrubbed(mirror: Mirror) -> None:
    """Every blob is hashed."""

    def rest(count: int) -> Deferred[None]:
        return succeed(None)

    cursor = ""
    while found := await mirror.store.scrubbed.blobs_after(cursor):
        for digest in found:
            with suppress(StorageFailed):
                await mirror.store.scrubbed.examine(digest, lambda mtime_s: True, rest)
            cursor = digest.hex


class House:
    """An index in front of which a mirror is stopped and started, and what it should give."""

    def __init__(self, world: World, image: Image) -> None:
        self.registry, self.mirror, self.image = world.registry, world.mirror, image
        self.paths = {"/v2/team/app/manifests/latest": image.content}
        self.paths |= {f"/v2/team/app/blobs/{d}": content for d, content in image.all_blobs().items()}
        self.paths |= {
            f"/v2/team/app/manifests/{each.digest}": each.content for each in image.all_manifests()
        }

    async def ask(self, path: str, **headers: str) -> Answer | None:
        """None: it broke off, or began wrongly and was cut: no client takes that for an answer."""
        with suppress(*BROKEN):
            answer = await self.mirror.client.ask(path, accept=ACCEPT, **headers)
            return answer if answer.complete else None
        return None

    async def look(self, failing: bool) -> None:
        """Whatever is given out is right. ``failing``: it may also be refused."""
        for path, content in self.paths.items():
            answer = await self.ask(path)
            assert failing or (answer is not None and answer.status == 200), f"{path}: {answer}"
            if answer is not None and answer.status == 200:
                assert answer.body == content, f"{path} was served with wrong bytes"
                assert answer["docker-content-digest"] == str(Digest.of(content))
            part = await self.ask(path, range="bytes=100-2099")
            if part is not None and part.status == 206:
                assert part.body == content[100:2100], f"a part of {path} was served with wrong bytes"


@pytest_twisted.async_yield_fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    image = make_index(sized_image(*SIZES), sized_image(5000, seed=2))
    world = await World.started(tmp_path / "root", image)
    made = House(world, image)
    await made.look(failing=False)
    await world.mirror.settled()
    yield made
    await world.stop()


@pytest.mark.parametrize("gone", [False, True], ids=["upstream has it", "upstream lost it"])
@pytest.mark.parametrize("silent", [False, True], ids=["written over", "rotted"])
@pytest.mark.parametrize("seed", range(6))
async def test_any_bits(house: House, seed: int, silent: bool, gone: bool) -> None:
    """What was written over is seen at once, what rots in silence once the scrub was there."""
    random = Random(f"{seed} {silent} {gone}")
    await house.mirror.stop()
    for _ in range(1 + seed % 7):
        flip(random, house.mirror.root, silent)
    if gone:
        held = house.registry.holding("team/app")
        held.blobs.clear()
        held.manifests.clear()
    await house.mirror.start()
    if silent:
        await scrubbed(house.mirror)
    await house.look(failing=gone)
    await house.mirror.settled()
    await house.look(failing=gone)
