"""What to evict first: policies side by side, on traces that look like a mirror's.

``python -m bench.policies``; the last one is what the mirror has. A pull asks for a whole image, whose
layers are shared with others of its family; what is missing is fetched; over the limit images go with
the layers that only they name, down to low water, as the mirror does it.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import Random
from statistics import mean

import attrs

from regproxy.eviction.score import score

MIB = 1 << 20
LOW_WATER = 0.9


@attrs.frozen(eq=False)
class Image:
    """Its layers by number."""

    number: int
    layers: tuple[int, ...]


@attrs.define(eq=False)
class Known:
    """What is known of a cached image. Times are seconds."""

    image: Image
    used_s: float
    pulls: int
    own_bytes: int
    floor: float = 0.0
    """For policies that age: what the last victim was worth when this one was last used."""


@attrs.frozen
class Traffic:
    """A trace: ``scan`` of the pulls are of images that nobody asks for again, as a build farm's; every
    ``drift_s`` seconds a tenth of the images changes places with others."""

    title: str
    images: int = 600
    pulls: int = 6000
    skew: float = 0.9
    scan: float = 0.0
    drift_s: float = 0.0
    space: float = 0.15
    """The limit, as a part of what all images take that are asked for again."""


TRAFFIC = (
    Traffic("zipf"),
    Traffic("zipf, roomy", space=0.4),
    Traffic("zipf, a third is asked for once", scan=0.33),
    Traffic("drifting", drift_s=20_000.0),
    Traffic("drifting, a third once", scan=0.33, drift_s=20_000.0),
)


class World:
    """Images, their layers' sizes, and who asks for what when; the same for each policy."""

    def __init__(self, traffic: Traffic, seed: int) -> None:
        self._random = random = Random(seed)
        self.sizes: list[int] = []
        self._bases = [self._layers(random.randint(1, 4), 16.0) for _ in range(max(2, traffic.images // 30))]
        self._families = [
            (*random.choice(self._bases), *self._layers(random.randint(1, 3), 8.0))
            for _ in range(max(2, traffic.images // 6))
        ]
        self._count = 0
        self._images = [self._image() for _ in range(traffic.images)]
        self.limit_bytes = int(sum(self.sizes) * traffic.space)
        self.pulls = list(self._pulls(traffic))

    def _layers(self, count: int, median_mib: float) -> tuple[int, ...]:
        first = len(self.sizes)
        self.sizes += [int(median_mib * MIB * self._random.lognormvariate(0, 1.2)) for _ in range(count)]
        return tuple(range(first, len(self.sizes)))

    def _image(self) -> Image:
        self._count += 1
        own = self._layers(self._random.randint(1, 4), 4.0)
        return Image(self._count, (*self._random.choice(self._families), *own))

    def _pulls(self, traffic: Traffic) -> Iterator[tuple[float, Image]]:
        random, images = self._random, self._images
        weights = [1 / (rank + 1) ** traffic.skew for rank in range(len(images))]
        now_s, drifted_s = 0.0, 0.0
        for _ in range(traffic.pulls):
            now_s += random.expovariate(1 / 60)
            if traffic.drift_s and now_s - drifted_s > traffic.drift_s:
                drifted_s = now_s
                for _ in range(len(images) // 10):
                    one, other = random.randrange(len(images)), random.randrange(len(images))
                    images[one], images[other] = images[other], images[one]
            if random.random() < traffic.scan:
                yield now_s, self._image()
            else:
                yield now_s, random.choices(images, weights)[0]


Worth = Callable[[Known, float], float]
"""Of a cached image, at a time: the least goes first."""


def lru(known: Known, now_s: float) -> float:
    """Least recently used first."""
    return known.used_s


def lfu(known: Known, now_s: float) -> float:
    """Least often used first, since it is here."""
    return known.pulls


def lfuda(known: Known, now_s: float) -> float:
    """The same with aging: who comes begins at what the last victim was worth."""
    return known.floor + known.pulls


def gdsf(known: Known, now_s: float) -> float:
    """Greedy dual: that by size."""
    return known.floor + known.pulls * MIB / max(1, known.own_bytes)


def slru(known: Known, now_s: float) -> float:
    """Segmented: who was asked for once goes before all others."""
    return known.used_s if known.pulls == 1 else known.used_s + 1e12


def kept(known: Known, now_s: float) -> float:
    """As the mirror does, which remembers how often what it removed had been asked for."""
    return -score(now_s - known.used_s, known.pulls, known.own_bytes)


class Sketch:
    """How often each was asked for lately, gone ones too; halved from time to time (TinyLFU)."""

    def __init__(self, every: int) -> None:
        self._counts = Counter[int]()
        self._every = every
        self._left = every

    def note(self, number: int) -> None:
        """One more."""
        self._counts[number] += 1
        self._left -= 1
        if not self._left:
            self._left = self._every
            self._counts = Counter({one: count // 2 for one, count in self._counts.items() if count > 1})

    def __call__(self, known: Known, now_s: float) -> float:
        """Least often asked for lately first; among equals the least recently used."""
        return self._counts[known.image.number] + known.used_s / 1e12


KEPT = "the mirror's"

POLICIES: dict[str, Callable[[], Worth | Sketch]] = {
    "LRU": lambda: lru,
    "LFU": lambda: lfu,
    "LFU with aging": lambda: lfuda,
    "GDSF (size-aware)": lambda: gdsf,
    "SLRU": lambda: slru,
    "TinyLFU": lambda: Sketch(2000),
    KEPT: lambda: kept,
}


@attrs.frozen
class Ratio:
    """Parts that were here: of the bytes of all pulls, of their layers, of whole images."""

    of_bytes: float
    of_layers: float
    of_images: float


def simulate(world: World, worth: Worth | Sketch) -> Ratio:
    """All pulls of ``world``."""
    cached: dict[int, Known] = {}
    gone: dict[int, int] = {}
    named = Counter[int]()
    used = 0
    hit_bytes = all_bytes = hits = asked = whole = 0
    floor = 0.0
    for now_s, image in world.pulls:
        if isinstance(worth, Sketch):
            worth.note(image.number)
        missing = [layer for layer in image.layers if not named[layer]]
        size, absent = (sum(world.sizes[one] for one in some) for some in (image.layers, missing))
        all_bytes, hit_bytes = all_bytes + size, hit_bytes + size - absent
        asked, hits = asked + len(image.layers), hits + len(image.layers) - len(missing)
        whole += not missing
        known = cached.get(image.number)
        if known is None:
            pulls = gone.pop(image.number, 0) if worth is kept else 0
            known = cached[image.number] = Known(image, now_s, pulls, absent)
            named.update(image.layers)
            used += absent
        known.used_s, known.pulls, known.floor = now_s, known.pulls + 1, floor
        if used > world.limit_bytes:
            ranks = sorted((worth(one, now_s), one.image.number) for one in cached.values())
            for value, number in ranks:
                if used <= world.limit_bytes * LOW_WATER:
                    break
                floor = max(floor, value)
                victim = cached.pop(number)
                gone[number] = victim.pulls
                named.subtract(victim.image.layers)
                used -= sum(world.sizes[one] for one in victim.image.layers if not named[one])
    return Ratio(hit_bytes / all_bytes, hits / asked, whole / len(world.pulls))


def compare(traffic: Traffic, seeds: Sequence[int]) -> dict[str, Ratio]:
    """Each policy on the same traces, the mean of them."""
    found: dict[str, list[Ratio]] = {name: [] for name in POLICIES}
    for seed in seeds:
        world = World(traffic, seed)
        for name, policy in POLICIES.items():
            found[name].append(simulate(world, policy()))
    return {
        name: Ratio(*(mean(each) for each in zip(*map(attrs.astuple, ratios), strict=True)))
        for name, ratios in found.items()
    }


def markdown(traffics: Sequence[Traffic], seeds: Sequence[int]) -> str:
    """A table: percent of bytes / of whole images that were here."""
    found = [compare(traffic, seeds) for traffic in traffics]
    lines = [
        "Percent of bytes / of whole images that were on disk when they were asked for, "
        f"mean of {len(seeds)} traces.",
        "",
        "| policy | " + " | ".join(traffic.title for traffic in traffics) + " |",
        "| --- |" + " ---: |" * len(traffics),
    ]
    for name in POLICIES:
        cells = (f"{100 * one[name].of_bytes:.1f} / {100 * one[name].of_images:.1f}" for one in found)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    options = argparse.ArgumentParser(prog="python -m bench.policies", description=__doc__)
    options.add_argument("--seeds", type=int, default=5, help="traces of each kind (%(default)s)")
    chosen = options.parse_args(arguments)
    print(markdown(TRAFFIC, range(chosen.seeds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
