"""Who asks, and may they: the same for every shape of URL, for GET and HEAD, before anything is looked up."""

from __future__ import annotations

import json
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from regproxy.access.entrance import Entrance
from regproxy.access.forwarded import TrustedProxies
from regproxy.access.identity import Identity, Proof
from regproxy.access.keys import parse_keys
from regproxy.access.policy import Policy
from regproxy.access.tokens import Tokens
from regproxy.compose import build_resource
from regproxy.headers.challenges import parse_challenges
from regproxy.interfaces import How, TagAnswer, TagList
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.settings import AccessSettings, Pattern, Settings, StorageSettings, UpstreamSettings
from regproxy.web.gate import Gate
from tests.access.known import Thread, basic, entrance
from tests.access.signing import ALL, AUDIENCE, ISSUER, NOW_S, jwk, key_set, signed
from tests.logged import logging
from tests.web.doubles import BLOB, BLOB_DIGEST, CONTENT, MANIFEST, Front, MemoryRegistry, Reply, parse

HUB = UpstreamSettings(
    "docker.io",
    ("https://registry-1.docker.io",),
    default=True,
    library=True,
    aliases=("index.docker.io",),
    deny=(Pattern("library/secret", 12),),
)
CORP = UpstreamSettings(
    "corp.example",
    ("https://corp.example",),
    users=(Pattern("alice", 20),),
    allow=(Pattern("team-a/**", 21),),
)
OPEN = UpstreamSettings("ghcr.io", ("https://ghcr.io",))
ALL_UPSTREAMS = (HUB, CORP, OPEN)
ALICE = f"Authorization: {basic('alice', 'hunter2-right')}"
BOB = f"Authorization: {basic('bob', 'hunter2-other')}"
FOREIGN = f"Authorization: {basic('hubuser', 'hub password')}"
HELD = [
    ("docker.io", "library/nginx"),
    ("docker.io", "library/secret"),
    ("corp.example", "team-a/app"),
    ("corp.example", "team-b/app"),
    ("ghcr.io", "org/app"),
]
NOTHING = Digest.of(b"nobody has it")


def everything() -> MemoryRegistry:
    """Each repository has the same manifest, tag and blob."""
    registry = MemoryRegistry()
    for upstream, path in HELD:
        repository = Repository(upstream, path)
        registry.blob_map[repository, BLOB_DIGEST] = BLOB
        registry.manifest_map[repository, MANIFEST.digest] = MANIFEST
        registry.tag_map[repository, Tag("latest")] = TagAnswer(MANIFEST.descriptor, MANIFEST, How.HIT)
        registry.hits[repository, MANIFEST.digest] = TagAnswer(MANIFEST.descriptor, MANIFEST, How.HIT)
    return registry


def front(**options: Any) -> Front:
    """Alice and Bob have passwords; everybody must be known, unless ``anonymous``."""
    known = {
        name: options.pop(name) for name in ("anonymous", "tokens", "realm", "thread") if name in options
    }
    made = entrance(ALL_UPSTREAMS, **known)
    return Front(everything(), upstreams=ALL_UPSTREAMS, entrance=options.pop("entrance", made), **options)


def targets(shapes: list[str], reference: str = str(MANIFEST.digest)) -> list[str]:
    """Each way to name a repository, with each thing that can be read of it."""
    found = []
    for shape in shapes:
        name, _, query = shape.partition("?")
        for what in (
            f"manifests/{reference}",
            "manifests/latest",
            f"blobs/{BLOB_DIGEST}",
            "tags/list",
            f"referrers/{BLOB_DIGEST}",
            f"blobs/{NOTHING}",
            "manifests/missing",
        ):
            found.append(f"/v2/{name}/{what}" + (f"?{query}" if query else ""))
    return found


SECRET = targets(
    [
        "secret",
        "library/secret",
        "docker.io/secret",
        "docker.io/library/secret",
        "secret?ns=docker.io",
        "library/secret?ns=index.docker.io",
        "DOCKER.IO/secret",
        "%73ecret",
        "index.docker.io/secret",
    ]
)
CORPS = targets(
    ["corp.example/team-a/app", "team-a/app?ns=corp.example", "corp.example/team-a/app?ns=corp.example"]
)
OTHER_TEAM = targets(["corp.example/team-b/app", "team-b/app?ns=corp.example"])


async def asked(at: Front, target: str, *lines: str) -> Reply:
    """By GET and by HEAD, which must say the same; nothing was looked up for either, or both were."""
    at.registry.calls.clear()
    get = await at.ask("GET", target, *lines)
    head = await at.ask("HEAD", target, *lines)
    assert (head.status, head.stable) == (get.status, get.stable)
    if get.status in (401, 403):
        assert at.registry.calls == [], "nothing may be looked up before it was allowed"
    return get


def challenges(reply: Reply) -> list[tuple[str, dict[str, str]]]:
    header = reply.headers.get("www-authenticate", "")
    return [(each.scheme, dict(each.parameters)) for each in parse_challenges([header])]


async def test_nobody_learns_anything_who_is_not_known() -> None:
    """The same for what is there, what is not, what is no upstream, no name and no route."""
    async with front() as at:
        seen = set()
        for target in [
            "/v2/",
            "/v2",
            "/v2/_catalog",
            "/nowhere",
            "/v2/a/manifests/x?ns=evil.test",
            "/v2/A/manifests/x",
            *SECRET,
            *CORPS,
            *OTHER_TEAM,
        ]:
            for lines in ([], ["Authorization: Negotiate abc"], ["Authorization: "]):
                reply = await asked(at, target, *lines)
                assert reply.status == 401
                assert challenges(reply) == [("basic", {"realm": "regproxy"})]
                seen.add((reply.error["code"], tuple(lines), reply.body, *sorted(reply.stable.items())))
        assert {code for code, *_ in seen} == {"UNAUTHORIZED"}
        assert len(seen) == len({lines for _, lines, *_ in seen}) == 3, "one answer to each, headers and all"


async def test_a_wrong_password_is_told_so() -> None:
    async with front() as at:
        for sent in (
            basic("alice", "wrong"),
            basic("carol", "hunter2-right"),
            "Basic !",
            "Basic",
            "Bearer x.y.z",
        ):
            reply = await asked(at, "/v2/", f"Authorization: {sent}")
            assert (reply.status, reply.error["code"]) == (401, "UNAUTHORIZED")
            assert reply.error["message"] == "this mirror knows no such user, password or token"
        two = await at.ask("GET", "/v2/", ALICE, BOB)
        assert two.status == 401


async def test_log_in_is_discovered_and_works() -> None:
    """As docker login and podman login do it."""
    async with front() as at:
        assert (await at.ask("GET", "/v2/")).status == 401
        assert (await at.ask("GET", "/v2/", ALICE)).status == 200
        assert (await at.ask("GET", "/v2/", ALICE.replace("Basic", "basic"))).status == 200


@pytest.mark.parametrize(
    "ways", [("/v2/", "corp.example"), ("/v2/?ns=corp.example", "mirror"), ("/corp.example/v2/", "mirror")]
)
async def test_log_in_is_discovered_beside_what_is_for_everyone(ways: tuple[str, str]) -> None:
    """Who asks whether this is the registry of that upstream is told that it wants a login."""
    target, host = ways
    async with front(anonymous=True) as at:

        async def status(*lines: str) -> int:
            head = "\r\n".join([f"GET {target} HTTP/1.1", f"Host: {host}", "Connection: close", *lines])
            reply, _ = parse(await at.raw(f"{head}\r\n\r\n".encode("latin-1")))
            assert (reply.status == 401) == bool(challenges(reply))
            return reply.status

        assert [await status(), await status(ALICE), await status(BOB), await status(FOREIGN)] == [
            401,
            200,
            403,
            401,
        ]
        assert (await at.ask("GET", "/v2/")).status == 200
        assert (await at.ask("GET", "/v2/?ns=docker.io", FOREIGN)).status == 200


async def test_two_identities_differ() -> None:
    async with front() as at:
        for target in CORPS:
            alice, bob = await asked(at, target, ALICE), await asked(at, target, BOB)
            assert alice.status in (200, 404)
            assert (bob.status, bob.error["code"]) == (403, "DENIED")
            assert bob.error["message"] == (
                "you are not among those who may use this upstream: upstreams.corp.example.users, line 20"
            )
            assert "www-authenticate" not in bob.headers
        assert (await at.ask("GET", "/v2/ghcr.io/org/app/tags/list", BOB)).status == 404


@pytest.mark.parametrize("target", SECRET)
async def test_denied_in_every_shape(target: str) -> None:
    """Also where the manifest is at hand, and where there is nothing."""
    async with front(anonymous=True) as at:
        reply = await asked(at, target)
        assert (reply.status, reply.error["code"]) == (403, "DENIED")
        assert reply.error["message"].endswith("upstreams.docker.io.deny, line 12")


@pytest.mark.parametrize("target", OTHER_TEAM)
async def test_what_is_not_allowed_in_every_shape(target: str) -> None:
    async with front() as at:
        reply = await asked(at, target, ALICE)
        assert reply.status == 403
        assert reply.error["message"].endswith("upstreams.corp.example.allow, line 21")


async def test_an_anonymous_mirror_does_not_look_at_authorization() -> None:
    """dockerd sends what it has for Docker Hub; a 401 would end its use of the mirror (P20, R71)."""
    at = Front(everything(), upstreams=ALL_UPSTREAMS, entrance=Entrance(Policy((HUB, OPEN, CORP))))
    async with at:
        for sent in (FOREIGN, "Authorization: Bearer foreign", "Authorization: junk \xff"):
            for target in (
                "/v2/",
                f"/v2/nginx/manifests/{MANIFEST.digest}",
                f"/v2/nginx/blobs/{BLOB_DIGEST}",
            ):
                reply = await at.ask("GET", target, sent)
                assert reply.status == 200
        assert {record.user for record in at.records} == {None}
        refused = await at.ask("GET", CORPS[0], FOREIGN)
        assert (refused.status, refused.error["message"]) == (
            403,
            "this mirror serves only clients that it knows: show a client certificate",
        )


async def test_where_both_are_let_in_what_is_open_asks_nobody() -> None:
    """anonymous: true beside htpasswd: foreign credentials cost no hash, and no 401."""
    thread = Thread()
    async with front(anonymous=True, thread=thread) as at:
        for target in (
            "/v2/",
            f"/v2/nginx/manifests/{MANIFEST.digest}",
            f"/v2/ghcr.io/org/app/blobs/{BLOB_DIGEST}",
        ):
            assert (await at.ask("GET", target, FOREIGN)).status == 200
        assert (await at.ask("GET", "/v2/a/manifests/x?ns=evil.test", FOREIGN)).status == 404
        assert thread.jobs == []
        reply = await asked(at, CORPS[0])
        assert (reply.status, challenges(reply)) == (401, [("basic", {"realm": "regproxy"})])
        thread.at_once = True
        assert (await asked(at, CORPS[0], ALICE)).status == 200
        assert (await asked(at, CORPS[0], BOB)).status == 403


async def test_a_client_that_leaves_while_its_password_waits() -> None:
    """The check is not made, nothing is served, and its line says so."""
    thread = Thread()
    async with front(thread=thread) as at:
        first = await at.connect()
        first.transport.write(f"GET /v2/ HTTP/1.1\r\nHost: m\r\n{BOB}\r\n\r\n".encode())
        second = await at.connect()
        second.transport.write(f"GET /v2/ HTTP/1.1\r\nHost: m\r\n{ALICE}\r\n\r\n".encode())
        for _ in range(200):
            if len(at.entrance._passwords._checks) == 2:
                break
            await turn()
        second.transport.abortConnection()
        await second.ended()
        while len(at.records) < 1:
            await turn()
        thread.all()
        data = await first.until(lambda data: data.endswith(b"{}"))
        assert data.startswith(b"HTTP/1.1 200 ")
        assert thread.ran == 1
        assert at.records[0].status == 499


def turn() -> Deferred[None]:
    return deferLater(reactor, 0)


async def test_too_many_checks_are_a_503() -> None:
    thread = Thread()
    async with front(thread=thread) as at:
        clients = []
        for number in range(9):
            client = await at.connect()
            sent = basic("alice", f"guess {number}")
            client.transport.write(f"GET /v2/ HTTP/1.1\r\nHost: m\r\nAuthorization: {sent}\r\n\r\n".encode())
            clients.append(client)
            await turn()
        while len(at.entrance._passwords._checks) < 9:
            await turn()
        reply = await at.ask("GET", "/v2/", ALICE)
        assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (503, "UNAVAILABLE", "30")


KEYS = parse_keys(key_set(*(jwk(key, name) for name, key in ALL.items())))


def with_tokens(**options: Any) -> Front:
    tokens = Tokens(ISSUER, AUDIENCE, lambda: KEYS, lambda: NOW_S)
    return front(tokens=tokens, realm="https://auth.test/token", **options)


def bearer(**changes: Any) -> str:
    return "Authorization: Bearer " + signed(**changes).decode()


async def test_a_token_is_asked_for_with_the_scope_that_it_needs() -> None:
    """containerd never asks /v2/ first: the challenge of the content itself must say all (R70)."""
    async with with_tokens() as at:
        where = {"realm": "https://auth.test/token", "service": "mirror.test"}
        assert challenges(await at.ask("GET", "/v2/"))[0] == ("bearer", where)
        for target in ("/v2/nginx/manifests/latest", "/v2/docker.io/library/nginx/manifests/latest"):
            first, second = challenges(await asked(at, target))
            assert first == ("bearer", {**where, "scope": "repository:docker.io/library/nginx:pull"})
            assert second == ("basic", {"realm": "regproxy"})


async def test_a_token_reaches_as_far_as_it_says() -> None:
    async with with_tokens() as at:
        assert (await asked(at, "/v2/", bearer())).status == 200
        assert (await asked(at, "/v2/nginx/manifests/latest", bearer())).status == 200
        reply = await asked(at, "/v2/ghcr.io/org/app/manifests/latest", bearer())
        assert (reply.status, reply.error["code"]) == (401, "UNAUTHORIZED")
        assert challenges(reply)[0][1]["error"] == "insufficient_scope"
        assert challenges(reply)[0][1]["scope"] == "repository:ghcr.io/org/app:pull"
        old = await asked(at, "/v2/", bearer(exp=NOW_S - 60))
        assert (old.status, challenges(old)[0][1]["error"]) == (401, "invalid_token")


async def test_rules_hold_for_tokens() -> None:
    everywhere = [
        {"type": "repository", "name": f"corp.example/{name}", "actions": ["pull"]}
        for name in ("team-a/app", "team-b/app")
    ]
    async with with_tokens() as at:
        assert (await asked(at, CORPS[0], bearer(sub="alice", access=everywhere))).status == 200
        assert (await asked(at, CORPS[0], bearer(sub="bob", access=everywhere))).status == 403
        assert (await asked(at, OTHER_TEAM[0], bearer(sub="alice", access=everywhere))).status == 403


async def test_the_access_line_has_the_name_and_no_secret() -> None:
    async with with_tokens() as at:
        for lines in ([ALICE], [bearer()], [bearer(sub=None)], []):
            await at.ask("GET", "/v2/", *lines)
        assert [record.user for record in at.records] == ["alice", "ci", "token", None]
        shown = repr(at.records)
        assert "hunter2-right" not in shown
        assert "Bearer" not in shown


async def test_the_catalog_is_off_and_says_which_setting() -> None:
    async with front(anonymous=True) as at:
        reply = await asked(at, "/v2/_catalog")
        assert (reply.status, reply.error["code"]) == (404, "UNSUPPORTED")
        assert "access.catalog: true" in reply.error["message"]


async def names(at: Front, target: str, *lines: str) -> Any:
    reply = await asked(at, target, *lines)
    return json.loads(reply.body)["repositories"] if reply.status == 200 else reply.status


async def test_the_catalog_has_what_the_asker_may_see() -> None:
    async with front(anonymous=True, catalog=True) as at:
        assert await names(at, "/v2/_catalog") == ["library/nginx"], "not library/secret"
        assert await names(at, "/v2/_catalog?ns=ghcr.io") == ["org/app"]
        assert await names(at, "/v2/ghcr.io/_catalog") == ["org/app"]
        assert await names(at, "/v2/corp.example/_catalog") == 401
        assert await names(at, "/v2/corp.example/_catalog", ALICE) == ["team-a/app"]
        assert await names(at, "/v2/_catalog?ns=corp.example", BOB) == 403
        assert await names(at, "/v2/_catalog?ns=evil.test") == 404
        assert await names(at, "/v2/ghcr.io/_catalog?ns=docker.io") == 400


async def test_the_catalog_of_a_token() -> None:
    listing = [{"type": "registry", "name": "catalog", "actions": ["*"]}]
    async with with_tokens(catalog=True) as at:
        assert challenges(await at.ask("GET", "/v2/_catalog"))[0][0] == "bearer"
        assert await names(at, "/v2/_catalog", bearer()) == ["library/nginx"]
        assert await names(at, "/v2/_catalog?ns=ghcr.io", bearer()) == []
        assert await names(at, "/v2/_catalog?ns=ghcr.io", bearer(access=listing)) == ["org/app"]
        assert await names(at, "/v2/corp.example/_catalog", bearer(access=listing)) == 403


@pytest.mark.parametrize("start", ["/v2/_catalog?n=2&ns=ghcr.io", "/v2/ghcr.io/_catalog?n=2"])
async def test_the_catalog_comes_in_pages(start: str) -> None:
    at = front(anonymous=True, catalog=True)
    expected = sorted(["a", "a-b", "a/b", "z", "org/app"])
    for name in expected:
        at.registry.blob_map[Repository("ghcr.io", name), BLOB_DIGEST] = BLOB
    async with at:
        seen: list[str] = []
        target: str | None = start
        while target is not None:
            reply = await asked(at, target)
            page = json.loads(reply.body)["repositories"]
            assert len(page) <= 2
            seen += page
            link = reply.headers.get("link")
            target = None if link is None else link.partition(">")[0].removeprefix("<")
        assert seen == expected
        assert await names(at, "/v2/_catalog?n=0&ns=ghcr.io") == []
        assert (await asked(at, "/v2/_catalog?n=x")).status == 400


PROXY = TrustedProxies([ip_network("127.0.0.1/32")])
INSIDE = [ip_network("10.0.0.0/8")]


async def test_behind_a_trusted_proxy_the_clients_address_counts() -> None:
    """For the decision and for the access line."""
    async with front(anonymous=True, proxies=PROXY, networks=INSIDE) as at:
        for written, status in (
            ("10.0.0.9", 200),
            ("203.0.113.9", 403),
            ("10.0.0.9, 203.0.113.9", 403),
            ("junk", 403),
            ("\xff", 403),
            ("\xff, 10.0.0.9", 200),
        ):
            assert (await at.ask("GET", "/v2/", f"X-Forwarded-For: {written}")).status == status
        assert (await at.ask("GET", "/v2/")).status == 403, "the proxy itself is no client"
        assert [each.client for each in at.records] == [
            "10.0.0.9",
            "203.0.113.9",
            "203.0.113.9",
            "-",
            "-",
            "10.0.0.9",
            "127.0.0.1",
        ]


async def test_others_cannot_claim_an_address() -> None:
    async with front(anonymous=True, networks=INSIDE) as at:
        reply = await at.ask("GET", "/v2/", "X-Forwarded-For: 10.0.0.9", "Forwarded: for=10.0.0.9")
        assert reply.status == 403
        assert at.records[0].client == "127.0.0.1"


@pytest.mark.parametrize(("proto", "warned"), [("https", 0), ("http", 1), (None, 1), ("\xff", 1)])
async def test_a_password_in_clear_is_told_once(proto: str | None, warned: int) -> None:
    """Not where the client spoke TLS to the proxy in front."""
    lines = [ALICE, "X-Forwarded-For: 10.0.0.9"] + ([] if proto is None else [f"X-Forwarded-Proto: {proto}"])
    with logging() as logged:
        async with front(proxies=PROXY) as at:
            for _ in range(3):
                assert (await at.ask("GET", "/v2/", *lines)).status == 200
    assert len(logged.lines("warn")) == warned
    assert all("from 10.0.0.9 first" in line and "hunter2-right" not in line for line in logged.lines("warn"))


async def test_an_untrusted_proto_is_not_believed() -> None:
    with logging() as logged:
        async with front() as at:
            await at.ask("GET", "/v2/", ALICE, "X-Forwarded-Proto: https")
    assert len(logged.lines("warn")) == 1


async def test_a_certificate_is_an_identity_and_asks_for_no_password() -> None:
    """What the handshake found; an Authorization beside it is not looked at."""
    thread = Thread()
    async with front(thread=thread) as at:

        class Certified(at.site.protocol):  # type: ignore[name-defined,misc]
            identity = Identity("alice", Proof.CERTIFICATE)

        at.site.protocol = Certified
        assert (await asked(at, CORPS[0])).status == 200
        assert (await asked(at, CORPS[0], FOREIGN)).status == 200
        assert thread.jobs == []
        assert at.records[0].user == "alice"


async def test_private_answers_are_for_nobodys_cache() -> None:
    async with front() as at:
        reply = await at.ask("GET", f"/v2/corp.example/team-a/app/blobs/{BLOB_DIGEST}", ALICE)
        assert reply.headers["cache-control"].startswith("private")
        assert reply.body == BLOB
        hit = await at.ask("GET", f"/v2/corp.example/team-a/app/manifests/{MANIFEST.digest}", ALICE)
        assert hit.headers["cache-control"].startswith("private")
        assert hit.body == CONTENT
        at.registry.lists[Repository("corp.example", "team-a/app")] = TagList(("1", "2"), How.HIT)
        for target in ("manifests/latest", "manifests/latest?n=1", "tags/list", "tags/list?n=1"):
            reply = await asked(at, f"/v2/corp.example/team-a/app/{target}", ALICE)
            assert (reply.status, reply.headers["cache-control"]) == (200, "private"), target


async def test_what_is_listed_for_one_is_not_kept_for_another() -> None:
    async with front(anonymous=True, catalog=True) as at:
        reply = await asked(at, "/v2/_catalog?ns=corp.example", ALICE)
        assert (reply.status, reply.headers["cache-control"]) == (200, "private")


def test_where_everybody_must_be_known_nothing_is_for_everybody() -> None:
    """An open upstream's content too: a shared cache in front would give it to who is not known."""
    for anonymous in (False, True):
        access = AccessSettings(anonymous=anonymous)
        settings = Settings((), (), StorageSettings(Path("/nowhere")), ALL_UPSTREAMS, access=access)
        registry: Any = None
        resource = build_resource(settings, registry, Gate(), entrance(ALL_UPSTREAMS), reactor)
        route: Any = resource._routes.find(b"/v2/nginx/manifests/latest", b"")
        assert route.place.private is not anonymous


def test_the_doubles_are_what_they_seem() -> None:
    assert not OPEN.guarded
    assert CORP.guarded
    assert attrs.evolve(CORP, users=()).guarded is False
