"""A daemon as the docs imagine it, and commands that mean it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from twisted.internet import reactor

from regproxy.testing.daemon import Daemon
from regproxy.testing.docker_registry import free_port
from regproxy.testing.images import make_index, sized_image
from regproxy.testing.processes import Child, Finished
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.secrets import MARKER
from tests.docs.blocks import ROOT, all_blocks

LIMIT_S = 60.0
IMAGES = {
    "library/nginx": ("1.29", "latest"),
    "prometheus/prometheus": ("latest",),
    "org/app": ("1",),
}
"""What the registry has that stands for all of the internet."""
UPSTREAMS = ("docker.io", "ghcr.io", "quay.io")
PROGRAMS = {
    "regproxy": 'exec {python} -m regproxy "$@"',
    "twistd": 'exec {python} -c "from twisted.scripts.twistd import run; run()" "$@"',
}


class World:
    """The daemon of the docs below ``folder``, on ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = ScriptableRegistry(reactor)
        self._port, self._admin = free_port(), free_port()
        self.daemon = Daemon(reactor, folder / "regproxy.yml", self._port, 300)

    async def start(self) -> None:
        await self.registry.start()
        for repository, tags in IMAGES.items():
            for tag in tags:
                self.registry.put_image(repository, tag, make_index(sized_image(100_000)))
        self._write_settings("regproxy.yml", "root", self._port, self._admin, f"{self.folder}/admin.sock")
        self._write_settings("second.yml", "second", 0, 0, f"{self.folder}/second.sock")
        self._write_programs()
        self._write_home()
        await self.daemon.start()

    async def stop(self) -> None:
        await self.daemon.stop()
        await self.registry.stop()

    def _write_settings(self, name: str, root: str, port: int, admin: int, sock: str) -> None:
        upstream = {"endpoints": [self.registry.url], "insecure": True}
        content = {
            "listen": [f"tcp:{port}:interface=127.0.0.1"],
            "admin": [f"unix:{sock}", f"tcp:{admin}:interface=127.0.0.1"],
            "storage": {"root": str(self.folder / root)},
            "upstreams": {each: {**upstream, "default": each == "docker.io"} for each in UPSTREAMS},
        }
        (self.folder / "admin.token").touch(0o600)
        (self.folder / "admin.token").write_text(f"{MARKER}-of-the-operators-of-this-mirror\n")
        (self.folder / name).write_text(json.dumps({**content, "admin_token_file": "admin.token"}))

    def _write_programs(self) -> None:
        (self.folder / "bin").mkdir()
        for name, text in PROGRAMS.items():
            program = self.folder / "bin" / name
            program.write_text(f"#!/bin/sh\n{text.format(python=sys.executable)}\n")
            program.chmod(0o755)

    def _write_home(self) -> None:
        """skopeo's own settings: any signature will do, and the mirrors of docs/clients.md."""
        folder = self.folder / ".config" / "containers"
        folder.mkdir(parents=True)
        (folder / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        mirrors = [
            block.text for block in all_blocks() if "[[registry]]" in block.text and "clients" in block.page
        ]
        (folder / "registries.conf").write_text(self.meant("\n".join(mirrors)))

    def substitutes(self) -> dict[str, str]:
        """What stands for what in a command of the docs."""
        folder = str(self.folder)
        return {
            "mirror.example:5000": f"127.0.0.1:{self._port}",
            "localhost:5000": f"127.0.0.1:{self._port}",
            "127.0.0.1:5000": f"127.0.0.1:{self._port}",
            "127.0.0.1:5001": f"127.0.0.1:{self._admin}",
            "localhost:5001": f"127.0.0.1:{self._admin}",
            "/run/regproxy/admin.sock": f"{folder}/admin.sock",
            "/etc/regproxy/admin.token": f"{folder}/admin.token",
            "/etc/regproxy/regproxy.yml": f"{folder}/regproxy.yml",
            "/var/lib/regproxy": f"{folder}/root",
            "/var/log/regproxy": folder,
        }

    def meant(self, text: str) -> str:
        """``text`` with the daemon's real addresses and paths."""
        for word, other in self.substitutes().items():
            text = text.replace(word, other)
        return text

    def _child(self, command: str) -> Child:
        path = f"{self.folder}/bin:{os.environ.get('PATH', os.defpath)}"
        env = {
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.folder),
            "XDG_RUNTIME_DIR": str(self.folder),
            "REGPROXY_CONFIG": str(self.folder / "regproxy.yml"),
        }
        within = (
            f"cd {self.folder} && exec {command}" if "|" not in command else f"cd {self.folder} && {command}"
        )
        return Child(reactor, ["sh", "-c", within], env, LIMIT_S)

    async def run(self, command: str) -> Finished:
        """Run a command of the docs to its end."""
        return await self._child(command).ended()

    async def begin(self, command: str, says: bytes) -> None:
        """Start a command that goes on for ever; end it when it ``says`` this."""
        child = self._child(command)
        try:
            await child.said(says)
        finally:
            await child.stop()


def has(program: str) -> bool:
    """Whether this machine has it."""
    return (
        program in PROGRAMS
        or shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None
    )
