"""The operations door of a real daemon: who gets through, who does not, and a purge all the way."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from regproxy.admin.site import CONNECTIONS
from regproxy.oci.digest import Digest
from regproxy.testing import actions
from regproxy.testing.checker import check
from regproxy.testing.daemon import Daemon
from regproxy.testing.docker_registry import free_port
from regproxy.testing.images import make_image, make_index
from regproxy.testing.layers import sized_layer
from regproxy.testing.processes import Finished, run
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.reply import Gate
from regproxy.testing.rules import Match
from regproxy.testing.secrets import MARKER
from tests.conftest import lacks, require_program
from tests.overheard import overhear
from tests.system.client import Client

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60.0
TOKEN = f"{MARKER}-{'t' * 40}"
SHARED = sized_layer(30_000)
IMAGE = make_index(
    make_image(SHARED, sized_layer(50_000, 2)), make_image(sized_layer(4000, 3), architecture="x")
)
OTHER = make_image(SHARED)
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PURGE", "BREW"]
PATHS = [
    "/actions/purge",
    "/actions/purge/",
    "/actions/",
    "/actions",
    "//actions/purge",
    "/./actions/purge",
    "/healthz/../actions/purge",
    "/%61ctions/purge",
    "/actions%2fpurge",
    "/actions/purge?image=registry.example/team/app",
    "/v2/actions/purge",
    "/v2/../actions/purge",
    "/admin/actions/purge",
    "http://localhost/actions/purge",
    "/healthz",
    "/readyz",
    "/metrics",
    "/status",
    "/",
    "*",
    "/v2/",
    "/v2/team/app/manifests/latest",
    "/v2/team/app/tags/list",
]


@attrs.define
class World:
    """A registry with two repositories that share a layer, and a daemon in front of it."""

    folder: Path
    registry: ScriptableRegistry
    daemon: Daemon
    client: Client
    port: int
    admin: int

    @property
    def socket(self) -> Path:
        return self.folder / "admin.sock"

    async def regproxy(self, *arguments: str) -> Finished:
        argv = [sys.executable, "-m", "regproxy", *arguments]
        env = {"PYTHONPATH": str(ROOT), "REGPROXY_CONFIG": str(self.folder / "regproxy.yml")}
        return await run(reactor, argv, env=env, limit_s=LIMIT_S)

    async def purge(self, image: str, *arguments: str, code: int = 0) -> dict[str, Any]:
        done = await self.regproxy("purge", image, "--json", *arguments)
        assert done.code == code, done.text
        found: dict[str, Any] = json.loads(done.out)
        return found

    async def pull(self, repository: str) -> list[str]:
        """All of it, as a client does; what it cost the registry."""
        self.registry.clear()
        image = IMAGE if repository == "team/app" else OTHER
        await self._get(f"/v2/{repository}/manifests/latest")
        for manifest in image.all_manifests():
            await self._get(f"/v2/{repository}/manifests/{manifest.digest}")
        for digest in image.all_blobs():
            await self._get(f"/v2/{repository}/blobs/{digest}")
        await self._settled()
        return [f"{each.method} {each.kind}" for each in self.registry.requests]

    async def _get(self, path: str) -> None:
        answer = await self.client.ask(path)
        assert (answer.status, answer.complete) == (200, True), answer

    async def _settled(self) -> None:
        """What was fetched is on disk."""
        for _ in range(500):
            if not list((self.folder / "content/fills").glob("*")):
                return
            await deferLater(reactor, 0.01)
        raise AssertionError("spools stay")

    def content(self) -> list[str]:
        """Names of all content, rights and tags on disk."""
        found = (
            path for top in ("blobs", "repositories") for path in (self.folder / "content" / top).rglob("*")
        )
        return sorted(str(path.relative_to(self.folder)) for path in found if path.is_file())

    async def said(self, text: str) -> str:
        """What the daemon printed, once this is in it."""
        for _ in range(500):
            if text in self.daemon.output:
                return self.daemon.output
            await deferLater(reactor, 0.01)
        raise AssertionError(f"{text!r} is not in:\n{self.daemon.output}")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user may look into."""
    folder = Path(tempfile.mkdtemp(prefix="rp-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest_twisted.async_yield_fixture
async def world(place: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    registry = ScriptableRegistry(reactor)
    await registry.start()
    registry.put_image("team/app", "latest", IMAGE)
    registry.put_image("team/other", "latest", OTHER)
    port, admin = free_port(), free_port()
    token = place / "admin.token"
    token.touch(0o600)
    token.write_text(TOKEN)
    content: dict[str, Any] = {
        "listen": [f"tcp:{port}:interface=127.0.0.1"],
        "admin": [f"unix:{place}/admin.sock", f"tcp:{admin}:interface=127.0.0.1"],
        "storage": {"root": str(place / "content")},
        "tags": [{"match": "*", "fresh": "1h"}],
        "log": {"access": "off"},
        "upstreams": {"registry.example": {"endpoints": [registry.url], "insecure": True, "default": True}},
    }
    if getattr(request, "param", None) == "token":
        content["admin_token_file"] = "admin.token"
    (place / "regproxy.yml").write_text(json.dumps(content))
    daemon = Daemon(reactor, place / "regproxy.yml", port, LIMIT_S)
    await daemon.start()
    client = Client(reactor, daemon.url)
    made = World(place, registry, daemon, client, port, admin)
    await made.said("The survey found")
    yield made
    await client.close()
    overhear("the daemon", daemon.output)
    await daemon.stop()
    await registry.stop()


with_token = pytest.mark.parametrize("world", ["token"], indirect=True)


async def test_explain_tells_what_a_request_meets_and_asks_nobody(world: World) -> None:
    """All the way: before a pull, after it, by digest, and a blob."""

    async def explained(image: str) -> dict[str, Any]:
        done = await world.regproxy("explain", image, "--json")
        assert done.code == 0, done.text
        found: dict[str, Any] = json.loads(done.out)
        return found

    name = "registry.example/team/app"
    world.registry.clear()
    before = await explained(f"{name}:latest")
    assert (before["tag"], before["decision"]["why"]) == (None, "nothing is known of the tag")
    assert not world.registry.requests, "somebody outside was asked"
    await world.pull("team/app")
    world.registry.clear()
    after = await explained(f"{name}:latest")
    assert after["tag"]["digest"] == str(IMAGE.digest)
    assert (after["decision"]["asked"], after["circuit"]["state"]) == ("nothing", "closed")
    assert after["content"]["closure"]["whole"] is True
    (digest, *_) = IMAGE.all_blobs()
    blob = await explained(f"{name}@{digest}")
    assert (blob["content"]["type"], blob["content"]["right"]) == ("blob", True)
    text = await world.regproxy("explain", f"{name}:latest")
    assert text.code == 0
    assert b"rule" in text.out
    assert not world.registry.requests, "somebody outside was asked"
    await world.said("Operation explain for ")
    wrong = await world.regproxy("explain", name)
    assert wrong.code == 2


async def test_a_purge_through_the_socket(world: World) -> None:
    """What only this repository held is gone from disk and memory, and is fetched anew."""
    await world.pull("team/app")
    await world.pull("team/other")
    assert await world.pull("team/app") == []
    before = world.content()
    foreseen = await world.purge("registry.example/team/app:latest", "--dry-run")
    assert world.content() == before
    done = await world.purge("team/app:latest")
    assert done | {"dry_run": True} == foreseen
    assert (done["tags"], done["manifests"], done["blobs"]) == (1, 3, 5)
    shared = len(SHARED.content)
    assert (done["shared_files"], done["shared_bytes"], done["freed_bytes"]) == (
        1,
        shared,
        IMAGE.size_bytes - shared,
    )
    left = [path for path in world.content() if "team/app" in path]
    assert left == []
    assert await world.pull("team/other") == [], "the other one's are where they were"
    said = await world.said("registry.example/team/app:latest: 1 tags")
    who = f"Operation purge for uid {os.getuid()} (pid "
    assert said.count(who) == 2
    assert "(dry run)" in said
    cost = await world.pull("team/app")
    assert cost.count("GET manifest") == 3
    assert cost.count("HEAD blob") == 1
    assert cost.count("GET blob") == 4, "the shared layer needs but a proof"


async def test_who_crowds_the_port_keeps_nobody_from_the_socket(world: World) -> None:
    with ExitStack() as crowd:
        for _ in range(CONNECTIONS):
            crowd.enter_context(socket.create_connection(("127.0.0.1", world.admin)))
        shown = await world.regproxy("purge", "--dry-run", "team/other:latest")
        assert shown.code == 7, shown.text


async def test_the_scheduler_forgets_it(world: World) -> None:
    await world.pull("team/app")
    await world.purge("team/app")
    found = json.loads((await world.regproxy("status", "--json")).out)
    assert (found["expiry"]["entries"], found["disk"]["blobs"]) == (0, 0)


async def test_exit_codes_and_words(world: World) -> None:
    await world.pull("team/other")
    shown = await world.regproxy("purge", "--dry-run", "team/other:latest")
    assert shown.code == 0
    assert b"registry.example/team/other:latest: 1 tag, 1 manifest, 2 blobs would go, " in shown.out
    digest = await world.regproxy("purge", f"team/other@{OTHER.digest}")
    assert (digest.code, digest.err) == (0, b"")
    assert b"1 tag, 1 manifest, 2 blobs gone, " in digest.out
    again = await world.regproxy("purge", "team/other")
    assert (again.code, again.out) == (7, b"registry.example/team/other: nothing of it is here\n")
    wrong = await world.regproxy("purge", "team//other")
    assert (wrong.code, wrong.out) == (2, b"")
    assert b"a repository name is" in wrong.err
    await world.daemon.stop()
    alone = await world.regproxy("purge", "team/other")
    assert (alone.code, b"no daemon answers" in alone.err) == (7, True)
    elsewhere = await world.regproxy("purge", "team/other", "--admin", str(world.socket))
    assert elsewhere.code == 3, "who names a daemon means that one"


async def test_a_purge_of_all_that_a_pattern_means(world: World) -> None:
    await world.pull("team/app")
    await world.pull("team/other")
    before = world.content()
    foreseen = await world.purge("team/*:l*", "--dry-run")
    assert (foreseen["tags"], foreseen["manifests"], foreseen["blobs"]) == (2, 4, 6)
    assert (foreseen["shared_bytes"], foreseen["shared_files"]) == (0, 0), "nobody else has it"
    assert foreseen["freed_bytes"] == IMAGE.size_bytes + OTHER.size_bytes - len(SHARED.content)
    references = [each["reference"] for each in foreseen["listed"] if each["type"] != "tag"]
    assert len(references) == len(set(references)) == 10
    assert world.content() == before
    everywhere = await world.purge(str(Digest.of(SHARED.content)), "--dry-run")
    assert (everywhere["blobs"], everywhere["freed_bytes"], everywhere["shared_bytes"]) == (
        1,
        len(SHARED.content),
        0,
    )
    done = await world.purge(str(OTHER.digest))
    assert (done["tags"], done["manifests"], done["blobs"]) == (1, 1, 2)
    done = await world.purge("team/*:l*")
    assert (done["image"], done["tags"], done["manifests"]) == ("registry.example/team/*:l*", 1, 3)
    assert [path for path in world.content() if "team/" in path] == []
    await world.said("registry.example/team/*:l*: 1 tags, 3 manifests")
    assert (await world.purge("**", code=7))["tags"] == 0


async def test_a_purge_takes_what_is_pinned_and_leaves_the_pin(world: World) -> None:
    await world.pull("team/app")
    assert (await world.regproxy("pin", "team/app:latest")).code == 0
    assert b"pinned" in (await world.regproxy("ls", "team/app:latest")).out
    assert (await world.purge("team/app:latest"))["tags"] == 1
    assert [path for path in world.content() if "team/app" in path] == []
    assert (await world.regproxy("pin")).out == b"registry.example/team/app:latest\n"


@pytest.mark.parametrize("verb", ["pin", "unpin", "warm", "explain", "export", "refresh"])
async def test_a_digest_alone_is_refused_where_it_means_nothing(world: World, verb: str) -> None:
    world.registry.clear()
    target = ["--to", str(world.folder / "images")] if verb == "export" else []
    done = await world.regproxy(verb, str(OTHER.digest), *target)
    assert (done.code, done.out) == (2, b"")
    assert (b"names of cached tags" if verb == "refresh" else b"write NAME@sha256:...") in done.err
    assert not world.registry.requests, "somebody outside was asked"


async def test_a_purge_where_no_daemon_runs(world: World) -> None:
    """Under the lock of the folder; the checker finds nothing, and a daemon goes on with it."""
    await world.pull("team/app")
    await world.pull("team/other")
    await world.daemon.stop()
    before = world.content()
    foreseen = await world.purge("team/app:latest", "--dry-run")
    assert world.content() == before
    done = await world.purge("team/app:latest")
    assert done | {"dry_run": True} == foreseen
    assert (done["tags"], done["manifests"], done["blobs"]) == (1, 3, 5)
    assert done["freed_bytes"] == IMAGE.size_bytes - len(SHARED.content)
    assert [path for path in world.content() if "team/app" in path] == []
    assert check(world.folder / "content", saved=True) == []
    await world.daemon.start()
    assert await world.pull("team/other") == [], "the other one's are where they were"
    await world.pull("team/app")
    await world.daemon.stop()
    foreseen = await world.purge("team/**", "--dry-run")
    done = await world.purge("team/**")
    assert done | {"dry_run": True, "listed": foreseen["listed"]} == foreseen
    assert all(each in foreseen["listed"] for each in done["listed"]), "in any order"
    size_bytes = IMAGE.size_bytes + OTHER.size_bytes - len(SHARED.content)
    assert (done["freed_bytes"], done["shared_bytes"], done["later_bytes"]) == (size_bytes, 0, 0)
    assert check(world.folder / "content", saved=True) == []


async def test_a_pull_that_runs_is_not_cut(world: World) -> None:
    """Its bytes come to its client, and what it fetched is a new right."""
    gate = Gate()
    digest, content = next((d, c) for d, c in IMAGE.all_blobs().items() if len(c) > 40_000)
    rule = world.registry.script(Match(kind="blob", reference=str(digest)), actions.hold(gate, at=20_000))
    pull = Deferred.fromCoroutine(world.client.ask(f"/v2/team/app/blobs/{digest}"))
    await gate.arrived()
    assert (await world.purge("team/app", code=7))["blobs"] == 0
    gate.open()
    answer = await pull
    assert (answer.body, answer.complete) == (content, True)
    world.registry.unscript(rule)
    await world._settled()
    assert (await world.purge("team/app"))["blobs"] == 1


def test_the_socket_is_for_user_and_group_alone(world: World) -> None:
    assert stat.S_IMODE(world.socket.stat().st_mode) == 0o660


async def test_another_user_does_not_even_connect(world: World) -> None:
    if os.geteuid() != 0:
        lacks("needs root, to be somebody else")
    code = (
        "import os, socket, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        "s = socket.socket(socket.AF_UNIX); sys.exit(s.connect_ex(sys.argv[1]))"
    )
    done = await run(reactor, [sys.executable, "-c", code, str(world.socket)], limit_s=LIMIT_S)
    assert done.code == 13, done.text


@with_token
async def test_tcp_with_the_token(world: World) -> None:
    """From the settings' file, or from one that is named; never told by anybody."""
    await world.pull("team/app")
    by_tcp = ["--admin", f"http://127.0.0.1:{world.admin}"]
    refused = await world.regproxy("purge", "team/app", *by_tcp)
    assert (refused.code, refused.out) == (4, b"")
    assert b"admin_token_file" in refused.err
    done = await world.purge("team/app", *by_tcp, "--token-file", str(world.folder / "admin.token"))
    assert done["tags"] == 1
    await world.said("Operation purge for token from 127.0.0.1: registry.example/team/app: ")
    assert MARKER not in world.daemon.output


async def test_tcp_without_the_setting(world: World) -> None:
    done = await world.regproxy("purge", "team/app", "--admin", f"tcp:{world.admin}")
    assert done.code == 4
    assert b"admin_token_file" in done.err


def asked(port: int, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def walk(port: int, *, token: str | None, host: str) -> dict[tuple[str, str], int]:
    """Every method on every path, each with a body that would purge."""
    body = json.dumps({"image": "registry.example/team/app"}).encode()
    headers = {"Host": host, "Content-Type": "application/json", "Content-Length": str(len(body))}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    found = {}
    for path in PATHS:
        for method in METHODS:
            status, answer = asked(port, method, path, body, headers)
            assert b"freed_bytes" not in answer, (method, path)
            found[method, path] = status
    return found


READ = {"GET", "HEAD"}


async def stays(world: World, *ways: dict[str, Any]) -> list[dict[tuple[str, str], int]]:
    """Walk each way; nothing on the disk has changed after it."""
    await world.pull("team/app")
    before = world.content()
    found = [await deferToThread(lambda way=way: walk(**way)) for way in ways]
    assert world.content() == before
    assert "Operation purge" not in world.daemon.output
    assert await world.pull("team/app") == []
    return found


@with_token
async def test_no_path_of_the_clients_listener_changes_anything(world: World) -> None:
    """Not even with the right token."""
    found = await stays(world, {"port": world.port, "token": TOKEN, "host": "localhost"})
    for (method, path), status in found[0].items():
        assert (status < 400) <= (method in READ and path.startswith("/v2/")), (method, path, status)


async def test_no_path_on_tcp_changes_anything_without_the_setting(world: World) -> None:
    found = await stays(
        world,
        {"port": world.admin, "token": None, "host": "localhost"},
        {"port": world.admin, "token": TOKEN, "host": "localhost"},
    )
    for way in found:
        for (method, path), status in way.items():
            assert (status < 400) <= (method in READ), (method, path, status)
            assert status == 403 or not path.startswith("/actions/")


@with_token
async def test_no_path_on_tcp_changes_anything_without_the_token_or_by_another_host(world: World) -> None:
    found = await stays(
        world,
        {"port": world.admin, "token": None, "host": "localhost"},
        {"port": world.admin, "token": TOKEN[:-1], "host": "127.0.0.1"},
        {"port": world.admin, "token": TOKEN, "host": "rebound.example"},
    )
    assert {way["POST", "/actions/purge"] for way in found} == {401, 403}


@with_token
async def test_only_one_path_and_method_of_all_is_the_door(world: World) -> None:
    """The walk itself would notice an open door: with everything right there is exactly one way through."""
    await world.pull("team/app")
    with pytest.raises(AssertionError, match=r"'POST', '/actions/purge'"):
        await deferToThread(lambda: walk(world.admin, token=TOKEN, host="localhost"))


async def test_curl_can_do_it(world: World) -> None:
    """What the documentation shows."""
    curl = require_program("curl")
    await world.pull("team/app")
    argv = [str(curl), "-sS", "--unix-socket", str(world.socket), "http://localhost/actions/purge"]
    done = await run(
        reactor,
        [*argv, "-H", "Content-Type: application/json", "-d", '{"image": "team/app"}'],
        limit_s=LIMIT_S,
    )
    assert json.loads(done.out)["tags"] == 1, done.text


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [(TOKEN, 0o644, "open to others"), ("x", 0o600, "less than")],
    ids=["open", "short"],
)
def test_a_token_file_that_is_no_good_stops_the_start(
    place: Path, content: str, mode: int, said: str
) -> None:
    token = place / "admin.token"
    token.write_text(content)
    token.chmod(mode)
    settings = place / "regproxy.yml"
    settings.write_text(
        json.dumps(
            {
                "listen": ["tcp:0:interface=127.0.0.1"],
                "admin": [],
                "storage": {"root": str(place / "root")},
                "admin_token_file": "admin.token",
            }
        )
    )
    for argv, code in (
        (["-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=", "regproxy", "-c"], 1),
        (["-m", "regproxy", "check"], 1),
    ):
        done = subprocess.run(
            [sys.executable, *argv, str(settings)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=place,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == code, done
        assert done.stderr.count("\n") == 1
        assert said in done.stderr
        assert f"admin_token_file {token}" in done.stderr
        assert MARKER not in done.stdout + done.stderr
