"""dockerd with a root, a state and a socket of its own, on a containerd of its own, and docker."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
from twisted.internet import reactor

from regproxy.testing.processes import Child
from tests.clients.containerd import Containerd
from tests.clients.containers import SAYS
from tests.clients.world import HUB, LIMIT_S, Content, World, beside, command


class Dockerd:
    """One dockerd below ``folder`` that has ``mirror`` for docker.io."""

    def __init__(self, folder: Path, containerd: Containerd, mirror: str) -> None:
        self._folder = folder
        self._containerd = containerd
        self._mirror = mirror
        self._child: Child | None = None
        self.host = f"unix://{folder}/sock"

    async def start(self) -> None:
        self._folder.mkdir()
        settings = self._folder / "daemon.json"
        settings.write_text(json.dumps(self._settings()))
        dockerd = ["dockerd", f"--config-file={settings}", f"--host={self.host}"]
        argv = beside(self._containerd.pid, *dockerd)  # runc, its child, enters what dockerd mounts
        self._child = Child(reactor, argv, {"TMPDIR": str(self._folder)}, LIMIT_S)
        await self._child.said(b"API listen on")

    def _settings(self) -> dict[str, object]:
        folder = self._folder
        return {
            "data-root": f"{folder}/root",
            "exec-root": f"{folder}/exec",
            "pidfile": f"{folder}/pid",
            "deprecated-key-path": f"{folder}/key.json",
            "containerd": str(self._containerd.socket),
            "storage-driver": "vfs",
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "bridge": "none",
            "iptables": False,
            "ip6tables": False,
            "registry-mirrors": [self._mirror],
            "insecure-registries": ["127.0.0.0/8"],
        }

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop()


@attrs.frozen
class Docker:
    """``docker pull`` and ``docker run``; ``by_mirror``: of docker.io's content by its own name."""

    world: World
    dockerd: Dockerd
    by_mirror: bool

    async def pull(self, content: Content) -> None:
        name = self._name(content)
        await self._docker("pull", "--quiet", name)
        group = f"--cgroup-parent=/{self.world.folder.name}"
        run = ["run", "--rm", "--pull=never", "--network=host", group, name]
        ran = await self._docker(*run, "/bin/sh", "-c", f"echo {SAYS}")
        assert ran.strip() == SAYS

    async def forget(self, content: Content) -> None:
        await self._docker("rmi", "--force", self._name(content))

    def _name(self, content: Content) -> str:
        assert not self.by_mirror or content.upstream == HUB, "it has mirrors for docker.io only"
        return content.name if self.by_mirror else f"{self.world.netloc}/{content.name}"

    async def _docker(self, *argv: str) -> str:
        env = {"DOCKER_CONFIG": str(self.world.folder / "docker-client"), "DOCKER_CONTEXT": ""}
        done = await command("docker", "--host", self.dockerd.host, *argv, env=env)
        return done.out.decode()
