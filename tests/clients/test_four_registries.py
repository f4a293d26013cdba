"""One daemon before four kinds of registry at once, one port, every client, both ways to name it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import attrs
import pytest
import pytest_twisted

from regproxy.oci.digest import Digest
from tests.clients.containerd import BY_NAMESPACE, Containerd, Ctr, write_hosts
from tests.clients.containers import Buildah, Podman, Setup, Skopeo, make_setup
from tests.clients.docker import Docker, Dockerd
from tests.clients.four import BASIC, PLAIN, TLS, TOKENS, Four
from tests.clients.requirements import require_root
from tests.clients.scenario import Client
from tests.clients.world import all_of, kinds
from tests.conftest import require_program

pytestmark = pytest.mark.clients


@pytest_twisted.async_yield_fixture
async def four(place: Path) -> AsyncIterator[Four]:
    for program in ("docker-registry", "busybox", "htpasswd"):
        require_program(program)
    made = Four(place)
    try:
        await made.start()
        yield made
    finally:
        await made.close()


async def pulls(four: Four, client: Client, upstreams: Iterable[str]) -> None:
    """The whole image of each; it runs where the client runs things."""
    for upstream in upstreams:
        content = four.contents[upstream]
        await client.pull(content)
        await client.forget(content)


async def as_promised(four: Four, *upstreams: str) -> None:
    """Each registry was asked by the daemon alone, for each thing once; every client got all of it."""
    cost = await four.cost()
    answered = Counter({asked: n for asked, n in cost.items() if asked.status == 200})
    blobs = Counter(
        {asked.last: n for asked, n in answered.items() if (asked.kind, asked.method) == ("blobs", "GET")}
    )
    needed: set[Digest] = set().union(*(four.contents[upstream].blobs for upstream in upstreams))
    assert blobs == dict.fromkeys(map(str, needed), 1), f"{cost}\n{four.story}"
    manifests = [asked.last for asked in answered if (asked.kind, asked.method) == ("manifests", "GET")]
    assert len(manifests) == len(set(manifests)), cost
    assert {asked.status for asked in cost} <= {200, 401}, cost
    served = [asked for asked, _ in kinds(await four.served()) if asked.kind in ("manifests", "blobs")]
    assert {asked.status for asked in served} == {200}, four.story


async def both_ways(four: Four, make: Callable[[Setup], Client]) -> None:
    """Every registry by registries.conf, cold, then by the mirror's own name."""
    setup = make_setup(four, by_mirror=True)
    try:
        await pulls(four, make(setup), four.contents)
        await pulls(four, make(attrs.evolve(setup, by_mirror=False)), four.contents)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{four.story}") from error
    await as_promised(four, *four.contents)


async def test_skopeo(four: Four) -> None:
    """It copies every platform."""
    require_program("skopeo")
    four.contents = {
        name: all_of(name, each.repository, each.tag, each.image) for name, each in four.contents.items()
    }
    await both_ways(four, Skopeo)


async def test_podman(four: Four) -> None:
    require_program("podman")
    require_root()
    await both_ways(four, Podman)


async def test_buildah(four: Four) -> None:
    require_program("buildah")
    require_root()
    await both_ways(four, Buildah)


async def test_ctr(four: Four, containerd: Containerd) -> None:
    """By ``ns``, from one port, and by name."""
    hosts = write_hosts(four.folder / "hosts", BY_NAMESPACE, four.netloc, *four.contents)
    await pulls(four, Ctr(four, containerd, hosts), four.contents)
    await pulls(four, Ctr(four, containerd, None), four.contents)
    await as_promised(four, *four.contents)


async def test_dockerd(four: Four, containerd: Containerd) -> None:
    """It has mirrors for docker.io alone; the others by name."""
    for program in ("dockerd", "docker", "iptables"):
        require_program(program)
    dockerd = Dockerd(four.folder / "docker", containerd, f"http://{four.netloc}")
    try:
        await dockerd.start()
        await pulls(four, Docker(four, dockerd, by_mirror=True), [PLAIN])
        await pulls(four, Docker(four, dockerd, by_mirror=False), [TLS, BASIC, TOKENS])
        await as_promised(four, *four.contents)
    finally:
        await dockerd.stop()
