"""A mirror that knows Alice and Bob, upstreams with rules, and what is asked of both."""

from __future__ import annotations

from typing import Any

from regproxy.access.keys import parse_keys
from regproxy.access.tokens import Tokens
from regproxy.headers.challenges import parse_challenges
from regproxy.interfaces import How, TagAnswer
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.settings import Pattern, UpstreamSettings
from tests.access.known import basic, entrance
from tests.access.signing import ALL, AUDIENCE, ISSUER, NOW_S, jwk, key_set, signed
from tests.web.doubles import BLOB, BLOB_DIGEST, MANIFEST, Front, MemoryRegistry, Reply

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


KEYS = parse_keys(key_set(*(jwk(key, name) for name, key in ALL.items())))


def with_tokens(**options: Any) -> Front:
    tokens = Tokens(ISSUER, AUDIENCE, lambda: KEYS, lambda: NOW_S)
    return front(tokens=tokens, realm="https://auth.test/token", **options)


def bearer(**changes: Any) -> str:
    return "Authorization: Bearer " + signed(**changes).decode()
