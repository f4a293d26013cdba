"""I/O errors under a whole mirror, call by call: what the disk refuses costs no pull and lets nothing wrong
out, and once it takes calls again the folder is right."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from regproxy.errors import StorageFailed
from regproxy.oci.media_type import ACCEPT
from regproxy.testing.checker import check
from regproxy.testing.images import Image, sized_image
from tests.system.load import BROKEN
from tests.system.mirror import World

pytestmark = pytest.mark.system

CALLS = {
    "read": ("pread", "preadv", "read", "sendfile"),
    "write": ("pwrite", "pwritev", "write", "posix_fallocate", "ftruncate"),
    "fsync": ("fsync", "fdatasync"),
    "rename": ("rename", "replace", "link"),
    "unlink": ("unlink", "remove", "rmdir"),
    "listdir": ("listdir", "scandir"),
}
SIZES = (3000, 90_000, 1_300_000)


@attrs.define
class BadDisk:
    """Calls on what is below ``root`` fail with EIO: each, or the ``share`` of them that ``random`` picks."""

    root: Path
    random: Random
    share: float = 0.0
    failed: int = 0

    def over(self, name: str) -> Callable[..., Any]:
        """The call, as this disk does it."""
        real = getattr(os, name)

        def call(*arguments: Any, **named: Any) -> Any:
            if self.share and self._is_ours(name, arguments) and self.random.random() < self.share:
                self.failed += 1
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(*arguments, **named)

        return call

    def _is_ours(self, name: str, arguments: tuple[Any, ...]) -> bool:
        which = arguments[1] if name == "sendfile" else arguments[0] if arguments else "."
        if isinstance(which, int):
            try:
                which = os.readlink(f"/proc/self/fd/{which}")
            except OSError:
                return False
        return str(os.fspath(which)).startswith(str(self.root))


class House:
    """A mirror that has one image, and is asked for others too."""

    def __init__(self, world: World, images: list[Image]) -> None:
        self.world, self.images = world, images

    async def pull(self, number: int, may_break: bool) -> None:
        """All of an image, whose bytes are right. ``may_break``: what lies there may not be readable."""
        image = self.images[number]
        paths = {f"manifests/v{number}": image.content}
        paths |= {f"blobs/{digest}": content for digest, content in image.all_blobs().items()}
        for path, content in paths.items():
            with suppress(*BROKEN if may_break else ()):
                answer = await self.world.client.ask(f"/v2/team/app/{path}", accept=ACCEPT)
                assert may_break or (answer.status, answer.complete) == (200, True), answer.body[:300]
                if answer.status == 200 and answer.complete:
                    assert answer.body == content, f"{path} was served with wrong bytes"

    async def pull_all(self, may_break: bool = False) -> None:
        pulls = (self.pull(number, may_break) for number in range(len(self.images)))
        await gatherResults([Deferred.fromCoroutine(pull) for pull in pulls])


@pytest_twisted.async_yield_fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    images = [sized_image(*(size + number for size in SIZES), seed=number) for number in range(4)]
    world = await World.started(tmp_path / "root", images[0], "v0")
    for number, image in enumerate(images[1:], 1):
        world.registry.put_image("team/app", f"v{number}", image)
    made = House(world, images)
    await made.pull(0, may_break=False)
    await world.mirror.settled()
    yield made
    await world.stop()


@pytest.mark.parametrize("share", [1.0, 0.3], ids=["each", "some"])
@pytest.mark.parametrize("calls", CALLS)
async def test_calls_that_fail(
    house: House, calls: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = house.world.mirror.root
    disk = BadDisk(root, Random(f"{calls} {share}"))
    for name in CALLS[calls]:
        monkeypatch.setattr(os, name, disk.over(name))
    disk.share = share
    for _ in range(2):
        await house.pull_all(may_break=calls == "read")
    with suppress(StorageFailed):
        await house.world.mirror.store.survey()
    disk.share = 0.0
    assert disk.failed, "nothing was refused"
    await house.world.mirror.stop()
    await house.world.mirror.start()
    for _ in range(2):
        await house.pull_all()
    await house.world.mirror.settled()
    await deferLater(reactor, 0.1)
    assert check(root) == []
