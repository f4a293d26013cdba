"""The outage drill: ten images, an upstream that fails in four ways, and clients that pull all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from regproxy.proxy.freshness import STRETCH
from tests.clients.containerd import BY_NAMESPACE, Containerd, write_hosts
from tests.clients.containers import make_setup
from tests.clients.outage import (
    FRESH_S,
    REVALIDATE_WAIT_S,
    ManyByCtr,
    ManyByPodman,
    ManyBySkopeo,
    OutageWorld,
    Puller,
    Refusal,
)
from tests.clients.requirements import require_root
from tests.clients.world import HUB, Content, kinds
from tests.conftest import require_program

pytestmark = pytest.mark.clients

IMAGES = 10
OUTAGES = ("refuse", "drop", "fail", "throttle")
AT_ONCE_MS = 20.0
SLACK_MS = 500.0
"""For a machine that does other things meanwhile."""
BACK_S = 20.0
"""In which an upstream that is back is found, by probes 15 s apart at most."""


@pytest_twisted.async_yield_fixture
async def outage(place: Path) -> AsyncIterator[OutageWorld]:
    made = OutageWorld(place)
    try:
        await made.start()
        yield made
    finally:
        await made.close()


async def test_skopeo(outage: OutageWorld) -> None:
    require_program("skopeo")
    await drill(outage, ManyBySkopeo(make_setup(outage, by_mirror=True)))


async def test_podman(outage: OutageWorld) -> None:
    require_program("podman")
    require_root()
    await drill(outage, ManyByPodman(make_setup(outage, by_mirror=True)))


async def test_ctr(outage: OutageWorld, containerd: Containerd) -> None:
    hosts = write_hosts(outage.folder / "hosts", BY_NAMESPACE, outage.netloc, HUB)
    await drill(outage, ManyByCtr(containerd, hosts))


async def drill(world: OutageWorld, client: Puller) -> None:
    """Cold, then in each of the outages, then with the upstream back: all without a restart."""
    try:
        await _drill(world, client)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{world.story}") from error


async def _drill(world: OutageWorld, client: Puller) -> None:
    contents = [world.put(f"image{number}") for number in range(IMAGES)]
    await client.pull(contents)
    await world.served()
    for kind in OUTAGES:
        await client.forget(contents)
        await getattr(world, kind)()
        await deferLater(reactor, FRESH_S * (STRETCH if kind == "throttle" else 1))
        said = await client.pull(contents)
        records = await world.served()
        _check_answers(kind, records, contents)
        _check_times(kind, records)
        (warning,) = await world.warnings(contents[0])
        assert f'299 - "stale: {HUB}: ' in warning, f"{kind}: {warning}"
        if client.prints_headers:
            assert f"stale: {HUB}: " in said, f"{kind}: {said[-3000:]}"
        _check_refusal(kind, await world.refusal("never-pulled"))
        await world.served()
    await _comes_back(world, client, contents)


def _check_answers(kind: str, records: Sequence[dict[str, Any]], contents: Sequence[Content]) -> None:
    """Every tag is stale, everything else from the disk, nothing refused."""
    answers = [(asked, how) for asked, how in kinds(records) if asked.kind in ("manifests", "blobs")]
    assert {asked.status for asked, _ in answers} == {200}, f"{kind}: {records}"
    tagged = {how for asked, how in answers if asked.last == contents[0].tag}
    others = {how for asked, how in answers if asked.last != contents[0].tag}
    assert (tagged, others - {"hit"}) == ({"stale"}, set()), f"{kind}: {records}"


def _check_times(kind: str, records: Sequence[dict[str, Any]]) -> None:
    """A tag waits ``revalidate_wait`` at most, most of them next to nothing; a digest waits for nobody."""
    answers = [(asked, record["ms"]) for (asked, _), record in zip(kinds(records), records, strict=True)]
    tags = [ms for asked, ms in answers if asked.kind == "manifests" and ":" not in asked.last]
    digests = [ms for asked, ms in answers if ":" in asked.last]
    assert max(tags) <= REVALIDATE_WAIT_S * 1000 + SLACK_MS, f"{kind}: {tags}"
    assert median(tags) <= AT_ONCE_MS, f"{kind}: {tags}"
    assert median(digests) <= AT_ONCE_MS, f"{kind}: {digests}"


def _check_refusal(kind: str, found: Refusal) -> None:
    """What is not on disk fails at once, and says who fails, how, since when, and what can be done."""
    expected = {"throttle": {429, 503}, "fail": {502, 503}}.get(kind, {503})
    assert found.status in expected, f"{kind}: {found}"
    assert found.took_s < 1.0, f"{kind}: {found}"
    assert len(found.retry_after) == (found.status != 502), f"{kind}: {found}"
    detail = found.error["detail"]
    assert (detail["upstream"], bool(detail["hint"])) == (HUB, True), f"{kind}: {found}"
    if found.status == 503:
        assert detail["since"].endswith("Z"), f"{kind}: {found}"
    else:
        assert detail["status"] == {"throttle": 429, "fail": 500}[kind], f"{kind}: {found}"


async def _comes_back(world: OutageWorld, client: Puller, contents: Sequence[Content]) -> None:
    await client.forget(contents)
    await world.come_back()
    renewed = [world.put(content.repository.partition("/")[2], 2) for content in contents]
    waited_s = 0.0
    while await world.warnings(renewed[0]):
        assert waited_s < BACK_S, "the upstream is back, and is not asked"
        await deferLater(reactor, 0.5)
        waited_s += 0.5
    await deferLater(reactor, FRESH_S)
    await client.pull(renewed)
