"""containerd with a root, a state and a socket of its own, and ctr."""

from __future__ import annotations

from pathlib import Path

import attrs
from twisted.internet import reactor

from regproxy.testing.processes import Child
from tests.clients.containers import SAYS
from tests.clients.world import LIMIT_S, NOWHERE, Content, World, command, private

CONFIG = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
temp = "{folder}/temp"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{folder}/sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"
"""
BY_NAMESPACE = """\
server = "http://{nowhere}"
[host."http://{netloc}"]
capabilities = ["pull", "resolve"]
"""
BY_PREFIX = BY_NAMESPACE.replace("{netloc}", "{netloc}/v2/{upstream}") + "override_path = true\n"
BY_PATH = BY_NAMESPACE.replace("{netloc}", "{netloc}/{upstream}")
"""containerd puts /v2 behind the path."""


class Containerd:
    """One containerd with its files below ``folder``; ``socket`` is where it listens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "sock"
        self._child: Child | None = None

    @property
    def pid(self) -> int:
        """Its process id; only after a start."""
        assert self._child is not None
        return self._child.pid

    async def start(self) -> None:
        self.folder.mkdir()
        config = self.folder / "config.toml"
        config.write_text(CONFIG.format(folder=self.folder))
        argv = private("containerd", "--config", config)
        self._child = Child(reactor, argv, {"TMPDIR": str(self.folder)}, LIMIT_S)
        await self._child.said(b"containerd successfully booted")

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop()


def write_hosts(folder: Path, form: str, netloc: str, *upstreams: str) -> Path:
    """A hosts directory in which each of ``upstreams`` has the mirror in front of it."""
    for upstream in upstreams:
        names = {"netloc": netloc, "upstream": upstream}
        (folder / upstream).mkdir(parents=True)
        (folder / upstream / "hosts.toml").write_text(form.format(nowhere=NOWHERE, **names))
    return folder


@attrs.frozen
class Ctr:
    """``ctr images pull`` and ``ctr run``; without ``hosts`` the mirror stands in the name.

    ``alone``: a listener that is the upstream's own stands in the place of the upstream's name.
    """

    world: World
    containerd: Containerd
    hosts: Path | None
    alone: str | None = None

    async def pull(self, content: Content) -> None:
        how = ["--plain-http"] if self.hosts is None else ["--hosts-dir", self.hosts]
        name = self._name(content)
        await self._ctr("images", "pull", "--snapshotter=native", *how, name)
        ran = await self._ctr("run", *self._private(), name, "box", "/bin/sh", "-c", f"echo {SAYS}")
        assert ran.strip() == SAYS

    async def forget(self, content: Content) -> None:
        """``--sync`` waits until what only this image needed is gone from containerd's own store."""
        await self._ctr("images", "rm", "--sync", self._name(content))

    def _name(self, content: Content) -> str:
        if self.alone is not None:
            return f"{self.alone}/{content.repository}:{content.tag}"
        return content.name if self.hosts is not None else f"{self.world.netloc}/{content.name}"

    def _private(self) -> list[str]:
        folder = self.containerd.folder
        places = [f"--runc-root={folder}/runc", f"--fifo-dir={folder}/fifo", "--cgroup="]
        return ["--rm", "--net-host", "--snapshotter=native", *places]

    async def _ctr(self, *argv: object) -> str:
        done = await command("ctr", "--address", self.containerd.socket, *argv)
        return done.out.decode()
