"""The token cache by a Clock, and token servers of every kind over sockets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from regproxy.errors import Denied, Throttled, UpstreamFailed, UpstreamRefused
from regproxy.headers.origins import Origin
from regproxy.settings import Credentials
from regproxy.upstream.registry import RemoteRegistry
from regproxy.upstream.token_requests import Token, TokenNeed
from regproxy.upstream.tokens import TokenCache
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Asked, Server
from tests.upstream.test_registry import BY_TAG, TAG, behind_tokens, manifest_answer, token_answer
from tests.upstream.test_streams import Flood

NewRegistry = Callable[..., RemoteRegistry]
NEED = TokenNeed("https://auth.example/token", "s", "repository:a:pull")


class Office:
    """A token server by hand: every request waits until the test answers it."""

    def __init__(self, limit: int = 1024) -> None:
        self.clock = Clock()
        self.asked: list[tuple[TokenNeed, Deferred[Token]]] = []
        self.cache = TokenCache(self.fetch, self.clock.seconds, limit)

    def fetch(self, need: TokenNeed) -> Deferred[Token]:
        waiting: Deferred[Token] = Deferred()
        self.asked.append((need, waiting))
        return waiting

    def get(self, need: TokenNeed = NEED) -> Deferred[tuple[Token, bool]]:
        return Deferred.fromCoroutine(self.cache.get(need))

    def grant(self, value: str = "t") -> Token:
        now = self.clock.seconds()
        token = Token(value, now + 85, now + 100)
        self.asked[-1][1].callback(token)
        return token


async def test_one_request_however_many_ask() -> None:
    """And one that leaves stops nobody (P47)."""
    office = Office()
    waiting = [office.get() for _ in range(50)]
    waiting[7].addErrback(lambda failure: failure.trap(CancelledError) and None).cancel()
    assert len(office.asked) == 1
    token = office.grant()
    assert [await each for each in waiting if each is not waiting[7]] == [(token, True)] * 49
    assert await office.get() == (token, False)


async def test_renewed_before_it_expires() -> None:
    office = Office()
    first = office.get()
    old = office.grant()
    await first
    office.clock.advance(84)
    assert await office.get() == (old, False)
    office.clock.advance(2)
    second = office.get()
    assert len(office.asked) == 2
    new = office.grant("new")
    assert await second == (new, True)


async def test_the_old_one_serves_while_the_token_server_is_away() -> None:
    office = Office()
    first = office.get()
    old = office.grant()
    await first
    office.clock.advance(90)
    again = office.get()
    office.asked[-1][1].errback(UpstreamFailed("up", "503"))
    assert await again == (old, False)
    office.clock.advance(11)
    late = office.get()
    office.asked[-1][1].errback(UpstreamFailed("up", "503"))
    with pytest.raises(UpstreamFailed):
        await late


async def test_a_failure_reaches_all_and_is_not_kept() -> None:
    office = Office()
    waiting = [office.get() for _ in range(3)]
    office.asked[-1][1].errback(Denied("up", "no"))
    for each in waiting:
        with pytest.raises(Denied):
            await each
    again = office.get()
    assert len(office.asked) == 2
    token = office.grant()
    assert await again == (token, True)


async def test_forget_spares_a_newer_token() -> None:
    office = Office()
    first = office.get()
    old = office.grant()
    await first
    office.cache.forget(NEED, old)
    second = office.get()
    new = office.grant("new")
    await second
    office.cache.forget(NEED, old)
    assert await office.get() == (new, False)


async def test_the_number_of_tokens_is_bounded() -> None:
    office = Office(limit=3)
    for number in range(10):
        got = office.get(TokenNeed("https://auth.example/token", None, str(number)))
        office.grant()
        await got
    assert len(office.cache) == 3


def protect(server: Server, realm: str, token: Callable[[Asked], None]) -> None:
    server.on("/token", token)
    server.on(BY_TAG, behind_tokens(server, realm, manifest_answer))


@pytest.mark.parametrize(
    ("token", "error"),
    [
        (lambda asked: asked.reply(401), Denied),
        (lambda asked: asked.reply(403), Denied),
        (lambda asked: asked.reply(404), UpstreamFailed),
        (lambda asked: asked.reply(429, b"", {"Retry-After": "7"}), Throttled),
        (lambda asked: asked.reply(500), UpstreamFailed),
        (lambda asked: asked.reply(302, b"", {"Location": "/elsewhere"}), UpstreamFailed),
        (lambda asked: asked.reply(200, b"<html>", {"Content-Type": "text/html"}), UpstreamFailed),
        (lambda asked: asked.reply(200, b"no json"), UpstreamFailed),
        (lambda asked: asked.reply(200, b"{}", {"Content-Encoding": "gzip"}), UpstreamFailed),
        (Flood, UpstreamFailed),
    ],
)
async def test_bad_token_answers(
    server: Server, registry: RemoteRegistry, token: Callable[[Asked], None], error: type[Exception]
) -> None:
    """Without credentials a refusal is the upstream's answer, all else is trouble."""
    protect(server, f"{server.url}/token", token)
    with pytest.raises(error):
        await registry.tags.get(REPOSITORY, TAG)
    assert server.log() == [f"GET {BY_TAG}", "GET /token"]


async def test_a_token_of_100_mib(server: Server, registry: RemoteRegistry) -> None:
    """Refused at 1 MiB, its connection closed."""

    def huge(asked: Asked) -> None:
        asked.head(200, {"Transfer-Encoding": "chunked", "Content-Type": "application/json"})
        asked.write(b'c\r\n{"token": "x\r\n')
        for _ in range(100):
            asked.write(b"100000\r\n" + b"x" * (1 << 20) + b"\r\n")

    protect(server, f"{server.url}/token", huge)
    with pytest.raises(UpstreamFailed, match="larger"):
        await registry.tags.get(REPOSITORY, TAG)
    await server.asked[-1].connection.lost


async def test_credentials_are_not_sent_to_a_realm_elsewhere(
    server: Server, new_server: Callable[[], Server], new_registry: NewRegistry
) -> None:
    """Unless the settings, or the built-in table, name it (P36)."""
    auth = new_server()
    protect(server, f"{auth.url}/token", token_answer)
    auth.on("/token", token_answer)
    registry = new_registry(server.url, credentials=Credentials("me", "hunter2"))
    with pytest.raises(UpstreamRefused, match=rf"token_realms: \[{auth.url}\]"):
        await registry.tags.get(REPOSITORY, TAG)
    assert auth.asked == []
    realm = Origin.of(auth.url)
    for made in (
        new_registry(server.url, credentials=Credentials("me", "hunter2"), token_realms=(realm,)),
        new_registry(server.url, {"realm": realm}, credentials=Credentials("me", "hunter2")),
        new_registry(server.url),
    ):
        await made.tags.get(REPOSITORY, TAG)
    assert [asked.header("Authorization") for asked in auth.asked] == ["Basic bWU6aHVudGVyMg=="] * 2 + [None]


async def test_an_expired_token_is_replaced_once(server: Server, registry: RemoteRegistry) -> None:
    """A kept token that is refused costs one more token; a fresh one that is refused is the answer (R79)."""
    protect(server, f"{server.url}/token", token_answer)
    await registry.tags.get(REPOSITORY, TAG)
    server.asked.clear()
    behind = behind_tokens(server, f"{server.url}/token", manifest_answer)
    server.on(BY_TAG, lambda asked: (server.on(BY_TAG, behind), asked.headers.clear(), behind(asked)))
    await registry.tags.get(REPOSITORY, TAG)
    assert server.log() == [f"GET {BY_TAG}", "GET /token", f"GET {BY_TAG}"]
    server.asked.clear()
    server.on(BY_TAG, lambda asked: (asked.headers.clear(), behind(asked)))
    with pytest.raises(Denied):
        await registry.tags.get(REPOSITORY, TAG)
    assert server.log() == [f"GET {BY_TAG}", "GET /token", f"GET {BY_TAG}"]


async def test_post_where_get_is_unknown(server: Server, new_registry: NewRegistry) -> None:
    registry = new_registry(server.url, credentials=Credentials("me", "hunter2"))
    protect(
        server,
        f"{server.url}/token",
        lambda asked: token_answer(asked) if asked.method == "POST" else asked.reply(405),
    )
    await registry.tags.get(REPOSITORY, TAG)
    assert server.log()[1:3] == ["GET /token", "POST /token"]
    assert server.asked[2].form["password"] == "hunter2"
    assert server.asked[2].header("Content-Type") == "application/x-www-form-urlencoded"


async def test_a_realm_that_moves_is_learnt_anew(server: Server, registry: RemoteRegistry) -> None:
    protect(
        server, f"{server.url}/token", lambda asked: asked.json({"token": "good-hunter2", "expires_in": 60})
    )
    await registry.tags.get(REPOSITORY, TAG)
    for door in registry._calls._doors._own.values():
        door._tokens._tokens.clear()
    server.on("/token", lambda asked: asked.reply(500))
    with pytest.raises(UpstreamFailed):
        await registry.tags.get(REPOSITORY, TAG)
    server.on("/new", token_answer)
    server.on(BY_TAG, behind_tokens(server, f"{server.url}/new", manifest_answer))
    await registry.tags.get(REPOSITORY, TAG)


def basic(server: Server, password: str) -> None:
    def judge(asked: Asked) -> None:
        import base64

        wanted = "Basic " + base64.b64encode(f"me:{password}".encode()).decode()
        if asked.header("Authorization") == wanted:
            manifest_answer(asked)
        else:
            asked.reply(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})

    server.on(BY_TAG, judge)
    server.on("/v2/", judge)


async def test_basic(server: Server, new_registry: NewRegistry, tmp_path: Path) -> None:
    """Remembered after the first challenge; a changed password file is read again (P17, R81)."""
    path = tmp_path / "password"
    path.write_text("one")
    basic(server, "one")
    registry = new_registry(server.url, credentials=Credentials("me", password_file=path))
    await registry.tags.get(REPOSITORY, TAG)
    await registry.tags.get(REPOSITORY, TAG)
    assert len(server.asked) == 3
    basic(server, "two")
    with pytest.raises(UpstreamRefused, match="user name and password"):
        await registry.tags.get(REPOSITORY, TAG)
    with pytest.raises(UpstreamRefused):
        await registry.check_credentials()
    path.write_text("two")
    await registry.tags.get(REPOSITORY, TAG)
    await registry.check_credentials()


async def test_basic_without_credentials(server: Server, registry: RemoteRegistry) -> None:
    basic(server, "one")
    with pytest.raises(Denied):
        await registry.tags.get(REPOSITORY, TAG)
    assert len(server.asked) == 1
    await registry.check_credentials()
    assert len(server.asked) == 1


async def test_basic_over_http_wants_insecure(server: Server, new_registry: NewRegistry) -> None:
    basic(server, "one")
    registry = new_registry(server.url, insecure=False, credentials=Credentials("me", "one"))
    with pytest.raises(UpstreamRefused, match="insecure: true"):
        await registry.tags.get(REPOSITORY, TAG)
    assert [asked.header("Authorization") for asked in server.asked] == [None]


async def test_ten_schemes(server: Server, registry: RemoteRegistry) -> None:
    """The one we know is found among the others."""
    server.on("/token", token_answer)

    def judge(asked: Asked) -> None:
        if asked.header("Authorization") == "Bearer good-hunter2":
            manifest_answer(asked)
            return
        others = [("WWW-Authenticate", f'S{number} realm="https://x/", a="b,c"') for number in range(9)]
        asked.reply(401, b"", [*others, ("WWW-Authenticate", f'X, Bearer realm="{server.url}/token"')])

    server.on(BY_TAG, judge)
    await registry.tags.get(REPOSITORY, TAG)


async def test_a_token_asked_for_in_advance_is_fresh_too(server: Server, registry: RemoteRegistry) -> None:
    """Refused right away, it is the answer: no second token for one call (R79)."""
    protect(server, f"{server.url}/token", token_answer)
    await registry.tags.get(REPOSITORY, TAG)
    for door in registry._calls._doors._own.values():
        door._tokens._tokens.clear()
    server.asked.clear()
    behind = behind_tokens(server, f"{server.url}/token", manifest_answer)
    server.on(BY_TAG, lambda asked: (asked.headers.clear(), behind(asked)))
    with pytest.raises(Denied):
        await registry.tags.get(REPOSITORY, TAG)
    assert server.log() == ["GET /token", f"GET {BY_TAG}"]
