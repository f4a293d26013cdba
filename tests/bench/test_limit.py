"""The measurement of a limit, with a small one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from bench.limit import MIB, Outcome, measure, text_of
from bench.origin import Contents
from bench.policies import KEPT, TRAFFIC, World
from regproxy.oci.digest import Digest


@pytest.mark.system
def test_a_small_one(tmp_path: Path) -> None:
    outcome = measure(tmp_path, 4 * MIB, 24 * MIB, 3, 0)
    assert outcome.failed == []
    assert outcome.pulled_bytes >= 24 * MIB
    assert 2 * MIB < outcome.most_bytes <= 4 * MIB
    assert outcome.looks > 5
    assert 0 < outcome.hit_bytes < 1
    assert set(outcome.simulated) == {"LRU", KEPT}


def test_contents_are_what_their_digests_name() -> None:
    world = World(attrs.evolve(TRAFFIC[0], images=20, pulls=5), 0)
    world.sizes = [size // 50_000 for size in world.sizes]
    contents = Contents(world.sizes)
    digests = {contents.digest(number) for number in range(30)}
    assert len(digests) == 30
    for digest in digests:
        content = contents.named(digest)
        assert content is not None
        assert Digest.parse(digest).matches(content)
    _, image = world.pulls[0]
    assert all(contents.digest(layer).encode() in contents.manifest(image) for layer in image.layers)


def test_what_is_told() -> None:
    said = text_of(Outcome(4 * MIB, 8 * MIB, 3, ["x"], 2 * MIB, MIB, 9, 1.0, 0.5, {"LRU": 0.25}))
    assert "8 MiB of 3 pulls through 4 MiB in 1 s: 1 failed; at most 2.0 MiB complete" in said


@pytest.mark.parametrize(
    ("changed", "held"),
    [
        ({}, True),
        ({"failed": ["x"]}, False),
        ({"most_bytes": 4 * MIB + 1}, False),
        ({"hit_bytes": 0.24}, False),
    ],
)
def test_what_holds(changed: dict[str, Any], held: bool) -> None:
    outcome = Outcome(4 * MIB, 8 * MIB, 3, [], 4 * MIB, MIB, 9, 1.0, 0.25, {"LRU": 0.25})
    assert attrs.evolve(outcome, **changed).held is held
