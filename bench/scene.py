"""What a case finds on the stage: a running target, the upstream behind it, what that holds, and meters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import attrs

from bench.contents import MIB, Content, Image, Shelf
from bench.reader import read
from bench.targets import Target, Upstream

_T = TypeVar("_T")
GIB = 1024 * MIB


@attrs.frozen
class Plan:
    """How much of everything."""

    size_bytes: int = GIB
    shared_bytes: int = 64 * MIB
    layer_bytes: int = 2 * MIB
    layers: int = 30
    clients: int = 50
    readers: int = 200
    nodes: int = 30
    far_bytes: int = 24 * MIB
    """Of a layer of the image that comes from far away; its last one is four times as large."""
    seconds: float = 2.0
    """Of each measurement that goes on for a time: requests a second, warm transfers."""


@attrs.frozen
class Held:
    """What the upstream holds."""

    big: Content
    shared: Content
    small: Content
    eight: tuple[Content, ...]
    image: Image
    far: Image
    tiny: Image
    """An image whose manifest is as small as most; what requests a second are measured with."""


def fill_shelf(shelf: Shelf, plan: Plan) -> Held:
    """Write all of it."""
    layers = tuple(
        shelf.add_blob("bench/image", plan.layer_bytes, 1000 + number) for number in range(plan.layers)
    )
    sizes = [plan.far_bytes] * 4 + [4 * plan.far_bytes]
    far = tuple(shelf.add_blob("bench/far", size, 2000 + number) for number, size in enumerate(sizes))
    small = shelf.add_blob("bench/tiny", 4096, 3)
    return Held(
        big=shelf.add_blob("bench/big", plan.size_bytes, 1),
        shared=shelf.add_blob("bench/shared", plan.shared_bytes, 2),
        small=small,
        eight=tuple(shelf.add_blob("bench/eight", plan.size_bytes // 8, 10 + number) for number in range(8)),
        far=shelf.add_image("bench/far", "v1", far),
        image=shelf.add_image("bench/image", "v1", layers),
        tiny=shelf.add_image("bench/tiny", "v1", (small,)),
    )


@attrs.frozen
class Cost:
    """What some work cost the target."""

    cpu_s: float
    peak_mib: float


@attrs.frozen
class Scene:
    """One measurement: of which target, with what."""

    target: Target
    upstream: Upstream
    held: Held
    plan: Plan
    scratch: Path

    @property
    def netloc(self) -> str:
        """Where the target listens."""
        return self.target.netloc

    def metered(self, work: Callable[[], _T], stored_bytes: int = 0) -> tuple[_T, Cost]:
        """Do ``work``; what it cost the target, with what the target does after its last answer.

        ``stored_bytes``: what the target will write to its disk.
        """
        process = self.target.process
        process.forget_peak()
        before = process.settled_cpu_s()
        self.touch_memory(stored_bytes)
        result = work()
        spent = process.settled_cpu_s() - before
        return result, Cost(spent, process.peak_mib())

    def touch_memory(self, size_bytes: int) -> None:
        """Have as much memory at hand as files of ``size_bytes`` take in the page cache, and some more.

        A virtual machine that gives free memory back within seconds pays for its next use: for
        1 GiB as much as a whole cold pull, and the more the longer a target took to start.
        """
        path, piece = self.scratch / "touch", bytes(MIB)
        with path.open("wb", buffering=0) as file:
            for _ in range(size_bytes * 5 // 4 // MIB):
                file.write(piece)
        path.unlink()

    def open_the_way(self) -> None:
        """One small pull, so that a cold measurement does not count what a process does once."""
        read(self.netloc, self.held.small.path)

    def warm(self) -> None:
        """Pull all that the warm cases ask for, so that it is on the target's disk."""
        image, tiny = self.held.image, self.held.tiny
        read(self.netloc, tiny.tag_path, tiny.manifest.manifest_path, *(blob.path for blob in tiny.blobs))
        read(self.netloc, image.tag_path, image.manifest.manifest_path, *(blob.path for blob in image.blobs))
        read(self.netloc, self.held.big.path)
        self.target.process.settled_cpu_s()
