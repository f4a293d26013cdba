"""skopeo, podman and buildah: one library underneath, one way to configure mirrors."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

import attrs

from regproxy.oci.digest import Digest
from tests.clients.world import NOWHERE, Content, World, command, private

HEAD = """\
unqualified-search-registries = []
short-name-mode = "disabled"
"""
MIRROR = """\
[[registry]]
prefix = "{upstream}"
location = "{nowhere}"
insecure = true
[[registry.mirror]]
location = "{netloc}/{upstream}"
insecure = true
"""
ENGINE = """\
[containers]
log_driver = "k8s-file"
[engine]
lock_type = "file"
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_config_dir = "{folder}/networks"
"""
SAYS = "regproxy-was-here"


@attrs.frozen
class Setup:
    """Files and environment that keep these programs inside ``folder``."""

    folder: Path
    policy: Path
    registries: Path
    env: dict[str, str]
    netloc: str
    by_mirror: bool
    alone: str | None = None
    """A listener that is the upstream's own: its address stands in the place of the upstream's name."""

    def reference(self, content: Content) -> str:
        """The name to pull: its own where mirrors are configured, else the mirror's name before it."""
        if self.alone is not None:
            return f"{self.alone}/{content.repository}:{content.tag}"
        return content.name if self.by_mirror else f"{self.netloc}/{content.name}"


def mirrors(netloc: str, nowhere: str, upstreams: Iterable[str]) -> str:
    """A registries.conf in which each of ``upstreams`` has the mirror in front of it."""
    entries = [MIRROR.format(netloc=netloc, nowhere=nowhere, upstream=upstream) for upstream in upstreams]
    return HEAD + "".join(entries)


def make_setup(world: World, *, by_mirror: bool) -> Setup:
    """Write what they read; ``by_mirror``: they find the daemon by a registries.conf."""
    folder = world.folder / "containers"
    folder.mkdir()
    policy, registries, engine = folder / "policy.json", folder / "registries.conf", folder / "engine.conf"
    policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    registries.write_text(mirrors(world.netloc, NOWHERE, world.registries) if by_mirror else "")
    engine.write_text(ENGINE.format(folder=folder))
    env = {
        "CONTAINERS_REGISTRIES_CONF": str(registries),
        "CONTAINERS_CONF": str(engine),
        "REGISTRY_AUTH_FILE": str(folder / "auth.json"),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "XDG_DATA_HOME": str(folder),
    }
    (folder / "auth.json").write_text("{}")
    return Setup(folder, policy, registries, env, world.netloc, by_mirror)


class Skopeo:
    """``skopeo copy`` into a new folder each time."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    async def pull(self, content: Content) -> None:
        target = Path(tempfile.mkdtemp(prefix="copy-", dir=self._setup.folder))
        found_by = f"--registries-conf={self._setup.registries}"
        argv = ["skopeo", found_by, "--policy", self._setup.policy, "copy", "--all", "--preserve-digests"]
        source = f"docker://{self._setup.reference(content)}"
        env = {**self._setup.env, "_CONTAINERS_ROOTLESS_UID": "1"}  # its cache is in XDG_DATA_HOME then
        await command(*argv, "--src-tls-verify=false", source, f"dir:{target}", env=env)
        assert Digest.of((target / "manifest.json").read_bytes()) == content.image.digest
        for digest in content.blobs:
            assert Digest.of((target / digest.hex).read_bytes()) == digest

    async def forget(self, content: Content) -> None:
        """Every copy is a new folder."""


class Podman:
    """``podman pull``, and ``podman run`` of what came."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        folder = setup.folder
        self._group = f"--cgroup-parent=/{setup.folder.parent.name}"
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

    async def pull(self, content: Content) -> None:
        name = self._setup.reference(content)
        pull = ["pull", "--quiet", "--tls-verify=false", "--signature-policy", self._setup.policy]
        await command(*self._podman, *pull, name, env=self._setup.env)
        run = ["run", "--rm", "--pull=never", "--network=host"]
        limits = [self._group, "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
        shell = ["/bin/sh", "-c", f"echo {SAYS}"]
        ran = await command(*self._podman, *run, *limits, name, *shell, env=self._setup.env)
        assert ran.out.decode().strip() == SAYS, ran.text

    async def forget(self, content: Content) -> None:
        await command(*self._podman, "rmi", "--force", self._setup.reference(content), env=self._setup.env)


class Buildah:
    """``buildah from``, and ``buildah run`` in the working container."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        folder = setup.folder
        self._buildah = private(
            "buildah",
            f"--root={folder}/root",
            f"--runroot={folder}/run",
            "--storage-driver=vfs",
            f"--registries-conf={setup.registries}",
        )

    async def pull(self, content: Content) -> None:
        begin = ["from", "--quiet", "--name=working", "--tls-verify=false"]
        policy = ["--signature-policy", self._setup.policy]
        name = self._setup.reference(content)
        await command(*self._buildah, *begin, *policy, name, env=self._setup.env)
        run = ["run", "--isolation=chroot", "working", "--", "/bin/sh", "-c", f"echo {SAYS}"]
        ran = await command(*self._buildah, *run, env=self._setup.env)
        assert ran.out.decode().strip() == SAYS, ran.text

    async def forget(self, content: Content) -> None:
        await command(*self._buildah, "rm", "working", env=self._setup.env)
        await command(*self._buildah, "rmi", "--force", self._setup.reference(content), env=self._setup.env)
