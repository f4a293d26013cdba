"""The simulation of what to evict first: the mirror's order is no worse than least recently used."""

from __future__ import annotations

import attrs
import pytest

from bench.policies import KEPT, POLICIES, TRAFFIC, Ratio, Traffic, World, compare, markdown, simulate

SMALL = 1500
SEEDS = range(2)


@pytest.mark.parametrize("traffic", TRAFFIC, ids=lambda traffic: traffic.title)
def test_the_mirrors_order_is_at_least_lru(traffic: Traffic) -> None:
    """By bytes, by layers, and by whole images, whatever the traffic is like."""
    found = compare(attrs.evolve(traffic, pulls=SMALL, images=200, drift_s=traffic.drift_s / 4), SEEDS)
    for ours, plain in zip(attrs.astuple(found[KEPT]), attrs.astuple(found["LRU"]), strict=True):
        assert ours >= plain


def test_a_trace_is_the_same_for_each_policy() -> None:
    one, other = World(TRAFFIC[2], 3), World(TRAFFIC[2], 3)
    assert [(at, image.layers) for at, image in one.pulls] == [
        (at, image.layers) for at, image in other.pulls
    ]
    assert one.sizes == other.sizes


def test_with_room_for_all_of_it_each_misses_once() -> None:
    world = World(Traffic("roomy", images=50, pulls=500, space=1.5), 1)
    ratios = {simulate(world, policy()) for policy in POLICIES.values()}
    assert len(ratios) == 1


def test_without_room_nothing_is_here() -> None:
    assert simulate(World(Traffic("none", images=50, pulls=100, space=0.0), 1), POLICIES["LRU"]()) == Ratio(
        0, 0, 0
    )


def test_the_table() -> None:
    text = markdown([Traffic("small", images=20, pulls=50)], [0])
    assert [line.split("|")[1].strip() for line in text.splitlines()[4:]] == list(POLICIES)
