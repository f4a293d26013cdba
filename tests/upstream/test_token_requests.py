"""Token requests as they are planned, token answers as they are read."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.headers.challenges import parse_challenges
from regproxy.upstream.credentials import Login
from regproxy.upstream.token_requests import (
    MAX_LIFE_S,
    MAX_TOKEN_LENGTH,
    Token,
    TokenNeed,
    plan_token_requests,
    read_token,
)

NOW = 1_795_500_000.0
OURS = "repository:a/b:pull"
NEED = TokenNeed("https://auth.example/token?x=%2F&service=given", "ours", "repository:a/b:pull aws")


def need(header: str) -> TokenNeed | None:
    return TokenNeed.of(parse_challenges([header])[0], OURS)


def test_the_challenge_says_what_is_needed() -> None:
    """Its own scope wins, ours fills in (R76)."""
    assert need('Bearer realm="https://x/t",service="s",scope="aws"') == TokenNeed("https://x/t", "s", "aws")
    assert need('Bearer realm="https://x/t"') == TokenNeed("https://x/t", None, OURS)
    assert need('Bearer realm="https://x/t",scope="  "') == TokenNeed("https://x/t", None, OURS)
    assert need('Basic realm="https://x/t"') is None
    assert need('Bearer service="s"') is None


def query(url: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(url).query)


def test_get_repeats_scopes_and_keeps_the_query_of_the_realm() -> None:
    [plan] = plan_token_requests(NEED, None)
    assert (plan.method, plan.form, plan.authorization) == ("GET", None, None)
    assert plan.url.startswith("https://auth.example/token?x=%2F&service=given&")
    assert query(plan.url)[2:] == [("scope", "repository:a/b:pull"), ("scope", "aws")]


def test_credentials_go_into_the_header_and_never_into_the_url() -> None:
    get, post = plan_token_requests(TokenNeed("https://x/t", "s&a=b", OURS), Login("me", "sec ret&"))
    assert query(get.url) == [("service", "s&a=b"), ("scope", OURS), ("account", "me")]
    assert "sec" not in get.url + repr(get) + repr(post) + post.url
    assert get.fall_back == {404, 405}
    assert post.form is not None
    assert dict(parse_qsl(post.form.decode())) == {
        "grant_type": "password",
        "username": "me",
        "password": "sec ret&",
        "service": "s&a=b",
        "scope": OURS,
        "client_id": "regproxy",
    }


def test_an_identity_token_is_posted() -> None:
    """User ``<token>``: the password is a refresh token (R77)."""
    [plan] = plan_token_requests(NEED, Login("<token>", "refresh-me"))
    assert (plan.method, plan.authorization) == ("POST", None)
    assert plan.form is not None
    fields = dict(parse_qsl(plan.form.decode()))
    assert fields["grant_type"] == "refresh_token"
    assert fields["refresh_token"] == "refresh-me"
    assert fields["scope"] == "repository:a/b:pull aws"
    assert "username" not in fields


@given(st.text(max_size=60), st.text(max_size=60))
def test_service_and_scope_cannot_add_parameters(service: str, scope: str) -> None:
    [plan] = plan_token_requests(TokenNeed("https://x/t", service, scope), None)
    assert parse_qsl(urlsplit(plan.url).query, keep_blank_values=True) == [
        ("service", service),
        *(("scope", each) for each in scope.split()),
    ]
    assert plan.url.isascii()


def read(**document: object) -> Token | str:
    return read_token(json.dumps(document).encode(), NOW)


@pytest.mark.parametrize(
    ("document", "life"),
    [
        ({}, 60),
        ({"expires_in": 300}, 300),
        ({"expires_in": 300.5}, 300.5),
        ({"expires_in": 5}, 60),
        ({"expires_in": -1}, 60),
        ({"expires_in": "300"}, 60),
        ({"expires_in": True}, 60),
        ({"expires_in": None}, 60),
        ({"expires_in": float("nan")}, 60),
        ({"expires_in": float("inf")}, MAX_LIFE_S),
        ({"expires_in": 10**400}, MAX_LIFE_S),
        ({"expires_in": 300, "issued_at": "2099-01-01T00:00:00Z"}, 300),
        ({"expires_in": 300, "issued_at": "2001-01-01T00:00:00Z"}, 300),
        ({"expires_in": 300, "issued_at": "yesterday"}, 300),
        ({"expires_in": 300, "issued_at": 7}, 300),
    ],
)
def test_life(document: dict[str, object], life: float) -> None:
    """Default and floor 60 s; an issue time in the future or absurdly old is not believed (R78)."""
    token = read(token="t", **document)
    assert isinstance(token, Token)
    assert token.expires_s == NOW + life
    assert NOW + 0.8 * life <= token.renew_s <= NOW + 0.9 * life


@pytest.mark.parametrize("fraction", ["", ".1", ".123456789", ".123456"])
@pytest.mark.parametrize("zone", ["Z", "z", "+00:00"])
def test_issued_a_little_ago(fraction: str, zone: str) -> None:
    from datetime import datetime, timezone

    issued = datetime.fromtimestamp(NOW - 100, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    token = read(token="t", expires_in=300, issued_at=issued + fraction + zone)
    assert isinstance(token, Token)
    assert 200 <= token.expires_s - NOW < 201


def test_access_token_wins() -> None:
    token = read(access_token="a", token="b")
    assert isinstance(token, Token)
    assert token.value == "a"
    assert "'a'" not in repr(token)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"token": ""}',
        b'{"token": 7}',
        b'{"token": "a b"}',
        b'{"token": "a\\r\\nX: y"}',
        b'{"token": "\xc3\xa4"}',
        b"[" * 100_000,
        json.dumps({"token": "x" * (MAX_TOKEN_LENGTH + 1)}).encode(),
    ],
)
def test_no_token(body: bytes) -> None:
    assert isinstance(read_token(body, NOW), str)


@given(st.binary(max_size=200))
def test_any_body_is_read(body: bytes) -> None:
    read_token(body, NOW)
