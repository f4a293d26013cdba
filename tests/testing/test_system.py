"""Real clients and a real registry take the doubles for real."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from regproxy.testing import actions
from regproxy.testing.certificates import self_signed
from regproxy.testing.docker_registry import DockerRegistry, Mirror
from regproxy.testing.images import (
    Image,
    busybox_image,
    image_with_empty_blob,
    index_of_indexes,
    make_artifact,
    make_image,
    make_index,
    sized_image,
)
from regproxy.testing.processes import ProcessFailed, run
from regproxy.testing.pushing import Pusher
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.rules import Match
from regproxy.testing.tokens import BasicGuard, TokenGuard, TokenServer, User
from tests.conftest import require_program

pytestmark = pytest.mark.system
PASSWORD = "hunter2"
PROGRAMS = ("skopeo", "docker-registry", "htpasswd")
CREDENTIALS = ("--src-creds", f"puller:{PASSWORD}")


@pytest.fixture(autouse=True)
def programs() -> None:
    """Without a program skipped, under CI failed."""
    for name in PROGRAMS:
        require_program(name)


async def copy(netloc: str, target: Path, *options: str, tag: str = "latest") -> str:
    """Pull with skopeo; what it said when it failed, else nothing."""
    source = f"docker://{netloc}/team/app:{tag}"
    argv = ["/usr/bin/skopeo", "copy", "--insecure-policy", "--src-tls-verify=false", *options]
    done = await run(reactor, [*argv, source, f"dir:{target}"], limit_s=60)
    return "" if done.code == 0 else done.text or f"exit {done.code}"


def pulled(target: Path) -> bytes:
    return (target / "manifest.json").read_bytes()


@pytest_twisted.async_yield_fixture
async def tokens() -> AsyncIterator[TokenServer]:
    users = {"puller": User(PASSWORD, {"team/app": ("pull",)})}
    server = TokenServer(reactor, users=users)
    await server.start()
    yield server
    await server.stop()


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (make_image(), ()),
        (make_image(docker=True), ()),
        (sized_image(5000, 200_000), ()),
        (busybox_image(), ()),
        (make_index(), ("--all",)),
        (make_index(docker=True), ("--all",)),
    ],
    ids=["oci", "docker", "layers", "busybox", "index", "list"],
)
async def test_skopeo_pulls_from_the_scriptable_registry(
    tmp_path: Path, image: Image, options: tuple[str, ...]
) -> None:
    registry = ScriptableRegistry(reactor)
    await registry.start()
    registry.put_image("team/app", "latest", image)
    registry.script(Match(kind="blob"), actions.to_cdn())
    assert await copy(registry.netloc, tmp_path / "out", *options) == ""
    await registry.stop()
    assert pulled(tmp_path / "out") == image.content
    blobs = {r.reference for r in registry.requests if r.host == "cdn"}
    assert blobs == {str(digest) for digest in image.all_blobs()}


async def test_skopeo_inspects_tags_and_config(tmp_path: Path) -> None:
    registry = ScriptableRegistry(reactor)
    await registry.start()
    registry.put_image("team/app", "latest", make_image(labels={"made": "here"}))
    reference = f"docker://{registry.netloc}/team/app:latest"
    done = await run(reactor, ["/usr/bin/skopeo", "inspect", "--tls-verify=false", reference], limit_s=30)
    await registry.stop()
    assert done.code == 0, done.text
    seen = json.loads(done.out)
    assert (seen["RepoTags"], seen["Labels"]) == (["latest"], {"made": "here"})


async def test_skopeo_refuses_wrong_bytes(tmp_path: Path) -> None:
    registry = ScriptableRegistry(reactor)
    await registry.start()
    registry.put_image("team/app", "latest", make_image())
    registry.script(Match(kind="blob"), actions.wrong_bytes())
    assert "digest" in (await copy(registry.netloc, tmp_path / "out")).lower()
    await registry.stop()


@pytest.mark.parametrize("scheme", ["bearer", "basic"])
async def test_skopeo_logs_in_at_the_scriptable_registry(
    tmp_path: Path, tokens: TokenServer, scheme: str
) -> None:
    guard = TokenGuard(tokens) if scheme == "bearer" else BasicGuard("puller", PASSWORD)
    registry = ScriptableRegistry(reactor, guard=guard)
    await registry.start()
    registry.put_image("team/app", "latest", make_image())
    assert "unauthorized" in (await copy(registry.netloc, tmp_path / "no")).lower()
    assert await copy(registry.netloc, tmp_path / "out", *CREDENTIALS) == ""
    await registry.stop()
    assert pulled(tmp_path / "out") == make_image().content


async def test_skopeo_over_tls(tmp_path: Path) -> None:
    certificate = self_signed()
    registry = ScriptableRegistry(reactor, tls=certificate.server_options())
    await registry.start()
    registry.put_image("team/app", "latest", sized_image(3_000_000))
    folder = tmp_path / "certs"
    folder.mkdir()
    (folder / "ca.crt").write_bytes(certificate.certificate_pem)
    options = ("--src-tls-verify=true", "--src-cert-dir", str(folder))
    assert await copy(registry.netloc, tmp_path / "out", *options) == ""
    await registry.stop()


async def test_docker_registry_takes_every_image_and_counts(tmp_path: Path) -> None:
    registry = DockerRegistry(reactor, tmp_path / "registry")
    await registry.start()
    try:
        odd = [make_artifact(make_image(), b"sig"), image_with_empty_blob(), index_of_indexes()]
        for number, image in enumerate([make_index(), *odd]):
            await registry.push("team/app", f"v{number}", image)
        await registry.push("team/app", "latest", make_image())
        await registry.clear()
        assert await copy(registry.netloc, tmp_path / "out") == ""
        seen = [(r.method, r.path, r.status) for r in await registry.requests()]
    finally:
        await registry.stop()
    blobs = sorted(("GET", f"/v2/team/app/blobs/{digest}", 200) for digest in make_image().blobs)
    assert seen[:2] == [("GET", "/v2/", 200), ("GET", "/v2/team/app/manifests/latest", 200)]
    assert sorted(seen[2:]) == blobs


async def test_docker_registry_with_tokens(tmp_path: Path, tokens: TokenServer) -> None:
    registry = DockerRegistry(reactor, tmp_path / "registry", tokens=tokens)
    await registry.start()
    try:
        await registry.push("team/app", "latest", make_image())
        assert tokens.count() == 0
        assert "unauthorized" in (await copy(registry.netloc, tmp_path / "no")).lower()
        assert await copy(registry.netloc, tmp_path / "out", *CREDENTIALS) == ""
        assert tokens.count(status=200) >= 1
        statuses = {r.status for r in await registry.requests()}
    finally:
        await registry.stop()
    assert {200, 201, 401} <= statuses


async def test_docker_registry_with_basic_and_tls(tmp_path: Path) -> None:
    certificate = self_signed()
    registry = DockerRegistry(reactor, tmp_path / "registry", basic=("puller", PASSWORD), tls=certificate)
    await registry.start()
    try:
        await registry.push("team/app", "latest", make_image())
        assert await copy(registry.netloc, tmp_path / "no") != ""
        assert await copy(registry.netloc, tmp_path / "out", *CREDENTIALS) == ""
    finally:
        await registry.stop()


async def test_docker_registry_as_mirror_keeps_its_port_over_a_restart(
    tmp_path: Path, tokens: TokenServer
) -> None:
    upstream = ScriptableRegistry(reactor, guard=TokenGuard(tokens))
    await upstream.start()
    upstream.put_image("team/app", "latest", make_image())
    mirror = DockerRegistry(reactor, tmp_path / "mirror", mirror=Mirror(upstream.url, "puller", PASSWORD))
    await mirror.start()
    try:
        assert await copy(mirror.netloc, tmp_path / "cold") == ""
        while len([*(tmp_path / "mirror").glob("**/_layers/**/link")]) < 2:
            await deferLater(reactor, 0.05)  # it stores what its client has long got
        await mirror.stop()
        await mirror.start()
        upstream.clear()
        assert await copy(mirror.netloc, tmp_path / "warm") == ""
        assert upstream.count(method="GET", kind="blob") == 0
    finally:
        await mirror.stop()
        await upstream.stop()


async def test_a_registry_that_cannot_start_says_why(tmp_path: Path) -> None:
    first = DockerRegistry(reactor, tmp_path / "first")
    await first.start()
    second = DockerRegistry(reactor, tmp_path / "second")
    second.port = first.port
    with pytest.raises(ProcessFailed, match="address already in use"):
        await second.start()
    await second.stop()
    await first.stop()


async def test_a_refused_push_says_what_was_answered(tmp_path: Path, tokens: TokenServer) -> None:
    registry = DockerRegistry(reactor, tmp_path / "registry", tokens=tokens)
    await registry.start()
    try:
        with pytest.raises(ProcessFailed, match="answered 401"):
            await Pusher(reactor, registry.url).push("team/app", "latest", make_image())
    finally:
        await registry.stop()


async def test_a_process_is_bounded_in_time() -> None:
    done = await run(reactor, ["/bin/sh", "-c", "echo here; exec tail -f /dev/null"], limit_s=0.3)
    assert (done.code, done.out) == (-9, b"here\n")
