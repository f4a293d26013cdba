"""Upstreams that turn the mirror against its owner, over real sockets.

Each is refused with an answer and one line of the log that name the cause, learns no credential,
leaves nothing on the disk, and disturbs no transfer of another upstream that runs beside it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from regproxy.oci.digest import Digest
from regproxy.settings import Credentials
from regproxy.testing import actions
from regproxy.testing.certificates import self_signed
from regproxy.testing.images import foreign_layer_image, sized_image
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.reply import Gate
from regproxy.testing.rules import Match
from regproxy.testing.tokens import TokenServer, User
from tests.system.mirror import Mirror, World, upstream
from tests.system.resolving import Names
from tests.system.test_bad_upstream import BLOB, BY_DIGEST, IMAGE, TAG, kept, refused, warnings
from tests.upstream.servers import Asked, Server

pytestmark = pytest.mark.system

__all__ = ["warnings"]  # a fixture of the module beside

PASSWORD = "correct-hunter2-battery"
CALM = "calm.test"
SLOW = sized_image(200_000)
LAYER = next(digest for digest, content in SLOW.blobs.items() if len(content) == 200_000)


@attrs.define
class Stage(World):
    """A hostile registry, a thief whom it would like us to ask, and a calm one with a slow transfer."""

    thief: Server
    names: Names
    calm: ScriptableRegistry
    gate: Gate

    def script(self, *action: actions.Action) -> None:
        self.registry.script(Match(), *action)

    def asked_thief(self) -> list[Asked]:
        return self.thief.asked


@pytest_twisted.async_yield_fixture
async def stage(tmp_path, warnings: list[str]) -> AsyncIterator[Stage]:
    """Everything runs; a blob of the calm upstream is in the middle of its way when the test begins."""
    tokens = TokenServer(reactor, users={"mirror": User(PASSWORD, {"*": ("pull",)})})
    hostile, calm = ScriptableRegistry(reactor), ScriptableRegistry(reactor)
    for one in (tokens, hostile, calm):
        await one.start()
    hostile.put_image("team/app", "latest", IMAGE)
    calm.put_image("slow", "latest", SLOW)
    gate = Gate()
    calm.script(Match(kind="blob"), actions.hold(gate, 100_000))
    names, thief = Names.install(reactor), Server(reactor)
    mirror = Mirror(
        tmp_path / "content",
        upstream(hostile, tokens.url, credentials=Credentials("mirror", PASSWORD)),
        upstream(calm, name=CALM, default=False),
    )
    await mirror.start()
    made = Stage(hostile, mirror, thief, names, calm, gate)
    pulling = mirror.client.ask(f"/v2/{CALM}/slow/blobs/{LAYER}")
    beside = Deferred.fromCoroutine(pulling)
    await gate.arrived()
    yield made
    assert not beside.called, "it waits at the gate"
    gate.open()
    whole = await beside
    assert (whole.status, whole.complete, Digest.of(whole.body)) == (200, True, LAYER)
    check_secrets(made, tokens)
    names.remove()
    await mirror.stop()
    for one in (hostile, calm, tokens):
        await one.stop()
    await thief.close()


def check_secrets(stage: Stage, tokens: TokenServer) -> None:
    """Neither password nor token reached anybody but the token server."""
    heard = [record.request for record in (*stage.registry.requests, *stage.calm.requests)]
    told = repr([request.headers for request in heard]) + repr(stage.thief.asked)
    assert "Basic " not in told
    assert "Bearer " not in told
    assert PASSWORD not in told
    assert all(asked.header("Cookie") is None for asked in stage.thief.asked)


async def refused_on_the_side(
    stage: Stage, warnings: list[str], path: str, cause: str, status: int = 502
) -> None:
    """As ``refused``, while the spool of the calm upstream is all that is there."""
    stage.registry.clear()
    answer = await stage.client.ask(path)
    assert answer.status == status, answer
    assert cause in answer.body.decode(), answer
    (line,) = warnings
    assert cause in line
    assert line.startswith("registry.test: ")
    await stage.mirror.settled_but(1)
    assert [name for name in kept(stage) if "/fills/" not in name] == []


Arrange = Callable[[Stage], None]


def realm(url: str) -> Arrange:
    return lambda stage: stage.script(
        actions.challenge(f'Bearer realm="{url.format(port=stage.thief.port)}",service="x"')
    )


def location(url: str) -> Arrange:
    return lambda stage: stage.script(actions.redirect(url.format(port=stage.thief.port)))


def chain(stage: Stage) -> None:
    """Each hop another URL: no circle, and no end."""
    stage.thief.ask = lambda asked: (  # type: ignore[method-assign]
        stage.thief.asked.append(asked),
        asked.reply(307, b"", {"Location": f"{asked.target}x", "Set-Cookie": "a=b"}),
    )
    stage.script(actions.redirect(f"{stage.thief.url}/"))


def rebinding(stage: Stage) -> None:
    """The name leads to the thief while it is looked at, and inside for the connection that counts."""
    stage.names.set("cdn.test", ["127.0.0.1"], ["10.255.255.1"])
    stage.thief.on("/first", lambda asked: closing(asked, f"http://cdn.test:{stage.thief.port}/second"))
    stage.script(actions.redirect(f"http://cdn.test:{stage.thief.port}/first"))


def closing(asked: Asked, location: str) -> None:
    asked.reply(307, b"", {"Location": location, "Connection": "close"})
    asked.close()


NOT_ALLOWED = "which is not allowed"
HOSTILE: list[tuple[str, Arrange, str]] = [
    ("realm elsewhere", realm("http://127.0.0.1:{port}/token"), "token_realms"),
    ("realm at metadata", realm("http://169.254.169.254/token"), "token_realms"),
    ("realm with user", realm("http://u:p@127.0.0.1:{port}/token"), "no http or https URL"),
    ("realm that is a file", realm("file:///etc/passwd"), "no http or https URL"),
    ("metadata by address", location("http://169.254.169.254/latest/meta-data/"), NOT_ALLOWED),
    ("metadata by number", location("http://2852039166/"), NOT_ALLOWED),
    ("metadata in hexadecimal", location("http://0xa9.0xfe.0xa9.0xfe/"), NOT_ALLOWED),
    ("metadata in octal", location("http://0251.0376.0251.0376/"), NOT_ALLOWED),
    ("metadata mapped", location("http://[::ffff:a9fe:a9fe]/"), NOT_ALLOWED),
    ("metadata over TLS", location("https://169.254.169.254/"), NOT_ALLOWED),
    ("metadata by name", location("http://metadata.test/"), NOT_ALLOWED),
    ("another network by name", location("http://inside.test:{port}/"), "add 'private: true'"),
    ("another network by address", location("http://10.255.255.1:{port}/"), "add 'private: true'"),
    ("rebinding", rebinding, "is at a private address, which is not allowed"),
    ("redirect loop", lambda stage: stage.script(actions.redirect_loop()), "circle"),
    ("endless redirects", chain, "more than 5 times"),
    ("user in a redirect", location("http://u:p@127.0.0.1:{port}/"), "no http or https URL"),
    ("another scheme", location("gopher://127.0.0.1:{port}/"), "no http or https URL"),
    ("no URL", location("http://127.0.0.1:{port}\\@evil/"), "no http or https URL"),
]


@pytest.mark.parametrize("path", [TAG, BY_DIGEST, BLOB], ids=["tag", "digest", "blob"])
@pytest.mark.parametrize(
    ("arrange", "cause"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE]
)
async def test_who_would_lead_us_astray(stage, warnings, path, arrange: Arrange, cause: str) -> None:
    stage.names.set("metadata.test", ["169.254.169.254"])
    stage.names.set("inside.test", ["10.255.255.1", "fd12::1"])
    arrange(stage)
    await refused_on_the_side(stage, warnings, path, cause)
    assert stage.names.dialled <= {"127.0.0.1"}
    if arrange is rebinding:
        assert [asked.path for asked in stage.thief.asked] == ["/first"]


async def test_basic_for_somebody_else(stage, warnings) -> None:
    """A redirect to a host that asks for a password gets none."""
    stage.thief.on("/x", lambda asked: asked.reply(401, b"", {"WWW-Authenticate": 'Basic realm="x"'}))
    location("http://127.0.0.1:{port}/x")(stage)
    answer = await stage.client.ask(TAG)
    assert answer.status == 403
    assert len(stage.thief.asked) == 1


async def test_a_foreign_layer_is_not_fetched_from_elsewhere(stage) -> None:
    """What ``urls`` of a manifest name, clients fetch themselves: 404 from the registry is 404 (P53)."""
    image = foreign_layer_image(f"{stage.thief.url}/layer")
    (missing,) = [one.digest for one in image.manifest.names() if one.digest not in image.blobs]
    stage.registry.put_image("team/foreign", "latest", image)
    manifest = await stage.client.ask("/v2/team/foreign/manifests/latest")
    assert (manifest.status, manifest.body) == (200, image.content)
    answer = await stage.client.ask(f"/v2/team/foreign/blobs/{missing}")
    assert answer.status == 404
    assert stage.thief.asked == []


class TestTls:
    @pytest.mark.parametrize(
        ("trusted", "expired", "hosts", "cause"),
        [
            (False, False, ("127.0.0.1",), "nobody whom we trust signed it"),
            (True, True, ("127.0.0.1",), "has expired"),
            (True, False, ("other.example",), "for another name"),
        ],
        ids=["unknown authority", "expired", "another's"],
    )
    async def test_a_certificate_that_is_wrong(
        self, tmp_path, warnings, trusted: bool, expired: bool, hosts: tuple[str, ...], cause: str
    ) -> None:
        """502, and a line that says what to do; not a byte of a request is sent."""
        made = self_signed(hosts, expired=expired)
        async with secure(made, tmp_path, trusted) as world:
            assert cause in await refused(world, TAG)
            (line,) = warnings
            assert cause in line
            assert world.registry.requests == ()

    @pytest.mark.parametrize("insecure", [False, True])
    async def test_down_to_plain_http_by_a_word_only(self, tmp_path, warnings, insecure: bool) -> None:
        plain = ScriptableRegistry(reactor)
        await plain.start()
        plain.put_image("team/app", "latest", IMAGE)
        async with secure(self_signed(), tmp_path, True, insecure=insecure) as world:
            world.registry.script(Match(), actions.redirect(plain.url + TAG))
            if insecure:
                assert (await world.client.ask(TAG)).status == 200
            else:
                assert "not protected" in await refused(world, TAG)
                assert "not protected" in warnings[0]
            assert len(plain.requests) == insecure
        await plain.stop()


class secure:
    """A registry that speaks TLS, and a mirror that trusts it or not."""

    def __init__(self, made: Any, folder: Any, trusted: bool, **settings: Any) -> None:
        self._registry = ScriptableRegistry(reactor, tls=made.server_options())
        (folder / "ca.pem").write_bytes((made if trusted else self_signed()).certificate_pem)
        self._settings = {"ca": folder / "ca.pem", "insecure": False, **settings}
        self._folder = folder

    async def __aenter__(self) -> World:
        await self._registry.start()
        self._registry.put_image("team/app", "latest", IMAGE)
        one = attrs.evolve(upstream(self._registry), **self._settings)
        self._mirror = Mirror(self._folder / "content", one)
        await self._mirror.start()
        return World(self._registry, self._mirror)

    async def __aexit__(self, *_: object) -> None:
        await self._mirror.stop()
        await self._registry.stop()
