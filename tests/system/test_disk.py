"""Disks that are really full, read-only or limited: no pull fails, no start fails.

The daemon runs in a mount namespace of its own, where its folder is a small file system.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from regproxy.oci.digest import Digest
from regproxy.testing import actions
from regproxy.testing.daemon import Daemon
from regproxy.testing.docker_registry import free_port
from regproxy.testing.images import make_image
from regproxy.testing.processes import run
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.reply import Gate
from regproxy.testing.rules import Match
from tests.conftest import lacks, require_program
from tests.system.client import Answer, Client

pytestmark = pytest.mark.system

MIB = 1 << 20
SETTINGS = """\
listen: ["tcp:{port}:interface=127.0.0.1"]
{admin}
storage: {{root: "{root}", min_free: 0 B}}
log: {{access: "off"}}
upstreams:
  registry.test: {{endpoints: ["{upstream}"], insecure: true, default: true, public: true}}
"""
OWN_MOUNTS = ("unshare", "--mount", "--propagation", "private")
SMALL_DISK = 'mount -t tmpfs -o size=8m,mode=750 tmpfs "$0" && '
ALL_OF_IT = 'mkdir "$0/lost+found" && { head -c 9m /dev/zero >"$0/lost+found/ballast" || true; } && '
FEW_FILES = 'mount -t tmpfs -o size=64m,nr_inodes=200,mode=750 tmpfs "$0" && '
ALL_FILES = (
    'mkdir "$0/lost+found" && for number in $(seq 300); do touch "$0/lost+found/$number" || break; done '
    "2>/dev/null; true"
)
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && '
TRIES = "takes no writes: "


def in_mounts(script: str, root: Path) -> list[str]:
    """A command that runs the one after it, once ``script`` has arranged what is at ``root``."""
    return [*OWN_MOUNTS, "sh", "-c", f'{script} exec "$@"', str(root)]


@pytest.fixture(scope="module", autouse=True)
def _mounts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skipped where nothing can be mounted, but never under CI=true."""
    require_program("unshare")
    folder = tmp_path_factory.mktemp("try")
    for script in (SMALL_DISK, READ_ONLY):
        done = subprocess.run([*in_mounts(script, folder), "true"], capture_output=True, timeout=20)
        if done.returncode == 0:
            continue
        lacks(f"needs leave to mount: {done.stderr.decode()}")


@attrs.define
class House:
    """A registry, and daemons in front of it, one after the other, on the same folder."""

    registry: ScriptableRegistry
    folder: Path
    root: Path
    daemon: Daemon | None = None
    client: Client | None = None
    admin: Client | None = None
    prefix: Sequence[str] = ()

    async def start(
        self, script: str | None = None, prefix: Sequence[str] = (), own_admin: bool = True
    ) -> None:
        """Begin a daemon whose folder ``script`` has arranged; ``own_admin``: not the default one."""
        await self.stop()
        port, admin_port = free_port(), free_port()
        admin = f'admin: ["tcp:{admin_port}:interface=127.0.0.1"]' if own_admin else ""
        settings = self.folder / "regproxy.yml"
        settings.write_text(
            SETTINGS.format(port=port, admin=admin, root=self.root, upstream=self.registry.url)
        )
        self.prefix = prefix if script is None else in_mounts(script, self.root)
        self.daemon = Daemon(reactor, settings, port, limit_s=100, prefix=self.prefix)
        await self.daemon.start()
        self.client = Client(reactor, self.daemon.url)
        self.admin = Client(reactor, f"http://127.0.0.1:{admin_port}")

    async def stop(self) -> None:
        for client in filter(None, (self.client, self.admin)):
            await client.close()
        self.client = self.admin = None
        if self.daemon is not None:
            done = await self.daemon.stop()
            assert done is not None
            assert done.code in (0, -15), done.text
            self.check_output(done.text)

    def check_output(self, text: str) -> None:
        assert "Traceback" not in text, text
        assert "Unhandled" not in text, text

    async def inside(self, script: str) -> None:
        """Do something in the daemon's own world."""
        assert self.daemon is not None
        argv = ["nsenter", "--target", str(self.daemon.pid), "--mount", "sh", "-c", script, str(self.root)]
        done = await run(reactor, argv, limit_s=20)
        assert done.code == 0, done.text

    def pull(self, content: bytes, **headers: str) -> Deferred[Answer]:
        assert self.client is not None
        return Deferred.fromCoroutine(self.client.ask(path(content), **headers))

    async def assert_pulled(self, *contents: bytes) -> None:
        for content in contents:
            answer = await self.pull(content)
            assert (answer.status, answer.complete) == (200, True)
            assert answer.body == content

    def told(self) -> list[str]:
        """What the log says of the disk."""
        assert self.daemon is not None
        return [line for line in self.daemon.output.splitlines() if TRIES in line]

    async def ready(self) -> tuple[int, str]:
        assert self.admin is not None
        answer = await self.admin.ask("/readyz")
        return answer.status, answer.body.decode()


def path(content: bytes) -> str:
    return f"/v2/team/app/blobs/{Digest.of(content)}"


@pytest_twisted.async_yield_fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    registry = ScriptableRegistry(reactor)
    await registry.start()
    root = tmp_path / "content"
    root.mkdir(mode=0o750)
    made = House(registry, tmp_path, root)
    yield made
    await made.stop()
    await registry.stop()


def blobs(house: House, *sizes: int) -> list[bytes]:
    made = [os.urandom(size) for size in sizes]
    for content in made:
        house.registry.put_blob("team/app", content)
    return made


async def until(there: Callable[[], bool], what: str) -> None:
    for _ in range(500):
        if there():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError(what)


async def test_a_disk_that_is_full_from_the_start(house: House) -> None:
    contents = blobs(house, 100, 300_000, 3 * MIB)
    image = make_image()
    house.registry.put_image("team/app", "latest", image)
    await house.start(SMALL_DISK + ALL_OF_IT)
    assert house.client is not None
    for _ in range(2):
        await house.assert_pulled(*contents)
        answer = await house.client.ask("/v2/team/app/manifests/latest")
        assert (answer.status, answer.body) == (200, image.manifest.content)
        answer = await house.client.ask(f"/v2/team/app/manifests/{image.digest}")
        assert (answer.status, answer.body) == (200, image.manifest.content)
    [line] = house.told()
    assert "the disk is full (ENOSPC), 0 MiB free" in line
    status, reasons = await house.ready()
    assert status == 503
    assert "the storage folder takes no writes: the disk is full (ENOSPC)" in reasons


async def test_a_disk_without_room_for_more_files(house: House) -> None:
    """Inodes are used up while there is room for bytes: what is there is served, all else passes."""
    kept, *contents = blobs(house, 5000, 100, 300_000)
    await house.start(FEW_FILES)
    await house.assert_pulled(kept)
    await house.inside(ALL_FILES)
    for _ in range(2):
        await house.assert_pulled(kept, *contents)
    [line] = house.told()
    assert "the disk is full (ENOSPC)" in line
    await house.inside('rm -r "$0/lost+found"')
    [new] = blobs(house, 70_000)
    house.registry.clear()
    await house.assert_pulled(new, new)
    assert house.registry.count(method="GET", kind="blob") == 1, "kept again, without a restart"


async def test_a_disk_that_another_process_fills_in_the_middle(house: House) -> None:
    """Half of what is free is reserved at most, so a blob of more than that can lose its room."""
    [content] = blobs(house, 6 * MIB)
    gate = Gate()
    house.registry.script(Match(kind="blob", method="GET"), actions.hold(gate, at=2 * MIB))
    await house.start(SMALL_DISK)
    assert house.daemon is not None
    pulling = [house.pull(content) for _ in range(4)]
    pulling.append(house.pull(content, Range="bytes=1000-4999999"))
    await gate.arrived()
    await house.inside(ALL_OF_IT + "true")
    late = house.pull(content)
    gate.open()
    *answers, part, last = await gatherResults([*pulling, late])
    for answer in (*answers, last):
        assert (answer.status, answer.complete) == (200, True)
        assert answer.body == content
    assert (part.status, part.complete, part.body) == (206, True, content[1000:5_000_000])
    assert len(house.told()) == 1
    await house.inside('test -z "$(find "$0/blobs" "$0/fills" -type f 2>/dev/null)"')


async def test_room_that_came_back_is_used(house: House) -> None:
    [content] = blobs(house, 300_000)
    await house.start(SMALL_DISK + ALL_OF_IT)
    await house.assert_pulled(content)
    await house.inside('rm -r "$0/lost+found"')
    await house.assert_pulled(content, content)
    assert house.registry.count(method="GET", kind="blob") == 2
    assert len(house.told()) == 1


async def test_a_read_only_disk_serves_what_it_has_and_passes_the_rest(house: House) -> None:
    kept, touched, damaged, new = blobs(house, 200_000, 300_000, 400_000, 500_000)
    await house.start()
    await house.assert_pulled(kept, touched, damaged)
    await house.stop()
    for content, change in ((touched, b""), (damaged, b"?")):
        digest = Digest.of(content)
        file = house.root / "blobs" / "sha256" / digest.hex[:2] / digest.hex
        file.chmod(0o640)
        file.write_bytes(change + content[len(change) :])
        file.chmod(0o440)
    house.registry.clear()
    await house.start(READ_ONLY)
    await house.assert_pulled(kept, touched, damaged, new)
    assert house.registry.count(method="GET", kind="blob") == 2, "the damaged one and the new one"
    await house.assert_pulled(kept, touched, damaged, new)
    [line] = house.told()
    assert "the disk is read-only (EROFS)" in line
    assert "the disk is read-only (EROFS)" in (await house.ready())[1]


async def test_a_first_start_on_a_read_only_disk(house: House) -> None:
    [content] = blobs(house, 200_000)
    await house.start(READ_ONLY)
    await house.assert_pulled(content, content)
    assert len(house.told()) == 1


async def test_what_a_kill_left_on_a_disk_that_is_read_only_since(house: House) -> None:
    """Spools, a state that cannot be read, an admin socket that cannot be made: lines in the log."""
    kept, new = blobs(house, 200_000, 300_000)
    await house.start()
    await house.assert_pulled(kept)
    await house.stop()
    left = {"sha256-ab-1.spool", "sha256-ab-1.map", "sha256-cd-2.spool", "rubbish"}
    for name in left:
        (house.root / "fills" / name).write_bytes(b"left")
    (house.root / "scheduler-state.json").write_bytes(b"\0 no state")
    await house.start(READ_ONLY, own_admin=False)
    await house.assert_pulled(kept, new, kept, new)
    assert house.daemon is not None
    output = house.daemon.output
    assert output.count("for the next start") == 1
    assert output.count("No admin listener: ") == 1
    assert len(house.told()) == 1
    await house.stop()
    await house.start()
    await house.assert_pulled(kept, new)
    assert left.isdisjoint(os.listdir(house.root / "fills"))


async def test_a_limit_on_the_size_of_a_file(house: House) -> None:
    """EFBIG, since Python ignores SIGXFSZ: that blob passes, others are kept."""
    large, small = blobs(house, 3 * MIB, 100_000)
    await house.start(prefix=["sh", "-c", 'ulimit -f 2048; exec "$@"', "sh"])
    await house.assert_pulled(large, small, large, small)
    assert house.registry.count(method="GET", kind="blob") == 3
    assert house.told() == []
    assert (await house.ready())[0] == 200
