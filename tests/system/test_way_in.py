"""Who may pull, with real parts: ``twistd regproxy``, htpasswd, skopeo, a token server, certificates."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from regproxy.testing.certificates import Certificate, self_signed
from regproxy.testing.daemon import Daemon
from regproxy.testing.docker_registry import free_port
from regproxy.testing.images import make_index, sized_image
from regproxy.testing.processes import Finished, run
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.tokens import ISSUER, SERVICE, TokenServer, User
from tests.conftest import require_program
from tests.door.daemon import TWISTD, refused
from tests.overheard import overhear

pytestmark = pytest.mark.system

ALICE, BOB = "alice:hunter2-alice", "bob:hunter2-bob"
CORP = "corp.example"


@attrs.define
class World:
    """A registry, a daemon with TLS in front of it, and folders as skopeo wants them."""

    folder: Path
    registry: ScriptableRegistry
    tokens: TokenServer
    authority: Certificate
    daemon: Daemon
    port: int

    def settings(self, access: dict[str, Any], **corp: Any) -> None:
        """``corp.example`` is for Alice, for node-7, and whoever has a token for CI; the rest for all."""
        upstream = {"endpoints": [self.registry.url], "insecure": True}
        asks = f"clientCA={self.folder}/ca.crt:clientCertificate=optional"
        files = f"privateKey={self.folder}/mirror.key:certKey={self.folder}/mirror.pem"
        content = {
            "listen": [f"ssl:{self.port}:interface=127.0.0.1:{files}:{asks}"],
            "admin": [f"unix:{self.folder}/admin.sock"],
            "storage": {"root": f"{self.folder}/root"},
            "log": {"format": "json", "access": f"{self.folder}/access.log"},
            "access": {"networks": ["127.0.0.0/8"], **access},
            "upstreams": {
                "docker.io": {**upstream, "default": True},
                CORP: {
                    **upstream,
                    "credentials": {"username": "mirror", "password": "hunter2-mirror"},
                    "users": ["alice", "certificate:node-*", "token:ci"],
                    "deny": ["team/secret"],
                    **corp,
                },
            },
        }
        (self.folder / "regproxy.yml").write_text(json.dumps(content))

    async def inspect(self, name: str, *more: str, certificate: Certificate | None = None) -> Finished:
        """What ``skopeo inspect`` says; with a certificate it shows that."""
        trust = self.folder / ("certs" if certificate is None else "certs-client")
        trust.mkdir(exist_ok=True)
        (trust / "ca.crt").write_bytes((self.folder / "ca.crt").read_bytes())
        if certificate is not None:
            (trust / "client.cert").write_bytes(certificate.certificate_pem)
            (trust / "client.key").write_bytes(certificate.key_pem)
        source = f"docker://127.0.0.1:{self.port}/{name}"
        done = await run(
            reactor, ["skopeo", "inspect", "--raw", f"--cert-dir={trust}", *more, source], limit_s=60
        )
        overhear("skopeo", done.text)
        return done

    def users(self) -> list[str | None]:
        """Who asked, of the access log's lines so far."""
        lines = (self.folder / "access.log").read_text().splitlines()
        return [json.loads(line).get("user") for line in lines]


@pytest_twisted.async_yield_fixture(name="world")
async def _world(tmp_path: Path) -> AsyncIterator[World]:
    require_program("skopeo")
    registry = ScriptableRegistry(reactor)
    tokens = TokenServer(reactor, users={"ci": User("hunter2-ci", {f"{CORP}/team/app": ("pull",)})})
    await registry.start()
    await tokens.start()
    for name in ("team/app", "team/secret", "library/nginx"):
        registry.put_image(name, "latest", make_index(sized_image(50_000)))
    authority = self_signed()
    (tmp_path / "ca.crt").write_bytes(authority.certificate_pem)
    authority.sign("mirror", ["127.0.0.1"]).write(tmp_path, "mirror")
    port = free_port()
    daemon = Daemon(reactor, tmp_path / "regproxy.yml", port, limit_s=120)
    world = World(tmp_path, registry, tokens, authority, daemon, port)
    try:
        yield world
    finally:
        await daemon.stop()
        await tokens.stop()
        await registry.stop()


def write_users(path: Path, *users: str) -> None:
    """As an operator does it."""
    require_program("htpasswd")
    for number, user in enumerate(users):
        name, _, password = user.partition(":")
        flags = "-ciBC4" if number == 0 else "-iBC4"
        subprocess.run(
            ["htpasswd", flags, str(path), name], input=password.encode(), check=True, capture_output=True
        )


async def test_passwords_of_htpasswd(world: World) -> None:
    """Two users differ; a denied repository is denied to both; a new line in the file counts in a second."""
    write_users(world.folder / "users", ALICE)
    world.settings({"htpasswd": "users"})
    await world.daemon.start()
    assert (await world.inspect(f"{CORP}/team/app", "--creds", ALICE)).code == 0
    for name, creds, says in (
        (f"{CORP}/team/app", BOB, "this mirror knows no such user"),
        (f"{CORP}/team/app", "alice:hunter2-wrong", "this mirror knows no such user"),
        (f"{CORP}/team/secret", ALICE, "upstreams.corp.example.deny, line 1"),
    ):
        done = await world.inspect(name, "--creds", creds)
        assert done.code != 0
        assert says in done.text
    assert (await world.inspect("library/nginx", "--no-creds")).code != 0
    write_users(world.folder / "more", ALICE, BOB)
    (world.folder / "more").replace(world.folder / "users")
    for _ in range(50):
        done = await world.inspect("library/nginx", "--creds", BOB)
        if done.code == 0:
            break
        await deferLater(reactor, 0.1)
    assert done.code == 0
    assert (
        "upstreams.corp.example.users, line 1"
        in (await world.inspect(f"{CORP}/team/app", "--creds", BOB)).text
    )
    assert {"alice", "bob", None} == set(world.users())


async def test_tokens_of_a_token_server(world: World) -> None:
    """skopeo is sent to the realm, and comes back with what it needs."""
    (world.folder / "keys").write_bytes(world.tokens.certificate.certificate_pem)
    tokens = {"issuer": ISSUER, "audience": SERVICE, "keys_file": "keys", "realm": world.tokens.realm}
    world.settings({"tokens": tokens})
    await world.daemon.start()
    assert (await world.inspect(f"{CORP}/team/app", "--creds", "ci:hunter2-ci")).code == 0
    assert (await world.inspect(f"{CORP}/team/secret", "--creds", "ci:hunter2-ci")).code != 0
    assert (await world.inspect("library/nginx", "--creds", "ci:hunter2-ci")).code != 0
    assert "ci" in world.users()


async def test_client_certificates_beside_anonymous_clients(world: World) -> None:
    """The one way in that dockerd's mirrors can use (R71): everyone may pull what is for everyone."""
    world.settings({"anonymous": True})
    await world.daemon.start()
    node = world.authority.sign("node-7")
    assert (await world.inspect("library/nginx", "--no-creds")).code == 0
    assert (await world.inspect("library/nginx", "--creds", "hub:hunter2-hub")).code == 0
    refused = await world.inspect(f"{CORP}/team/app", "--no-creds")
    assert (refused.code != 0, "show a client certificate" in refused.text) == (True, True)
    assert (await world.inspect(f"{CORP}/team/app", "--no-creds", certificate=node)).code == 0
    other = world.authority.sign("laptop-3")
    assert (await world.inspect(f"{CORP}/team/app", "--no-creds", certificate=other)).code != 0
    stranger = self_signed().sign("node-7")
    assert (await world.inspect("library/nginx", "--no-creds", certificate=stranger)).code != 0
    assert set(world.users()) == {None, "node-7", "laptop-3"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("carol:$apr1$mGKgLQ2P$QVNXYbyNjVJLNT9xgjz1F.\n", "htpasswd -B"),
        (None, "access.htpasswd: expected a file that can be read: No such file or directory"),
    ],
)
async def test_a_file_of_no_use_stops_the_start(world: World, content: str | None, says: str) -> None:
    if content is not None:
        (world.folder / "users").write_text(content)
    world.settings({"htpasswd": "users"})
    assert says in refused([*TWISTD, "--config", f"{world.folder}/regproxy.yml"], world.folder)
