"""The token server grants what it was told, and its guards tell a good token from every other."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest
import pytest_twisted
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor

from regproxy.testing import actions, jws
from regproxy.testing.certificates import self_signed
from regproxy.testing.images import make_image
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.reply import Gate
from regproxy.testing.rules import Match
from regproxy.testing.tokens import BasicGuard, TokenGuard, TokenServer, User, granted, huge_token
from tests.testing.raw import Raw, begin, fetch

CERTIFICATE = self_signed()
SCOPE = "repository:team/app:pull,push"
PULL = {"type": "repository", "name": "team/app", "actions": ["pull"]}


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest_twisted.async_yield_fixture
async def tokens() -> AsyncIterator[TokenServer]:
    server = TokenServer(
        reactor,
        users={"ann": User("hunter2", {"team/app": ("pull",)})},
        anonymous={"public/app": ("pull",)},
        expires_in_s=120,
    )
    await server.start()
    yield server
    await server.stop()


async def ask(tokens: TokenServer, scope: str = SCOPE, **headers: str) -> Raw:
    query = urlencode({"service": tokens.service, "scope": scope})
    return await fetch(tokens.url, f"/token?{query}", **headers)


async def post(tokens: TokenServer, **form: str) -> Raw:
    return await fetch(tokens.url, "/token", "POST", urlencode(form).encode())


def claims(tokens: TokenServer, answer: Raw) -> dict[str, object]:
    assert answer.status == 200
    found = jws.verify(json.loads(answer.body)["token"], tokens.certificate)
    assert found is not None
    return dict(found)


async def test_a_user_gets_what_is_granted_of_a_scope(tokens: TokenServer) -> None:
    answer = await ask(tokens, Authorization=basic("ann", "hunter2"))
    told = claims(tokens, answer)
    assert (told["access"], told["sub"], told["aud"]) == ([PULL], "ann", tokens.service)
    assert json.loads(answer.body)["expires_in"] == 120
    assert tokens.requests[0].authorization == basic("ann", "hunter2")


async def test_wrong_passwords_are_refused(tokens: TokenServer) -> None:
    for header in (
        basic("ann", "not-hunter2"),
        basic("bob", "hunter2"),
        "Basic !",
        "Bearer x",
        basic("", ""),
    ):
        assert (await ask(tokens, Authorization=header)).status == 401
    assert tokens.count(status=401) == 5


async def test_anonymous_gets_public_things_only(tokens: TokenServer) -> None:
    assert claims(tokens, await ask(tokens))["access"] == []
    public = await ask(tokens, "repository:public/app:pull")
    assert claims(tokens, public)["access"] == [{**PULL, "name": "public/app"}]
    tokens.anonymous = None
    assert (await ask(tokens)).status == 401


async def test_post_with_password_then_refresh_token(tokens: TokenServer) -> None:
    answer = await post(
        tokens,
        grant_type="password",
        username="ann",
        password="hunter2",
        scope=f"{SCOPE} repository:other:pull",
        access_type="offline",
    )
    assert claims(tokens, answer)["access"] == [PULL]
    refresh = json.loads(answer.body)["refresh_token"]
    again = await post(tokens, grant_type="refresh_token", refresh_token=refresh, scope=SCOPE)
    assert claims(tokens, again)["access"] == [PULL]
    assert (await post(tokens, grant_type="refresh_token", refresh_token="x")).status == 401
    tokens.posts = False
    assert (await post(tokens, grant_type="password")).status == 405


async def test_faults(tokens: TokenServer) -> None:
    tokens.script(actions.status(500), times=1)
    assert (await ask(tokens)).status == 500
    tokens.script(huge_token(3 * actions.MIB))
    assert len((await ask(tokens)).body) > 3 * actions.MIB
    tokens.script(actions.hold(gate := Gate()))
    stalled = await begin(tokens.url, "/token")
    await gate.arrived()
    assert tokens.requests[-1].status is None
    gate.open()
    assert (await stalled.ended).status == 200
    tokens.unscript()
    tokens.clear()
    assert (tokens.count(), (await ask(tokens)).status) == (0, 200)


async def test_guard_judges_tokens(tokens: TokenServer) -> None:
    registry = ScriptableRegistry(reactor, guard=TokenGuard(tokens))
    await registry.start()
    registry.put_image("team/app", "latest", make_image())
    path = "/v2/team/app/manifests/latest"

    async def knock(token: str) -> tuple[int, str]:
        answer = await fetch(registry.url, path, Authorization=f"Bearer {token}")
        return answer.status, answer.header("WWW-Authenticate") or ""

    bare = await fetch(registry.url, path)
    assert bare.header("WWW-Authenticate") == (
        f'Bearer realm="{tokens.realm}",service="{tokens.service}",scope="repository:team/app:pull"'
    )
    good = tokens.issue("ann", [PULL])
    assert await knock(good) == (200, "")
    assert (await fetch(registry.url, "/v2/", Authorization=f"Bearer {good}")).status == 200
    assert (await fetch(registry.url, "/v2/")).status == 401
    assert 'error="invalid_token"' in (await knock(good[:-4] + "AAAA"))[1]
    assert 'error="insufficient_scope"' in (await knock(tokens.issue("ann", [{**PULL, "name": "x"}])))[1]
    push = tokens.issue("ann", [{**PULL, "actions": ["push"]}])
    assert 'error="insufficient_scope"' in (await knock(push))[1]
    tokens.time_offset_s = 121
    assert (await knock(good))[0] == 401
    await registry.stop()


async def test_a_refused_request_meets_no_rule() -> None:
    registry = ScriptableRegistry(reactor, guard=BasicGuard("ann", "hunter2"))
    await registry.start()
    registry.put_image("team/app", "latest", make_image())
    rule = registry.script(match := Match(kind="manifest", nth=1), actions.status(500))
    assert (await fetch(registry.url, "/v2/team/app/manifests/latest")).status == 401
    assert (rule.seen, rule.match) == (0, match)
    header = basic("ann", "hunter2")
    assert (await fetch(registry.url, "/v2/team/app/manifests/latest", Authorization=header)).status == 500
    await registry.stop()


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(max_size=5), st.integers(), max_size=3), st.data())
def test_a_changed_token_is_no_token(content: dict[str, int], data: st.DataObject) -> None:
    token = jws.sign(content, CERTIFICATE)
    assert jws.verify(token, CERTIFICATE) == content
    at = data.draw(st.integers(0, token.rindex(".") - 1))
    changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
    assert jws.verify(changed, CERTIFICATE) is None


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "\u00e9.\u00e9.\u00e9", "x" * 1000])
def test_other_text_is_no_token(text: str) -> None:
    assert jws.verify(text, CERTIFICATE) is None
    assert jws.verify(jws.sign({}, self_signed()), CERTIFICATE) is None


def test_scopes_are_cut_to_what_is_granted() -> None:
    grants = {"a/b": ("pull",), "*": ("push",)}
    assert granted("repository:a/b:pull,push", grants) == {
        "type": "repository",
        "name": "a/b",
        "actions": ["pull"],
    }
    assert granted("repository:host:5000/x:push", grants) is not None
    assert granted("repository:other:pull", grants) is None
    assert granted("nonsense", grants) is None
