"""The one story that every client goes through: cold, warm, and with all upstreams gone."""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

from tests.clients.world import Asked, Content, World, kinds


class Client(Protocol):
    """A program that pulls, set up one way to find the mirror."""

    async def pull(self, content: Content) -> None:
        """Pull it and check what came; AssertionError with the program's output."""

    async def forget(self, content: Content) -> None:
        """Remove it, so that the next pull asks for every blob again."""


async def pulls(world: World, client: Client, content: Content) -> None:
    """Cold each thing is fetched once, warm nobody is asked, and without upstreams it is the same."""
    await world.publish(content)
    try:
        await _pulls(world, client, content)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{world.story}") from error


async def _pulls(world: World, client: Client, content: Content) -> None:
    await client.pull(content)
    await costs_one_get_each(world, content)
    await world.served()

    await client.forget(content)
    await client.pull(content)
    cost = await world.cost()
    assert cost == Counter(), f"warm, within the fresh time: nobody is asked, but {cost}"
    assert origins(await world.served(), content) == {"hit"}

    await client.forget(content)
    await world.lose_upstreams()
    await client.pull(content)
    records = await world.served()
    assert "stale" in {how for asked, how in kinds(records) if asked.last == content.tag}, records
    assert origins(records, content) == {"hit"}


async def costs_one_get_each(world: World, content: Content) -> None:
    """One GET for each blob and manifest, at most one HEAD, nothing refused, nothing else."""
    cost = await world.cost()
    asks_nothing_twice(cost, content)
    gets = sum(n for asked, n in cost.items() if asked.kind == "manifests" and asked.method == "GET")
    assert gets == len(content.manifests), cost
    heads = [n for asked, n in cost.items() if asked.method == "HEAD"]
    assert sum(heads) <= 1, cost


def asks_nothing_twice(cost: Counter[Asked], content: Content) -> None:
    """One GET for each blob, no question twice, none refused."""
    blobs = {asked.last: asked.method for asked in cost if asked.kind == "blobs"}
    assert blobs == {str(digest): "GET" for digest in content.blobs}, cost
    assert set(cost.values()) == {1}, cost
    assert {asked.status for asked in cost} == {200}, cost


def origins(records: list[dict[str, Any]], content: Content) -> set[str | None]:
    """Where the daemon had the blobs from; it must have been asked for every one, and for no other."""
    blobs = [(asked, how) for asked, how in kinds(records) if asked.kind == "blobs"]
    assert {asked.last for asked, _ in blobs} == {str(digest) for digest in content.blobs}, records
    assert {asked.status for asked, _ in blobs} == {200}, records
    return {how for _, how in blobs}
