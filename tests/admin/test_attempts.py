"""Who may change something: every rule, by a request's head alone."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.web.http_headers import Headers

from regproxy.admin.attempts import MAX_BODY_BYTES, Attempt, caller, host_name, is_ours
from regproxy.errors import AccessDenied, InvalidRequest, PostOnly, RegproxyError, TokenRefused
from regproxy.http1.sockets import SocketPeer
from regproxy.testing.secrets import MARKER

TOKEN = f"{MARKER}-{'t' * 40}".encode()
ROOT = SocketPeer(0, 4242, open_to_all=False)
ANYBODY = SocketPeer(1000, 4242, open_to_all=True)
JSON = {"Content-Type": "application/json"}


def headers(**values: str) -> Headers:
    found = Headers()
    for name, value in values.items():
        found.addRawHeader(name.replace("_", "-").encode(), value.encode("latin-1"))
    return found


def by_socket(peer: SocketPeer = ROOT, **more: str) -> Attempt:
    return Attempt(b"POST", headers(Host="x", **JSON, **more), 2, peer)


def by_token(host: str = "localhost:5001", given: bytes = TOKEN, **more: str) -> Attempt:
    named = headers(Host=host, Authorization=f"Bearer {given.decode('latin-1')}", **JSON, **more)
    return Attempt(b"POST", named, 2, None, "10.1.2.3", "10.9.9.9")


def refused(attempt: Attempt, token: bytes | None = TOKEN, names: tuple[str, ...] = ()) -> RegproxyError:
    with pytest.raises(RegproxyError) as caught:
        caller(attempt, token, names)
    assert MARKER not in str(caught.value)
    return caught.value


def test_the_socket_needs_no_token_and_any_host_will_do() -> None:
    for host in ("x", "", "evil.example", "\xff"):
        attempt = attrs.evolve(by_socket(), headers=headers(Host=host, **JSON))
        assert caller(attempt, None, ()) == "uid 0 (pid 4242)"


def test_the_token_opens_tcp_and_is_not_told() -> None:
    assert caller(by_token(), TOKEN, ()) == "token from 10.9.9.9"
    lower = attrs.evolve(
        by_token(), headers=headers(Host="[::1]", Authorization=f"bearer  {TOKEN.decode()}", **JSON)
    )
    assert caller(lower, TOKEN, ()) == "token from 10.9.9.9"


def test_without_the_setting_tcp_changes_nothing_and_names_it() -> None:
    error = refused(by_token(), token=None)
    assert type(error) is AccessDenied
    assert "admin_token_file" in str(error)


def test_a_socket_that_is_open_to_all_is_no_permission() -> None:
    error = refused(by_socket(ANYBODY), token=None)
    assert type(error) is AccessDenied
    assert "mode=660" in str(error)
    assert isinstance(refused(by_socket(ANYBODY)), TokenRefused)
    told = by_socket(ANYBODY, Authorization=f"Bearer {TOKEN.decode()}")
    assert caller(told, TOKEN, ()) == "token from unix"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN.decode()}x",
        f"Bearer {TOKEN.decode()[:-1]}",
        f"Bearer {TOKEN.decode().upper()}",
        f"Basic {TOKEN.decode()}",
        TOKEN.decode(),
        f"Bearer {TOKEN.decode()} x",
        "Bearer \xe4",
    ],
)
def test_any_other_token_is_none(header: str | None) -> None:
    named = {} if header is None else {"Authorization": header}
    attempt = attrs.evolve(by_token(), headers=headers(Host="localhost", **JSON, **named))
    assert isinstance(refused(attempt), TokenRefused)


@given(st.binary(max_size=80))
def test_no_other_bytes_open_it(given: bytes) -> None:
    if given.strip(b" ") != TOKEN:
        with pytest.raises(TokenRefused):
            caller(by_token(given=given.translate(None, b"\r\n\0")), TOKEN, ())


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:5001", "127.9.9.9", "[::1]:5001"])
def test_loopback_is_always_ours(host: str) -> None:
    assert caller(by_token(host), TOKEN, ())


def test_its_own_address_and_the_names_of_the_settings_are_ours() -> None:
    assert caller(by_token("10.1.2.3:5001"), TOKEN, ())
    assert caller(by_token("Mirror.corp.example:5001"), TOKEN, ("mirror.corp.example",))
    assert is_ours("[fd00::1]", "fd00:0::1", ())
    assert is_ours("10.1.2.3", "10.1.2.3", ())


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "evil.localhost",
        "10.1.2.4",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",
        "[::]",
        "",
        "localhost:",
        "localhost:x",
        "localhost:123456",
        "localhost/",
        "user@localhost",
        "[localhost]",
        "[::1",
        "::1",
        "local host",
        "localhost,evil.example",
        "\xffocalhost",
        "loc\xe4lhost",
    ],
)
def test_a_name_that_may_be_rebound_is_refused_whatever_the_token(host: str) -> None:
    assert type(refused(by_token(host))) is AccessDenied


def test_no_host_and_two_hosts_are_refused() -> None:
    without = attrs.evolve(by_token(), headers=headers(Authorization=f"Bearer {TOKEN.decode()}", **JSON))
    assert isinstance(refused(without), AccessDenied)
    two = by_token()
    two.headers.addRawHeader(b"Host", b"localhost")
    assert isinstance(refused(two), InvalidRequest)


@pytest.mark.parametrize("name", ["Authorization", "Content-Type", "Origin", "Sec-Fetch-Site"])
def test_a_header_that_decides_is_there_once(name: str) -> None:
    attempt = by_token(Origin="http://localhost:5001", Sec_Fetch_Site="none")
    attempt.headers.addRawHeader(name.encode(), b"x")
    assert isinstance(refused(attempt), InvalidRequest)


@given(
    st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=40), st.sampled_from(["10.1.2.3", ""])
)
def test_only_few_hosts_are_ours(host: str, local: str) -> None:
    """Whatever is ours is written as localhost, a loopback literal, or the address itself."""
    if is_ours(host, local, ()):
        name = host_name(host) or ""
        assert name == "localhost" or name.startswith("127.") or set(name) <= set("0:1") or name == local


@pytest.mark.parametrize("make", [by_socket, by_token])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://localhost"),
        ("Origin", "file://"),
        ("Origin", ""),
        ("Sec_Fetch_Site", "cross-site"),
        ("Sec_Fetch_Site", "same-site"),
        ("Sec_Fetch_Site", ""),
    ],
)
def test_a_page_of_another_site_is_refused(make: object, name: str, value: str) -> None:
    error = refused(make(**{name: value}))  # type: ignore[operator]
    assert type(error) is AccessDenied
    assert "another site" in str(error)


def test_a_page_of_its_own_is_not() -> None:
    assert caller(by_token(Origin="http://localhost:5001", Sec_Fetch_Site="same-origin"), TOKEN, ())
    assert caller(by_token("LOCALHOST", Origin="https://localhost", Sec_Fetch_Site="none"), TOKEN, ())


@pytest.mark.parametrize("make", [by_socket, by_token])
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"post", b""])
def test_post_alone(make: object, method: bytes) -> None:
    assert isinstance(refused(attrs.evolve(make(), method=method)), PostOnly)  # type: ignore[operator]


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/jsonx",
        "text/json",
    ],
)
def test_a_form_is_refused(kind: str) -> None:
    attempt = attrs.evolve(by_socket(), headers=headers(Host="x", Content_Type=kind))
    assert "application/json" in str(refused(attempt))


def test_json_with_parameters_is_json() -> None:
    named = headers(Content_Type="Application/JSON; charset=utf-8")
    assert caller(attrs.evolve(by_socket(), headers=named), None, ())


@pytest.mark.parametrize("length", [None, MAX_BODY_BYTES + 1, 1 << 40])
def test_a_body_is_bounded_before_it_comes(length: int | None) -> None:
    assert str(MAX_BODY_BYTES) in str(refused(attrs.evolve(by_socket(), length=length)))


def test_the_largest_body_is_taken() -> None:
    assert caller(attrs.evolve(by_socket(), length=MAX_BODY_BYTES), None, ())
