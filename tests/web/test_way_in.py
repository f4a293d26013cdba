"""Who asks, and may they: the same for every shape of URL, for GET and HEAD, before anything is looked up."""

from __future__ import annotations

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
from regproxy.access.policy import Policy
from regproxy.compose import build_resource
from regproxy.interfaces import How, TagList
from regproxy.oci.repository import Repository
from regproxy.settings import AccessSettings, Settings, StorageSettings
from regproxy.web.gate import Gate
from tests.access.known import Thread, basic, entrance
from tests.logged import logging
from tests.web.doubles import BLOB, BLOB_DIGEST, CONTENT, MANIFEST, Front, parse
from tests.web.entering import (
    ALICE,
    ALL_UPSTREAMS,
    BOB,
    CORP,
    CORPS,
    FOREIGN,
    HUB,
    OPEN,
    OTHER_TEAM,
    asked,
    challenges,
    everything,
    front,
    targets,
)

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
