"""The doubles of the well-known registries have the manners that they are there for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlencode

import pytest
import pytest_twisted
from twisted.internet import reactor

from regproxy.testing.images import sized_image
from regproxy.testing.personalities import PERSONALITIES, DockerHub, Personality
from tests.testing.raw import Raw, fetch

IMAGE = sized_image(5_000)
BLOB = next(iter(IMAGE.blobs))
LISTED = {"Accept": IMAGE.media_type}

Make = Callable[[str], Awaitable[Personality]]


@pytest_twisted.async_yield_fixture
async def make() -> AsyncIterator[Make]:
    made: list[Personality] = []

    async def make(name: str) -> Personality:
        personality = PERSONALITIES[name](reactor)
        await personality.start()
        made.append(personality)
        personality.put_image("library/app", "1", IMAGE)
        return personality

    yield make
    for personality in made:
        await personality.stop()


async def ask(personality: Personality, path: str, method: str = "GET", **headers: str) -> Raw:
    return await fetch(personality.api.url, f"/v2/library/app/{path}", method, **headers)


async def bearer(personality: Personality, scope: str = "repository:library/app:pull") -> dict[str, str]:
    """A header with a token as anybody may have it."""
    assert personality.tokens is not None
    query = urlencode({"scope": scope})
    answer = await fetch(personality.tokens.url, f"{personality.tokens.path}?{query}")
    return {"Authorization": f"Bearer {json.loads(answer.body)['token']}"}


REALMS = {
    "docker.io": ("/token", "registry.docker.io", True),
    "ghcr.io": ("/token", "ghcr.io", False),
    "quay.io": ("/v2/auth", "quay.io", False),
    "gcr.io": ("/v2/token", "gcr.io", False),
    "public.ecr.aws": ("/token/", "public.ecr.aws", False),
    "registry.gitlab.com": ("/jwt/auth", "container_registry", True),
    "nvcr.io": ("/proxy_auth", None, False),
}


@pytest.mark.parametrize("name", sorted(REALMS))
async def test_challenges(make: Make, name: str) -> None:
    """Realm and service (R82), at its own host or at another."""
    personality = await make(name)
    path, service, elsewhere = REALMS[name]
    refused = await ask(personality, "manifests/1")
    challenge = refused.header("WWW-Authenticate") or ""
    assert refused.status == 401
    assert challenge.startswith(f'Bearer realm="{personality.tokens.realm}"')
    assert personality.tokens.realm.endswith(path)
    assert (personality.tokens.url != personality.api.url) is elsewhere
    assert ("service=" in challenge) is (service is not None)
    assert service is None or f'service="{service}"' in challenge


@pytest.mark.parametrize("name", ["registry.k8s.io", "mcr.microsoft.com"])
async def test_no_tokens(make: Make, name: str) -> None:
    personality = await make(name)
    answer = await ask(personality, "manifests/1")
    assert answer.status == (307 if name == "registry.k8s.io" else 200)


async def test_the_hub_has_official_images_below_library_only(make: Make) -> None:
    hub = await make("docker.io")
    token = await bearer(hub, "repository:app:pull")
    assert (await fetch(hub.api.url, "/v2/app/manifests/1", **token)).status == 401
    assert (await ask(hub, "manifests/1", **await bearer(hub))).status == 200


async def test_the_hub_counts_gets_of_manifests(make: Make) -> None:
    hub = await make("docker.io")
    assert isinstance(hub, DockerHub)
    hub.quota.left = 1
    token = await bearer(hub)
    for method, left, status in (("HEAD", 1, 200), ("GET", 0, 200), ("HEAD", 0, 200), ("GET", 0, 429)):
        answer = await ask(hub, "manifests/1", method, **token)
        assert answer.status == status
        if status == 200:
            assert answer.header("ratelimit-remaining") == f"{left};w=21600"
            assert answer.header("docker-ratelimit-source") == "127.0.0.1"
    assert (await ask(hub, f"blobs/{BLOB}", **token)).status == 307


@pytest.mark.parametrize(("method", "status"), [("HEAD", 401), ("GET", 307)])
async def test_ecr_answers_no_head_of_a_blob(make: Make, method: str, status: int) -> None:
    ecr = await make("public.ecr.aws")
    token = await bearer(ecr, "aws")
    assert (await ask(ecr, "manifests/1", "HEAD", **token)).status == 200
    assert (await ask(ecr, f"blobs/{BLOB}", method, **token)).status == status


async def test_ghcr_needs_the_type_to_be_listed(make: Make) -> None:
    ghcr = await make("ghcr.io")
    token = await bearer(ghcr)
    for accept, status in (({}, 404), ({"Accept": "application/json"}, 404), (LISTED, 200)):
        assert (await ask(ghcr, "manifests/1", **token, **accept)).status == status


async def test_kubernetes_sends_to_a_registry_that_asks(make: Make) -> None:
    kubernetes = await make("registry.k8s.io")
    sent = (await ask(kubernetes, "manifests/1")).header("Location") or ""
    origin, mark, rest = sent.partition("/v2/")
    assert rest == "k8s-artifacts-prod/images/library/app/manifests/1"
    assert origin != kubernetes.api.url
    refused = await fetch(origin, mark + rest)
    assert (refused.status, "scope=" in (refused.header("WWW-Authenticate") or "")) == (401, True)
    assert (await fetch(origin, mark + rest, **await bearer(kubernetes))).status == 401
    scope = "repository:k8s-artifacts-prod/images/library/app:pull"
    assert (await fetch(origin, mark + rest, **await bearer(kubernetes, scope))).status == 200
    blob = await ask(kubernetes, f"blobs/{BLOB}")
    assert (blob.header("Location") or "").startswith(kubernetes.api.cdn_url)


async def test_google_sends_blobs_to_a_path_of_the_same_host(make: Make) -> None:
    google = await make("gcr.io")
    token = await bearer(google)
    location = (await ask(google, f"blobs/{BLOB}", **token)).header("Location") or ""
    assert location.startswith("/artifacts-downloads/")
    assert (await fetch(google.api.url, location)).status == 401
    assert (await fetch(google.api.url, location, **token)).body == IMAGE.blobs[BLOB]
    assert (await fetch(google.api.url, "/artifacts-downloads/library/app/x", **token)).status == 404


async def test_quay_answers_heads_of_blobs_itself(make: Make) -> None:
    quay = await make("quay.io")
    token = await bearer(quay)
    assert (await ask(quay, f"blobs/{BLOB}", "HEAD", **token)).status == 200
    assert (await ask(quay, f"blobs/{BLOB}", **token)).status == 302


@pytest.mark.parametrize(
    ("name", "status", "challenged"),
    [("docker.io", 401, True), ("public.ecr.aws", 400, False), ("nvcr.io", 401, True)],
)
async def test_what_a_token_that_has_ended_is_told(
    make: Make, name: str, status: int, challenged: bool
) -> None:
    personality = await make(name)
    token = await bearer(personality, "aws" if name == "public.ecr.aws" else "repository:library/app:pull")
    assert (await ask(personality, "manifests/1", **token, **LISTED)).status == 200
    personality.tokens.time_offset_s = 3600.0
    refused = await ask(personality, "manifests/1", **token, **LISTED)
    challenge = refused.header("WWW-Authenticate") or ""
    assert (refused.status, bool(challenge)) == (status, challenged)
    if personality.strangers is not None:
        assert f'realm="{personality.strangers.realm}"' in challenge
        answer = await fetch(personality.strangers.url, personality.strangers.path)
        assert answer.status == 401


async def test_a_token_of_nvidia_tells_nothing_of_its_life(make: Make) -> None:
    nvidia = await make("nvcr.io")
    answer = await fetch(nvidia.api.url, "/proxy_auth?scope=repository:library/app:pull")
    assert set(json.loads(answer.body)) == {"token"}


async def test_what_was_asked_is_told_by_host_and_can_be_forgotten(make: Make) -> None:
    kubernetes = await make("registry.k8s.io")
    await ask(kubernetes, "manifests/1", "HEAD")
    await bearer(kubernetes)
    assert dict(kubernetes.seen) == {"api HEAD manifest 307": 1, "token GET token 200": 1}
    assert repr(kubernetes) == f"<Personality registry.k8s.io at {kubernetes.api.url}>"
    kubernetes.clear()
    assert not kubernetes.seen
