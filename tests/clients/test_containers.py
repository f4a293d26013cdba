"""skopeo, podman and buildah, by registries.conf and by the mirror's own name."""

from __future__ import annotations

import pytest

from tests.clients.containers import Buildah, Podman, Skopeo, make_setup
from tests.clients.requirements import require_root
from tests.clients.scenario import pulls
from tests.clients.world import HUB, OTHER, World, all_of, for_this_platform, runnable_image
from tests.conftest import require_program

pytestmark = pytest.mark.clients

WAYS = pytest.mark.parametrize("by_mirror", [True, False], ids=["mirror", "direct"])


@WAYS
async def test_skopeo(world: World, by_mirror: bool) -> None:
    require_program("skopeo")
    content = all_of(OTHER, "team/tool", "v1", runnable_image())
    await pulls(world, Skopeo(make_setup(world, by_mirror=by_mirror)), content)


@WAYS
async def test_podman(world: World, by_mirror: bool) -> None:
    require_program("podman")
    require_root()
    content = for_this_platform(HUB, "library/box", "latest", runnable_image(docker=True))
    await pulls(world, Podman(make_setup(world, by_mirror=by_mirror)), content)


@WAYS
async def test_buildah(world: World, by_mirror: bool) -> None:
    require_program("buildah")
    require_root()
    content = for_this_platform(OTHER, "team/tool", "v1", runnable_image())
    await pulls(world, Buildah(make_setup(world, by_mirror=by_mirror)), content)
