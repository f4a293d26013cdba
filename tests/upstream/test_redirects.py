"""Redirects: the decision, and what goes to whom when it is carried out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import Denied, NotFound, UpstreamFailed
from regproxy.headers.origins import Origin
from regproxy.settings import Credentials
from regproxy.upstream.calls import MAX_FOREIGN_DOORS, Doors
from regproxy.upstream.redirects import MAX_HOPS, Follow, Refuse, decide_redirect
from regproxy.upstream.registry import RemoteRegistry
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Asked, Server
from tests.upstream.test_registry import (
    BLOB,
    BLOB_DIGEST,
    BLOB_PATH,
    BY_TAG,
    TAG,
    behind_tokens,
    manifest_answer,
    read_all,
    token_answer,
)

HERE = "https://a.example/v2/x/blobs/y"


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("https://cdn.example/b?sig=%2Fa%2b+c&&x", "https://cdn.example/b?sig=%2Fa%2b+c&&x"),
        ("/other?x=1#part", "https://a.example/other?x=1"),
        ("z", "https://a.example/v2/x/blobs/z"),
        ("//cdn.example/b", "https://cdn.example/b"),
    ],
)
def test_followed(location: str, url: str) -> None:
    """Absolute or relative, the query untouched, the fragment gone (R85)."""
    assert decide_redirect(location, (HERE,)) == Follow(url, Origin.of(url))


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        (None, "usable"),
        ("", "usable"),
        ("https://a.example/a b", "usable"),
        ("https://a.example/\r\nX: y", "usable"),
        ("https://a.example/" + "x" * 20_000, "usable"),
        ("https://ä.example/", "usable"),
        ("http://cdn.example/b", "not protected"),
        ("ftp://cdn.example/b", "no http"),
        ("javascript:alert(1)", "no http"),
        ("https://", "no http"),
        ("https://user:secret@cdn.example/", "no http"),
        ("https://cdn.example:port/", "no http"),
        (HERE, "circle"),
        (HERE + "#again", "circle"),
    ],
)
def test_refused(location: str | None, reason: str) -> None:
    step = decide_redirect(location, (HERE,))
    assert isinstance(step, Refuse)
    assert reason in step.reason
    assert "secret" not in step.reason


def test_downwards_by_a_word_of_the_settings_only() -> None:
    """From https to http only where ``insecure`` is written; anything else is as without it."""
    down = "http://cdn.example/b"
    assert isinstance(decide_redirect(down, (HERE,)), Refuse)
    assert decide_redirect(down, (HERE,), insecure=True) == Follow(down, Origin.of(down))
    assert isinstance(decide_redirect("ftp://cdn.example/b", (HERE,), insecure=True), Refuse)


def test_hops_are_bounded() -> None:
    visited: tuple[str, ...] = (HERE,)
    for hop in range(MAX_HOPS):
        step = decide_redirect(f"/{hop}", visited)
        assert isinstance(step, Follow)
        visited = (*visited, step.url)
    assert isinstance(decide_redirect("/more", visited), Refuse)


@given(st.text(max_size=200), st.sampled_from([HERE, "http://a.example/x"]))
def test_any_location_is_decided(location: str, here: str) -> None:
    for text in (location, "https://" + location, "/" + location):
        step = decide_redirect(text, (here,))
        if isinstance(step, Follow):
            assert step.origin == Origin.of(step.url)
            assert step.origin.secure or not Origin.of(here).secure


def test_a_signed_url_is_not_shown() -> None:
    assert "sig" not in repr(decide_redirect("https://cdn.example/b?sig=1", (HERE,)))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_authorization_stays_at_its_origin(
    server: Server, new_server: Callable[[], Server], new_registry: Callable[..., RemoteRegistry], status: int
) -> None:
    """Another port is another origin (R85, P43)."""
    cdn = new_server()
    cdn.on("/b", lambda asked: asked.reply(200, BLOB))
    registry = new_registry(server.url, credentials=Credentials("me", "hunter2"))
    server.on("/token", token_answer)
    server.on(
        BLOB_PATH,
        behind_tokens(
            server,
            f"{server.url}/token",
            lambda asked: asked.reply(status, b"", {"Location": f"{cdn.url}/b?sig=x"}),
        ),
    )
    assert await read_all(registry) == BLOB
    [asked] = cdn.asked
    assert asked.header("Authorization") is None
    assert asked.target == "/b?sig=x"
    assert asked.all("Accept-Encoding") == ["identity"]
    assert server.asked[-1].header("Authorization") == "Bearer good-hunter2"


async def test_authorization_goes_on_within_the_origin(server: Server, registry: RemoteRegistry) -> None:
    server.on("/token", token_answer)
    server.on(
        BLOB_PATH,
        behind_tokens(
            server, f"{server.url}/token", lambda asked: asked.reply(307, b"", {"Location": "/moved"})
        ),
    )
    server.on("/moved", behind_tokens(server, f"{server.url}/token", lambda asked: asked.reply(200, BLOB)))
    assert await read_all(registry) == BLOB
    assert len(server.asked) == 4


async def test_a_target_that_challenges_is_asked_with_its_own_token(
    server: Server, new_server: Callable[[], Server], new_registry: Callable[..., RemoteRegistry]
) -> None:
    """Anonymously, never with our credentials (R88)."""
    other = new_server()
    registry = new_registry(server.url, credentials=Credentials("me", "hunter2"))
    server.on(BY_TAG, lambda asked: asked.reply(307, b"", {"Location": f"{other.url}/m"}))
    other.on("/m", behind_tokens(other, f"{other.url}/token", manifest_answer))
    other.on("/token", token_answer)
    await registry.tags.get(REPOSITORY, TAG)
    await registry.tags.get(REPOSITORY, TAG)
    assert other.log() == ["GET /m", "GET /token", "GET /m", "GET /m"]
    assert [asked.header("Authorization") for asked in other.asked] == [
        None,
        None,
        "Bearer good-hunter2",
        "Bearer good-hunter2",
    ]
    assert all("account" not in dict(asked.query) for asked in other.asked)


async def test_a_target_that_wants_basic_gets_nothing(
    server: Server, new_server: Callable[[], Server], new_registry: Callable[..., RemoteRegistry]
) -> None:
    other = new_server()
    registry = new_registry(server.url, credentials=Credentials("me", "hunter2"))
    server.on(BY_TAG, lambda asked: asked.reply(307, b"", {"Location": f"{other.url}/m"}))
    other.on("/m", lambda asked: asked.reply(401, b"", {"WWW-Authenticate": 'Basic realm="x"'}))
    with pytest.raises(Denied):
        await registry.tags.get(REPOSITORY, TAG)
    assert [asked.header("Authorization") for asked in other.asked] == [None]


@pytest.mark.parametrize("location", [BLOB_PATH, "/loop", None, "ftp://x/"])
async def test_bad_redirects_fail(server: Server, registry: RemoteRegistry, location: str | None) -> None:
    def redirect(asked: Asked) -> None:
        asked.reply(302, b"", {} if location is None else {"Location": location})

    server.on(BLOB_PATH, redirect)
    server.on("/loop", redirect)
    with pytest.raises(UpstreamFailed, match="redirects"):
        await registry.blobs.open(REPOSITORY, BLOB_DIGEST)


async def test_the_metadata_service_is_out_of_reach(server: Server, registry: RemoteRegistry) -> None:
    """An upstream cannot send us to link-local addresses; nothing is sent there (R80)."""
    server.on(BLOB_PATH, lambda asked: asked.reply(302, b"", {"Location": f"http://0.0.0.0:{server.port}/x"}))
    with pytest.raises(UpstreamFailed, match="not allowed"):
        await registry.blobs.open(REPOSITORY, BLOB_DIGEST)
    assert len(server.asked) == 1


EXACT = [
    "/f?sig=abc%2Bdef%3D&x=a+b",
    "/f?sig=abc%2bdef%3d",
    "/f?a=%7Ex~y",
    "/f?a&b=&c&&d=1&",
    "/f?a=1;b=2",
    "/a%2Fb/c?x=%2F%3A/:",
    "/f?X-Amz-Credential=AK%2F20%2Fs3&s=%21%27%28%29%2A!'()*",
    "/f?",
    "/?",
    "//dbl//x/?q=1",
    "/a/../b/./c?q",
    "/%41%42?%41=%42",
    '/f?p={"a":1}|^`<>\\',
    "/{[]}|^`",
    "/f?a=[1]&b=@:,$",
    "/%",
    "/f?x=%zz%",
    "/f?x=%E2%82%AC%FF",
    "/%ff?x=%FF",
    "/a;p=1;/b=2;?x",
    "/f%3Fq?x=?y/z",
]


@pytest.mark.parametrize(
    ("target", "absolute"),
    [
        (target, absolute)
        for target in EXACT
        for absolute in (True, False)
        if absolute or not target.startswith("//")  # that would be another host
    ],
)
async def test_a_signature_arrives_byte_for_byte(
    server: Server, registry: RemoteRegistry, target: str, absolute: bool
) -> None:
    """What was signed is what is asked for: nothing decoded, encoded, dropped or tidied (R85)."""
    location = f"{server.url}{target}" if absolute else target
    server.on(BLOB_PATH, lambda asked: asked.reply(307, b"", {"Location": f"{location}#fragment"}))
    with pytest.raises(NotFound):
        await registry.blobs.open(REPOSITORY, BLOB_DIGEST)
    assert server.asked[1].target == target
    assert server.asked[1].header("Host") == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize("mark", [" ", "\t", "\r", "\n", "\0", "\x7f", "\x85", "ä", "\ufffd"])
@pytest.mark.parametrize(
    "place", ["https://cdn.example/{}", "https://cdn.example/?{}x", "https://c{}n/", "/{}"]
)
def test_hostile_characters(mark: str, place: str) -> None:
    """Nothing that could end a request line or stand for other bytes is followed."""
    assert isinstance(decide_redirect(place.format(mark), (HERE,)), Refuse)


def test_doors_of_others_are_bounded() -> None:
    """Memory does not depend on how many hosts an upstream sends us to; the oldest use goes first."""
    own = Origin.of("https://own.example")
    made: list[Origin] = []
    doors = Doors({own: "own"}, lambda origin: made.append(origin) or object())
    origins = [Origin.of(f"https://h{number}.example") for number in range(MAX_FOREIGN_DOORS)]
    first = [doors.of(origin) for origin in origins]
    assert doors.of(origins[0]) is first[0]
    doors.of(Origin.of("https://one.more"))
    assert len(doors._others) == MAX_FOREIGN_DOORS
    assert doors.of(origins[0]) is first[0]
    assert doors.of(origins[1]) is not first[1]
    assert doors.of(own) == "own"
    assert len(made) == MAX_FOREIGN_DOORS + 2
