"""A client's login for another registry, which dockerd sends to its mirrors (P20): of no meaning here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted

from regproxy.testing.images import sized_image
from regproxy.testing.secrets import MARKER
from tests.system.mirror import World

pytestmark = pytest.mark.system

IMAGE = sized_image(5000)


@pytest_twisted.async_yield_fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.started(tmp_path / "content", IMAGE)
    yield made
    await made.stop()


@pytest.mark.parametrize("login", [f"Bearer {MARKER}", f"Basic {MARKER}", MARKER, "Negotiate x"])
async def test_it_is_served_and_told_to_nobody(world: World, login: str) -> None:
    """Neither refused nor passed on, cold and warm."""
    paths = [
        "/v2/",
        "/v2/team/app/manifests/latest",
        *(f"/v2/team/app/blobs/{digest}" for digest in IMAGE.all_blobs()),
    ]
    for _ in ("cold", "warm"):
        for path in paths:
            assert (await world.client.ask(path, authorization=login)).status == 200
    assert len(world.registry.requests) >= len(paths) - 1
    assert all(record.authorization is None for record in world.registry.requests)
    assert all(login not in str(record.request) for record in world.registry.requests)
