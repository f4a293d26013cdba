"""Real clients by the other ways to name an upstream: a path before /v2/, a listener of its own."""

from __future__ import annotations

import attrs
import pytest

from tests.clients.containerd import BY_PATH, Containerd, Ctr, write_hosts
from tests.clients.containers import Skopeo, make_setup
from tests.clients.scenario import pulls
from tests.clients.world import OTHER, Content, World, all_of, for_this_platform, runnable_image
from tests.conftest import require_program

pytestmark = pytest.mark.clients


def tool() -> Content:
    """Of an upstream that is not the default one."""
    return for_this_platform(OTHER, "team/tool", "v1", runnable_image())


async def test_ctr_by_a_path_before_v2(world: World, containerd: Containerd) -> None:
    """With ``?ns=`` behind it, which says the same once more."""
    hosts = write_hosts(world.folder / "hosts", BY_PATH, world.netloc, OTHER)
    await pulls(world, Ctr(world, containerd, hosts), tool())


async def test_ctr_by_a_listener(world: World, containerd: Containerd) -> None:
    await pulls(world, Ctr(world, containerd, None, world.alone), tool())


async def test_skopeo_by_a_listener(world: World) -> None:
    require_program("skopeo")
    setup = attrs.evolve(make_setup(world, by_mirror=False), alone=world.alone)
    await pulls(world, Skopeo(setup), all_of(OTHER, "team/tool", "v1", runnable_image()))
