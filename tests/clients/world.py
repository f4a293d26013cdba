"""Two real registries, the real daemon in front of both, and what each of them was asked."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import treq
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.web.client import Agent, HTTPConnectionPool

from regproxy.oci.digest import Digest
from regproxy.testing.daemon import Daemon
from regproxy.testing.docker_registry import DockerRegistry, free_port
from regproxy.testing.images import BUSYBOX, Image, make_image, make_index
from regproxy.testing.layers import file_layer, sized_layer
from regproxy.testing.processes import Finished, run

LIMIT_S = 150.0
COMMAND_LIMIT_S = 40.0
HUB = "docker.io"
OTHER = "registry.example"
MARKER = "/marker"
NOWHERE = "127.0.0.1:9"
"""Where clients go that do not like the mirror: nobody listens there, and no name is looked up."""

_ALONE = ["unshare", "--mount", "--propagation=private", "sh", "-c"]
_ALONE += ['mount -t tmpfs none /run && mount -t tmpfs none /var/lib && exec "$0" "$@"']

SETTINGS = """\
listen: ["tcp:{port}:interface=127.0.0.1"]
admin: []
storage: {{root: "{root}", min_free: 0 B}}
ttl: 7d
tags: [{{match: "*", fresh: {fresh}}}]
log: {{format: json, access: "{access}"}}
upstreams: {upstreams}
"""


def runnable_image(docker: bool = False) -> Image:
    """busybox as /bin/sh and a second layer, for this platform; an index names another one beside it."""
    shell = file_layer({"bin/sh": BUSYBOX.read_bytes()})
    ours = make_image(shell, sized_layer(3 << 20), docker=docker)
    theirs = make_image(sized_layer(1 << 20, 9), docker=docker, architecture="s390x")
    return make_index(theirs, ours, docker=docker)


@attrs.frozen
class Content:
    """What is pulled: a repository and tag of an upstream, and the digests that a pull needs."""

    upstream: str
    repository: str
    tag: str
    image: Image
    manifests: frozenset[Digest]
    blobs: frozenset[Digest]

    @property
    def name(self) -> str:
        """As it is called on a machine that knows of no mirror."""
        return f"{self.upstream}/{self.repository}:{self.tag}"


def for_this_platform(upstream: str, repository: str, tag: str, image: Image) -> Content:
    """``image``, of whose children clients want the last one alone."""
    child = image.children[-1]
    needed = frozenset({image.digest, child.digest})
    return Content(upstream, repository, tag, image, needed, frozenset(child.blobs))


def all_of(upstream: str, repository: str, tag: str, image: Image) -> Content:
    """``image`` with all that it names."""
    manifests = frozenset(each.digest for each in image.all_manifests())
    return Content(upstream, repository, tag, image, manifests, frozenset(image.all_blobs()))


@attrs.frozen
class Asked:
    """A request that reached a registry or the daemon: ``last`` is the tag or digest it ended with."""

    method: str
    kind: str
    last: str
    status: int


def _asked(method: str, path: str, status: int) -> Asked:
    parts = path.partition("?")[0].rstrip("/").split("/")
    kind = parts[-2] if len(parts) > 4 else "base"
    return Asked(method, kind, parts[-1], status)


class World:
    """The registries ``docker.io`` and ``registry.example`` and the daemon, all below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registries = self.make_registries()
        self._port, self._alone = free_port(), free_port()
        self._access = folder / "access.log"
        self._settings = folder / "regproxy.yml"
        self._seen = 0
        self.daemon = Daemon(reactor, self._settings, self._port, LIMIT_S)

    def make_registries(self) -> dict[str, DockerRegistry]:
        """Each by the name that its upstream has."""
        return {name: DockerRegistry(reactor, self.folder / name, limit_s=LIMIT_S) for name in (HUB, OTHER)}

    def upstreams(self) -> dict[str, Any]:
        """As the settings have them, once the registries run."""
        found: dict[str, Any] = {
            name: {"endpoints": [registry.url], "insecure": True, "default": name == HUB}
            for name, registry in self.registries.items()
        }
        if OTHER in found:
            found[OTHER]["listen"] = [f"tcp:{self._alone}:interface=127.0.0.1"]
        return found

    @property
    def netloc(self) -> str:
        """The daemon's address as clients name it."""
        return self.daemon.netloc

    @property
    def alone(self) -> str:
        """The address of the listener that is ``registry.example``'s own."""
        return f"127.0.0.1:{self._alone}"

    async def start(self) -> None:
        for registry in self.registries.values():
            await registry.start()
        await self.start_daemon("1h")

    async def start_daemon(self, fresh: str) -> None:
        """Start it with tags that are believed for ``fresh``."""
        self._settings.write_text(
            SETTINGS.format(
                port=self._port,
                root=self.folder / "content",
                access=self._access,
                fresh=fresh,
                upstreams=json.dumps(self.upstreams()),
            )
        )
        await self.daemon.start()

    async def close(self) -> None:
        await self.daemon.stop()
        for registry in self.registries.values():
            await registry.stop()

    async def publish(self, content: Content) -> None:
        """Push it to its registry; no other one has it."""
        registry = self.registries[content.upstream]
        await registry.push(content.repository, content.tag, content.image)
        await registry.clear()

    async def lose_upstreams(self) -> None:
        """Registries gone, and a daemon that believes no tag any more without asking."""
        for registry in self.registries.values():
            await registry.stop()
        await self.daemon.stop()
        await self.start_daemon("1ms")

    async def cost(self) -> Counter[Asked]:
        """What reached the registries since the last time, but for the daemon's own ``GET /v2/``."""
        found: Counter[Asked] = Counter()
        for registry in self.registries.values():
            records = await registry.requests()
            found.update(_asked(each.method, each.path, each.status) for each in records)
            await registry.clear()
        return Counter({each: n for each, n in found.items() if each.kind != "base"})

    async def served(self) -> list[dict[str, Any]]:
        """The daemon's own records of what it was asked since the last time."""
        await self._get(self.daemon.url + MARKER)
        for _ in range(500):
            lines = self._access.read_text("utf-8").splitlines()[self._seen :]
            if any(MARKER in line for line in lines):
                self._seen += len(lines)
                return [json.loads(line) for line in lines if MARKER not in line]
            await deferLater(reactor, 0.01)
        raise AssertionError(f"no access line for {MARKER}")

    @property
    def story(self) -> str:
        """What the daemon printed and whom it answered, to explain a failure."""
        return f"{self.daemon.output[-3000:]}\n{self._access.read_text('utf-8')[-5000:]}"

    async def _get(self, url: str) -> None:
        agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
        answer = await HTTPClient(agent).get(url, reactor=reactor, timeout=20)
        await treq.content(answer)


def kinds(records: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Asked, str | None]]:
    """Each of the daemon's records as a question, and where its answer came from."""
    for record in records:
        yield _asked(record["method"], record["path"], record["status"]), record.get("how")


async def command(*argv: object, env: Mapping[str, str] | None = None) -> Finished:
    """Run it; an AssertionError with the end of its output when it fails."""
    words = [str(part) for part in argv]
    done = await run(reactor, words, env=env, limit_s=COMMAND_LIMIT_S)
    assert done.code == 0, f"{' '.join(words)} ended with {done.code}\n{done.text[-3000:]}"
    return done


def private(*argv: object) -> list[str]:
    """``argv`` with mounts, a /run and a /var/lib of its own, which go when it ends; in the same process."""
    return [*_ALONE, *map(str, argv)]


def beside(pid: int, *argv: object) -> list[str]:
    """``argv`` with the mounts of the process ``pid``, that :func:`private` started."""
    return ["nsenter", f"--mount=/proc/{pid}/ns/mnt", *map(str, argv)]


def processes_below(folder: Path) -> list[int]:
    """Processes whose command line names something in ``folder``: what a client left behind."""
    needle, found = os.fsencode(folder), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if needle in line:
            found.append(int(entry.name))
    return found


def mounts_below(folder: Path) -> list[str]:
    """What is mounted in ``folder``, the innermost first."""
    lines = Path("/proc/self/mounts").read_text("utf-8", "surrogateescape").splitlines()
    points = [line.split(" ")[1] for line in lines]
    return sorted((point for point in points if point.startswith(f"{folder}/")), reverse=True)


def remove_cgroups(name: str) -> None:
    """The cgroups called ``name`` that clients made for their containers, in either hierarchy."""
    base = Path("/sys/fs/cgroup")
    for top in [*base.glob(name), *base.glob(f"*/{name}")]:
        for inner in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
            inner.rmdir()
        top.rmdir()
