"""oras and Helm's client; neither knows mirrors, so the mirror stands in the name."""

from __future__ import annotations

import platform

import pytest

from regproxy.testing.images import EMPTY_JSON
from tests.clients.libraries import HELM, ORAS, TAGS, Helm, Oras, artifact, chart
from tests.clients.requirements import require_module
from tests.clients.scenario import pulls
from tests.clients.world import OTHER, Content, World, all_of

pytestmark = pytest.mark.clients


def data() -> Content:
    """oras needs no config, only the file."""
    image = artifact()
    files = frozenset(digest for digest, blob in image.blobs.items() if blob != EMPTY_JSON)
    return Content(OTHER, "team/data", "v1", image, frozenset({image.digest}), files)


async def test_oras(world: World) -> None:
    require_module("oras", "oras")
    await pulls(world, Oras(world, ORAS), data())


async def test_oras_lists_tags(world: World) -> None:
    require_module("oras", "oras")
    await world.publish(data())
    assert (await Oras(world, TAGS).run(data()))[0] == ["v1"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="there is no helm-python-sdk for this machine")
async def test_helm(world: World) -> None:
    require_module("helm_python", "helm-python-sdk")
    await pulls(world, Helm(world, HELM), all_of(OTHER, "charts/demo", "1.0.0", chart()))
