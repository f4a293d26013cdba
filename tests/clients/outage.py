"""The pieces of the outage drill: an upstream that fails in several ways, clients that pull many images."""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs
import treq
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers

from regproxy.oci.digest import Digest
from regproxy.testing import actions
from regproxy.testing.images import Image, make_image
from regproxy.testing.layers import file_layer
from regproxy.testing.processes import Finished
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.rules import Match
from regproxy.testing.server import LOCALHOST
from tests.clients.containerd import Containerd
from tests.clients.containers import Setup
from tests.clients.world import HUB, Content, World, all_of, command, private

REVALIDATE_WAIT_S = 1.0
FRESH_S = 0.3
POLICY = f"{FRESH_S * 1000:g}ms, revalidate_wait: {REVALIDATE_WAIT_S:g}s"
"""The one rule of the daemon's settings."""
RETRY_AFTER_S = 1


def small_image(name: str, version: int = 1) -> Image:
    """One layer of its own and one that all of them share."""
    own = file_layer({"name": f"{name} {version}\n".encode()})
    return make_image(file_layer({"shared": b"shared\n"}), own)


class DroppingPort:
    """A port that lets no connection through and refuses none: its queue is full, and nobody accepts."""

    def __init__(self, port: int) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((LOCALHOST, port))
        self._listener.listen(0)
        self._queued = [socket.socket() for _ in range(4)]
        for each in self._queued:
            each.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                each.connect((LOCALHOST, port))

    def close(self) -> None:
        for each in (*self._queued, self._listener):
            each.close()


@attrs.frozen
class Refusal:
    """An error answer: its ``retry_after`` headers, and how long it took."""

    status: int
    error: dict[str, Any]
    retry_after: list[int]
    took_s: float


class OutageWorld(World):
    """One upstream, in this process, that can be made to fail; the daemon in front of it is the real one."""

    upstream: ScriptableRegistry
    _dropping: DroppingPort | None = None

    def make_registries(self) -> dict[str, ScriptableRegistry]:  # type: ignore[override]
        self.upstream = ScriptableRegistry(reactor)
        return {HUB: self.upstream}

    async def start(self) -> None:
        await self.upstream.start()
        await self.start_daemon(POLICY)

    async def close(self) -> None:
        self._let_through()
        await super().close()

    def put(self, name: str, version: int = 1) -> Content:
        """An image of the upstream; a later version under the same tag."""
        content = all_of(HUB, f"library/{name}", "1", small_image(name, version))
        self.upstream.put_image(content.repository, content.tag, content.image)
        return content

    async def refuse(self) -> None:
        """Connections are refused."""
        await self.upstream.refuse_connections()

    async def drop(self) -> None:
        """Packets are dropped: no connection, no refusal."""
        await self.upstream.refuse_connections()
        self._dropping = DroppingPort(self.upstream.port)

    async def fail(self) -> None:
        """500 to everything."""
        await self.come_back()
        self.upstream.script(Match(), actions.status(500))

    async def throttle(self) -> None:
        """429 to everything."""
        await self.come_back()
        self.upstream.script(Match(), actions.status(429, retry_after=str(RETRY_AFTER_S)))

    async def come_back(self) -> None:
        """All is well again."""
        self._let_through()
        await self.upstream.refuse_connections()
        self.upstream.accept_connections()
        self.upstream.unscript()

    def _let_through(self) -> None:
        if self._dropping is not None:
            self._dropping.close()
            self._dropping = None

    async def warnings(self, content: Content) -> list[str]:
        """What an answer about the tag warns of now; it must be a good one."""
        status, headers, _ = await self._ask("HEAD", f"{content.repository}/manifests/{content.tag}")
        assert status == 200, f"{content.name} is answered {status}"
        return [value.decode("ascii") for value in headers.getRawHeaders(b"Warning", [])]

    async def refusal(self, name: str) -> Refusal:
        """What is answered for a tag that nobody pulled before."""
        began_s = reactor.seconds()
        status, headers, body = await self._ask("GET", f"library/{name}/manifests/1")
        (error,) = json.loads(body)["errors"]
        retry = headers.getRawHeaders(b"Retry-After", [])
        return Refusal(status, error, [int(value) for value in retry], reactor.seconds() - began_s)

    async def _ask(self, method: str, path: str) -> tuple[int, Headers, bytes]:
        agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
        url = f"{self.daemon.url}/v2/{HUB}/{path}"
        answer = await HTTPClient(agent).request(method, url, reactor=reactor, timeout=20)
        return answer.code, answer.headers, await treq.content(answer)


class Puller(Protocol):
    """A client that pulls many images."""

    prints_headers: bool
    """Whether what it prints shows the Warning, in the versions that the tests know."""

    async def pull(self, contents: Sequence[Content]) -> str:
        """Pull all of them, and check what came; what it printed."""

    async def forget(self, contents: Sequence[Content]) -> None:
        """Remove them, so that the next pull asks for everything again."""


class ManyBySkopeo:
    """``skopeo copy``, one after the other, each into a new folder."""

    prints_headers = False

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    async def pull(self, contents: Sequence[Content]) -> str:
        return "".join([await self._pull(content) for content in contents])

    async def _pull(self, content: Content) -> str:
        target = Path(tempfile.mkdtemp(prefix="copy-", dir=self._setup.folder))
        found_by = f"--registries-conf={self._setup.registries}"
        argv = ["skopeo", found_by, "--policy", self._setup.policy, "copy", "--preserve-digests"]
        env = {**self._setup.env, "_CONTAINERS_ROOTLESS_UID": "1"}  # its cache is in XDG_DATA_HOME then
        done = await command(*argv, f"docker://{self._setup.reference(content)}", f"dir:{target}", env=env)
        assert Digest.of((target / "manifest.json").read_bytes()) == content.image.digest
        return done.text

    async def forget(self, contents: Sequence[Content]) -> None:
        """Every copy is a new folder."""


class ManyByPodman:
    """``podman pull`` of all at once."""

    prints_headers = False

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        folder = setup.folder
        self._podman = private(
            "podman",
            f"--root={folder}/root",
            f"--runroot={folder}/run",
            f"--tmpdir={folder}/tmp",
            "--storage-driver=vfs",
            "--cgroup-manager=cgroupfs",
            "--events-backend=file",
            "--runtime=runc",
        )

    async def pull(self, contents: Sequence[Content]) -> str:
        names = [self._setup.reference(content) for content in contents]
        pull = ["pull", "--tls-verify=false", "--signature-policy", self._setup.policy, *names]
        done = await command(*self._podman, *pull, env=self._setup.env)
        shown = await command(*self._podman, "images", "--digests", "--noheading", env=self._setup.env)
        for content in contents:
            assert str(content.image.digest) in shown.text, shown.text
        return done.text

    async def forget(self, contents: Sequence[Content]) -> None:
        await command(*self._podman, "rmi", "--all", "--force", env=self._setup.env)


@attrs.frozen
class ManyByCtr:
    """``ctr images pull``, one after the other; with ``--debug`` it prints the headers of answers."""

    containerd: Containerd
    hosts: Path
    prints_headers: bool = True

    async def pull(self, contents: Sequence[Content]) -> str:
        said = [await self._pull(content) for content in contents]
        shown = (await self._ctr("images", "ls")).text
        for content in contents:
            assert str(content.image.digest) in shown, shown
        return "".join(said)

    async def _pull(self, content: Content) -> str:
        pull = ["images", "pull", "--snapshotter=native", "--hosts-dir", self.hosts, content.name]
        return (await self._ctr("--debug", *pull)).text

    async def forget(self, contents: Sequence[Content]) -> None:
        await self._ctr("images", "rm", "--sync", *(content.name for content in contents))

    async def _ctr(self, *argv: object) -> Finished:
        return await command("ctr", "--address", self.containerd.socket, *argv)
