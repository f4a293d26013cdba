"""containerd: by ``ns``, by path prefix, by the mirror's own name; and dockerd on top of it."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, DeferredList

from tests.clients.containerd import BY_NAMESPACE, BY_PREFIX, Containerd, Ctr, write_hosts
from tests.clients.containers import Buildah, Skopeo, make_setup
from tests.clients.docker import Docker, Dockerd
from tests.clients.scenario import asks_nothing_twice, pulls
from tests.clients.world import HUB, OTHER, Content, World, all_of, for_this_platform, runnable_image
from tests.conftest import require_program

pytestmark = pytest.mark.clients


def tool() -> Content:
    """Of an upstream that is not the default one: without ``ns`` or a prefix nobody finds it."""
    return for_this_platform(OTHER, "team/tool", "v1", runnable_image())


def box() -> Content:
    return for_this_platform(HUB, "library/box", "latest", runnable_image(docker=True))


async def test_ctr_by_namespace(world: World, containerd: Containerd) -> None:
    hosts = write_hosts(world.folder / "hosts", BY_NAMESPACE, world.netloc, OTHER)
    await pulls(world, Ctr(world, containerd, hosts), tool())


async def test_ctr_by_prefix(world: World, containerd: Containerd) -> None:
    hosts = write_hosts(world.folder / "hosts", BY_PREFIX, world.netloc, HUB)
    await pulls(world, Ctr(world, containerd, hosts), box())


async def test_ctr_direct(world: World, containerd: Containerd) -> None:
    await pulls(world, Ctr(world, containerd, None), tool())


async def test_different_clients_at_once_ask_nothing_twice(world: World, containerd: Containerd) -> None:
    """containerd by ``ns``, skopeo and buildah by registries.conf: one cold image, one transfer a blob.

    The index may be asked for by tag and by digest: who has the digest does not wait for the tag.
    """
    for program in ("skopeo", "buildah"):
        require_program(program)
    content = all_of(OTHER, "team/tool", "v1", runnable_image())
    await world.publish(content)
    hosts = write_hosts(world.folder / "hosts", BY_NAMESPACE, world.netloc, OTHER)
    setup = make_setup(world, by_mirror=True)
    clients = [Ctr(world, containerd, hosts), Skopeo(setup), Buildah(setup)]
    pulled = [Deferred.fromCoroutine(client.pull(content)) for client in clients]
    for succeeded, result in await DeferredList(pulled, consumeErrors=True):
        assert succeeded, f"{result}\n{world.story}"
    asks_nothing_twice(await world.cost(), content)


@pytest.mark.parametrize("by_mirror", [True, False], ids=["mirror", "direct"])
async def test_dockerd(world: World, containerd: Containerd, by_mirror: bool) -> None:
    for program in ("dockerd", "docker", "iptables"):
        require_program(program)
    dockerd = Dockerd(world.folder / "docker", containerd, f"http://{world.netloc}")
    try:
        await dockerd.start()
        await pulls(world, Docker(world, dockerd, by_mirror), box() if by_mirror else tool())
    finally:
        await dockerd.stop()
