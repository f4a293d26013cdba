"""A fill that has begun."""

from __future__ import annotations

import os

from tests.proxy.world import KIB, World

CONTENT = os.urandom(300 * KIB)
SMALL = b"a small blob"


def begun(world: World, content: bytes = CONTENT, size: int | None = -1):
    """A fill whose headers are in hand and whose bytes have not come."""
    repository = world.repository()
    digest, feed = world.feed(content, repository, size=size)
    return repository, digest, feed, world.open(repository, digest)
