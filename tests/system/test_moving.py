"""Moving in and out with real programs: docker-registry's folder, skopeo, a daemon that reaches nobody."""

from __future__ import annotations

import json
import os
import signal
import sys
import tarfile
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.task import deferLater

from regproxy.testing.checker import check
from regproxy.testing.daemon import Daemon
from regproxy.testing.docker_registry import BINARY, DockerRegistry, free_port
from regproxy.testing.images import Image, make_image, make_index, sized_image
from regproxy.testing.processes import Child, Finished
from tests.conftest import require_program
from tests.moving.sources import blob_in, snapshot, write_store

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60.0
INDEX = make_index(sized_image(40_000, 700_000), make_image(architecture="arm64"))
IMAGE = sized_image(300_000, seed=3)
BIG = sized_image(*[8_000_000 + number for number in range(8)], seed=5)


class Site:
    """A folder with settings, whose one upstream is a port that nobody listens on."""

    def __init__(self, folder: Path, name: str = "site") -> None:
        self.folder = folder / name
        self.folder.mkdir()
        self.port, nobody = free_port(), free_port()
        self.settings = self.folder / "regproxy.yml"
        self.root = self.folder / "root"
        upstream = {"endpoints": [f"http://127.0.0.1:{nobody}"], "insecure": True, "default": True}
        content = {
            "listen": [f"tcp:{self.port}:interface=127.0.0.1"],
            "admin": [f"unix:{self.folder}/admin.sock"],
            "storage": {"root": str(self.root)},
            "upstreams": {"docker.io": upstream},
        }
        self.settings.write_text(json.dumps(content))
        self.daemon = Daemon(reactor, self.settings, self.port, LIMIT_S)

    def child(self, *arguments: str) -> Child:
        argv = [sys.executable, "-m", "regproxy", *arguments, "--config", str(self.settings)]
        return Child(reactor, argv, {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}, LIMIT_S)

    async def regproxy(self, *arguments: str) -> Finished:
        return await self.child(*arguments).ended()


async def skopeo(folder: Path, *arguments: str) -> Finished:
    require_program("skopeo")
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    return await Child(reactor, ["skopeo", "--insecure-policy", *arguments], env, LIMIT_S).ended()


def pulled(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"version", "manifest.json"}


async def pull(site: Site, image: str, to: Path) -> None:
    done = await skopeo(
        site.folder,
        *("copy", "--all", "--preserve-digests", "--src-tls-verify=false"),
        *(f"docker://127.0.0.1:{site.port}/{image}", f"dir:{to}"),
    )
    assert done.code == 0, done.text


def blobs_of(image: Image) -> set[str]:
    return {digest.hex for digest in image.all_blobs()}


async def test_a_registry_moves_in_and_is_served_without_it(tmp_path: Path) -> None:
    """Pushed by a real client, taken over, pulled with every upstream down; scheduler entries and all."""
    require_program(str(BINARY))
    registry, site = DockerRegistry(reactor, tmp_path / "registry", limit_s=LIMIT_S), Site(tmp_path)
    await registry.start()
    try:
        await registry.push("library/nginx", "1.29", INDEX)
        copied = await skopeo(
            tmp_path,
            *("copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"),
            *(f"docker://{registry.netloc}/library/nginx:1.29", f"docker://{registry.netloc}/org/app:v1"),
        )
        assert copied.code == 0, copied.text
    finally:
        await registry.stop()
    before = snapshot(registry.folder / "data")
    foreseen = await site.regproxy(
        "import", "-n", "--json", str(registry.folder / "data"), "--as", "docker.io"
    )
    assert json.loads(foreseen.out)["tags"] == 2
    assert not site.root.exists()
    done = await site.regproxy("import", str(registry.folder / "data"), "--as", "docker.io")
    assert (done.code, done.err) == (0, b"")
    assert b"2 tags, 6 manifests, 5 blobs of 2 repositories came" in done.out
    assert snapshot(registry.folder / "data") == before
    assert check(site.root) == []
    await site.daemon.start()
    try:
        await pull(site, "library/nginx:1.29", tmp_path / "one")
        await pull(site, "org/app:v1", tmp_path / "two")
        assert blobs_of(INDEX) <= pulled(tmp_path / "one")
        assert blobs_of(INDEX) <= pulled(tmp_path / "two")
    finally:
        await site.daemon.stop()
    assert check(site.root, surveyed=True, saved=True) == []


async def test_a_daemon_is_not_written_beside_but_read(tmp_path: Path) -> None:
    site, source = Site(tmp_path), write_store(tmp_path / "store", {"org/app": {"v1": IMAGE}})
    assert (await site.regproxy("import", str(source), "--as", "docker.io")).code == 0
    await site.daemon.start()
    try:
        refused = await site.regproxy("import", str(source), "--as", "docker.io")
        assert refused.code == 9
        assert f"process {site.daemon.pid}: an import needs it alone; stop the daemon" in refused.text
        foreseen = await site.regproxy("import", "-n", str(source), "--as", "docker.io")
        assert (foreseen.code, foreseen.out) == (
            7,
            f"{source}: nothing new is in it\n  2 blobs (293 KiB) were here already\n".encode(),
        )
        given = await site.regproxy("export", "org/app:v1", "--to", str(tmp_path / "out.tar"))
        assert given.code == 0, given.text
    finally:
        await site.daemon.stop()


async def test_an_air_gapped_site(tmp_path: Path) -> None:
    """Out of one mirror, into another, and out again: the same bytes, which skopeo reads."""
    here, there = Site(tmp_path, "here"), Site(tmp_path, "there")
    source = write_store(tmp_path / "store", {"library/nginx": {"1.29": INDEX}, "org/app": {"v1": IMAGE}})
    assert (await here.regproxy("import", str(source), "--as", "docker.io")).code == 0
    names = ["nginx:1.29", "docker.io/org/app"]
    given = await here.regproxy("export", *names, "--to", str(tmp_path / "out.tar"))
    assert given.code == 0, given.text
    taken = await there.regproxy("import", str(tmp_path / "out.tar"))
    assert taken.code == 0, taken.text
    assert check(there.root) == []
    again = await there.regproxy("export", *names, "--to", str(tmp_path / "again.tar"))
    assert again.code == 0, again.text
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "out.tar").read_bytes()
    assert (await there.regproxy("export", *names, "--to", str(tmp_path / "folder"))).code == 0
    for layout in (f"oci-archive:{tmp_path}/out.tar", f"oci:{tmp_path}/folder"):
        done = await skopeo(tmp_path, "inspect", "--raw", f"{layout}:docker.io/library/nginx:1.29")
        assert done.out == INDEX.content, done.text
        to = tmp_path / layout.partition(":")[0]
        done = await skopeo(tmp_path, "copy", f"{layout}:docker.io/org/app:v1", f"dir:{to}")
        assert done.code == 0, done.text
        assert blobs_of(IMAGE) <= pulled(to)
    await there.daemon.start()
    try:
        await pull(there, "library/nginx:1.29", tmp_path / "pulled")
    finally:
        await there.daemon.stop()


async def test_what_skopeo_writes_is_taken_in(tmp_path: Path) -> None:
    site = Site(tmp_path)
    source = write_store(tmp_path / "store", {"org/app": {"v1": IMAGE}})
    await site.regproxy("import", str(source), "--as", "docker.io")
    await site.regproxy("export", "org/app:v1", "--to", str(tmp_path / "out"))
    done = await skopeo(
        tmp_path, "copy", f"oci:{tmp_path}/out:docker.io/org/app:v1", f"oci-archive:{tmp_path}/s.tar:v2"
    )
    assert done.code == 0, done.text
    taken = await site.regproxy("import", str(tmp_path / "s.tar"), "--as", "docker.io/org/other")
    assert taken.code == 0, taken.text
    assert (site.root / "repositories/docker.io/org/other/_tags/v2").is_file()


async def begun(site: Site, source: Path, after: int) -> Child:
    """An import of which so many blobs have come, and more are on their way."""
    child = site.child("import", str(source), "--as", "docker.io")
    blobs, fills = site.root / "blobs", site.root / "fills"
    while child.finished is None:
        if len(list(blobs.glob("sha256/??/*"))) >= after and list(fills.glob("*.spool")):
            return child
        await deferLater(reactor, 0.005, lambda: None)
    pytest.fail(f"it had ended before it could be ended: {child.finished.text}")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_one_that_is_ended_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    site, source = Site(tmp_path), write_store(tmp_path / "store", {"org/app": {"v1": BIG}})
    child = await begun(site, source, 2)
    os.kill(child.pid, how)
    ended = await child.ended()
    if how != signal.SIGKILL:
        assert ended.code == 130, ended.text
        assert b"interrupted" in ended.err
        assert list((site.root / "fills").iterdir()) == []
    assert check(site.root) == []
    done = await site.regproxy("import", "--json", str(source), "--as", "docker.io")
    assert done.code == 0, done.text
    counts = json.loads(done.out)
    assert counts["there"] >= 2
    assert counts["there"] + counts["blobs"] == len(BIG.blobs)
    assert check(site.root) == []


async def test_what_is_wrong_has_an_exit_code(tmp_path: Path) -> None:
    site, source = Site(tmp_path), write_store(tmp_path / "store", {"org/app": {"v1": IMAGE}})
    layer = next(each for each in IMAGE.blobs if len(IMAGE.blobs[each]) == 300_000)
    blob_in(source, layer).write_bytes(b"x" * 300_000)

    async def code(*arguments: str) -> int:
        done = await site.regproxy(*arguments)
        assert b"Traceback" not in done.err
        return done.code

    assert await code("export", "org/app", "--to", str(tmp_path / "out")) == 8
    assert await code("import", str(source), "--as", "docker.io") == 8
    assert await code("import", str(source)) == 2
    assert await code("import", str(source), "--as", "quay.io") == 2
    assert await code("import", str(tmp_path / "none")) == 2
    assert await code("export", "org/app", "--to", str(tmp_path / "out")) == 7
    assert await code("export", "org/none:v1", "--to", str(tmp_path / "out")) == 7
    assert await code("export", "Not a name", "--to", str(tmp_path / "out")) == 2
    assert not (tmp_path / "out").exists()
    blob_in(source, layer).write_bytes(IMAGE.blobs[layer])
    assert await code("import", str(source), "--as", "docker.io") == 0
    assert await code("import", str(source), "--as", "docker.io") == 7
    assert await code("export", "org/app", "--to", str(tmp_path / "out")) == 0
    assert await code("export", "org/app", "--to", str(tmp_path / "out")) == 2
    assert await code("export", "org/app", "org/none:1", "--to", str(tmp_path / "o.tar")) == 8
    with tarfile.open(tmp_path / "o.tar") as tar:
        assert len(tar.getnames()) == 7
