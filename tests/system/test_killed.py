"""``kill -9`` at random moments of a mixed load (invariant 7): nothing complete is lost, nothing
incomplete is served, and after the next survey nothing is left over.

Two daemons on two folders are killed side by side. What a test run does is decided by SEED; the moment
at which a kill strikes is the machine's.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from tests.system.killing import World, all_of, kill_often

pytestmark = pytest.mark.system

KILLS = 50
WORLDS = 2
SEED = int(os.environ.get("KILL_SEED", "20261124"))


async def test_nothing_is_lost_and_nothing_is_left_over(tmp_path: Path) -> None:
    worlds = [World(tmp_path / str(number), SEED + number) for number in range(WORLDS)]
    killing = [Deferred.fromCoroutine(kill_often(world, KILLS // WORLDS)) for world in worlds]
    await all_of(killing)
    assert sum(world.kills for world in worlds) >= KILLS
    assert sum(world.load.answers for world in worlds) > 300
    assert sum(world.revalidated for world in worlds) > 30
    assert sum(world.expired for world in worlds) > 30
