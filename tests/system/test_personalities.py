"""A pull through the whole mirror from each well-known registry, cold and warm, its requests counted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor

from regproxy.config import builtin_realm
from regproxy.config.upstreams import builtin
from regproxy.config.wellknown import WELL_KNOWN
from regproxy.settings import FillSettings, Quirks, UpstreamSettings
from regproxy.testing.images import make_index, sized_image
from regproxy.testing.personalities import PERSONALITIES, DockerHub, Personality
from tests.system.client import Answer, Client
from tests.system.mirror import Mirror

pytestmark = pytest.mark.system

KNOWN = {known.name: known for known in WELL_KNOWN}
IMAGE = make_index(sized_image(300_000, 5_000))
CHILD = IMAGE.children[0]
REPOSITORY = "library/app"


def like(personality: Personality) -> UpstreamSettings:
    """The built-in settings of that registry, at the address of its double."""
    plain = builtin(KNOWN[personality.name], None)
    return attrs.evolve(plain, endpoints=(personality.api.url,), insecure=True)


@attrs.define
class World:
    personality: Personality
    mirror: Mirror

    @property
    def client(self) -> Client:
        return self.mirror.client

    @property
    def seen(self) -> dict[str, int]:
        return dict(self.personality.seen)

    async def ask(self, method: str, rest: str, repository: str = REPOSITORY) -> Answer:
        answer = await self.client.ask(f"/v2/{self.personality.name}/{repository}/{rest}", method)
        assert answer.complete
        return answer

    async def pull(self, repository: str = REPOSITORY) -> None:
        """As a thorough client does: HEAD and GET of all that there is."""
        wanted = {
            "manifests/1": IMAGE.content,
            f"manifests/{IMAGE.digest}": IMAGE.content,
            f"manifests/{CHILD.digest}": CHILD.content,
            **{f"blobs/{digest}": content for digest, content in CHILD.blobs.items()},
        }
        for rest, content in wanted.items():
            head = await self.ask("HEAD", rest, repository)
            assert (head.status, int(head["content-length"])) == (200, len(content)), rest
            got = await self.ask("GET", rest, repository)
            assert (got.status, got.body) == (200, content), rest
            await self.mirror.settled()


NewWorld = Callable[..., Awaitable[World]]


@pytest_twisted.async_yield_fixture
async def new_world(tmp_path) -> AsyncIterator[NewWorld]:
    worlds: list[World] = []

    async def make(name: str, **changed: Any) -> World:
        personality = PERSONALITIES[name](reactor)
        await personality.start()
        calm = FillSettings(ahead=0)  # so that each request is counted by itself
        mirror = Mirror(tmp_path / "content", attrs.evolve(like(personality), **changed), fill=calm)
        await mirror.start()
        personality.put_image(REPOSITORY, "1", IMAGE)
        worlds.append(World(personality, mirror))
        return worlds[-1]

    yield make
    for world in worlds:
        await world.mirror.stop()
        await world.personality.stop()


MANIFESTS = {"api HEAD manifest 200": 2, "api GET manifest 200": 2}
"""HEAD of the tag, then GET by its digest; HEAD and GET of the child. The rest is on disk by then."""
TOKEN = {"api HEAD manifest 401": 1, "token GET token 200": 1}
"""One refusal tells where tokens are, one token is for all of the repository."""


def blobs(code: int) -> dict[str, int]:
    """Three blobs, HEAD and GET of each, sent on to where they are."""
    asked = {f"api {method} blob {code}": 3 for method in ("HEAD", "GET")}
    return asked | {f"cdn {method} cdn 200": 3 for method in ("HEAD", "GET")}


COST: dict[str, dict[str, int]] = {
    "docker.io": MANIFESTS | TOKEN | blobs(307),
    "ghcr.io": MANIFESTS | TOKEN | blobs(307),
    "quay.io": MANIFESTS | TOKEN | {"api HEAD blob 200": 3, "api GET blob 302": 3, "cdn GET cdn 200": 3},
    "registry.k8s.io": {
        "api HEAD manifest 307": 2,
        "api GET manifest 307": 2,
        "store HEAD manifest 401": 1,
        "store HEAD manifest 200": 2,
        "store GET manifest 200": 2,
        "token GET token 200": 1,
    }
    | blobs(307),
    "gcr.io": MANIFESTS
    | TOKEN
    | {
        "api HEAD blob 302": 3,
        "api HEAD other 200": 3,
        "api GET blob 302": 3,
        "api GET other 200": 3,
    },
    "mcr.microsoft.com": MANIFESTS | blobs(307),
    "public.ecr.aws": MANIFESTS | TOKEN | {"api GET blob 307": 6, "cdn GET cdn 200": 6},
    "registry.gitlab.com": MANIFESTS | TOKEN | blobs(307),
    "nvcr.io": MANIFESTS | TOKEN | blobs(302),
}
"""What a cold pull asks of each, and not once more."""


def test_there_is_one_for_each_that_needs_no_settings() -> None:
    assert set(PERSONALITIES) == set(COST) == set(KNOWN)


@pytest.mark.parametrize("name", sorted(COST))
async def test_a_pull_cold_and_warm(new_world, name):
    world = await new_world(name)
    await world.pull()
    assert world.seen == COST[name]
    world.personality.clear()
    await world.pull()
    assert world.seen == {}


@pytest.mark.parametrize("name", sorted(COST))
async def test_a_tag_that_is_looked_at_again_costs_one_head(new_world, name):
    world = await new_world(name)
    await world.pull()
    world.personality.clear()
    world.mirror.wall.now_s += 120
    assert (await world.ask("GET", "manifests/1")).status == 200
    asked = {line: number for line, number in world.seen.items() if "token" not in line}
    hop = {"api HEAD manifest 307": 1, "store HEAD manifest 304": 1}
    assert asked == (hop if name == "registry.k8s.io" else {"api HEAD manifest 304": 1})


@pytest.mark.parametrize("name", sorted(COST))
async def test_nothing_of_a_client_is_passed_on(new_world, name):
    """R72, R92, R97: not its namespace, its Host, its password nor its cookies."""
    world = await new_world(name)
    for method in ("HEAD", "GET"):
        answer = await world.client.ask(
            f"/v2/{REPOSITORY}/manifests/1?ns={name}",
            method,
            authorization="Basic dTpodW50ZXIy",
            cookie="a=b",
            x_forwarded_for="10.1.2.3",
        )
        assert (answer.status, answer["oci-namespace"]) == (200, name)
    for record in world.personality.api.requests:
        assert "ns=" not in record.target
        assert name not in (record.header("Host") or "")
        assert not (record.authorization or "").startswith("Basic")
        assert record.header("Cookie") is record.header("X-Forwarded-For") is None


@pytest.mark.parametrize("name", sorted(COST))
async def test_each_shape_is_the_same_content(new_world, name):
    """Asked for once, whatever the shape (P1)."""
    world = await new_world(name, hosts=("vhost.mirror.example",))
    await world.pull()
    world.personality.clear()
    rest = f"{REPOSITORY}/manifests/{CHILD.digest}"
    for path, host in (
        (f"/v2/{rest}?ns={name}", "mirror"),
        (f"/v2/{name}/{rest}", "mirror"),
        (f"/{name}/v2/{rest}", "mirror"),
        (f"/v2/{rest}", name),
        (f"/v2/{rest}", "vhost.mirror.example:5000"),
    ):
        answer = await world.client.ask(path, host=host)
        assert (answer.status, answer.body) == (200, CHILD.content), (path, host)
    assert world.seen == {}


# what is particular


async def test_the_hubs_official_images_are_below_library(new_world):
    """R83, P21: the name is completed on our side, no redirect, one thing under both names."""
    world = await new_world("docker.io")
    await world.pull("app")
    assert {record.repository for record in world.personality.api.requests} == {"library/app"}
    world.personality.clear()
    await world.pull("library/app")
    assert world.seen == {}
    assert (await world.client.ask("/docker.io/v2/app/tags/list")).status == 200


async def test_the_hubs_quota_is_spent_by_manifests_once(new_world):
    """R51: what is asked again is asked by HEAD, which costs nothing."""
    world = await new_world("docker.io")
    hub = world.personality
    assert isinstance(hub, DockerHub)
    await world.pull()
    assert hub.quota.left == hub.quota.limit - 2
    for _ in range(3):
        world.mirror.wall.now_s += 120
        await world.pull()
    assert hub.quota.left == hub.quota.limit - 2
    hub.quota.left = 0
    world.mirror.wall.now_s += 120
    await world.pull()
    hub.clear()
    for _ in range(5):
        refused = await world.ask("GET", "manifests/sha256:" + "0" * 64)
        assert refused.status == 429
        assert 1 <= int(refused["retry-after"]) <= 60
    assert world.seen == {}, "a HEAD has said that nothing is left"


async def test_a_type_that_is_not_listed_is_not_there_at_ghcr(new_world):
    """R15, P37: whatever the client lists, we list all."""
    world = await new_world("ghcr.io")
    only = "application/vnd.docker.distribution.manifest.v2+json"
    asked = await world.client.ask(f"/v2/ghcr.io/{REPOSITORY}/manifests/1", accept=only)
    assert (asked.status, asked.body) == (200, IMAGE.content)
    direct = Client(reactor, world.personality.api.url)
    token = world.personality.tokens.issue(
        "", [{"type": "repository", "name": REPOSITORY, "actions": ["pull"]}]
    )
    for accept, status in ((only, 404), (IMAGE.media_type, 200)):
        answer = await direct.ask(
            f"/v2/{REPOSITORY}/manifests/1", accept=accept, authorization=f"Bearer {token}"
        )
        assert answer.status == status
    await direct.close()


async def test_one_token_of_ecr_is_for_all_repositories(new_world):
    """R76: the scope that its challenge names, not ours."""
    world = await new_world("public.ecr.aws")
    world.personality.put_image("other/app", "1", IMAGE)
    await world.pull()
    assert (await world.ask("GET", "manifests/1", "other/app")).status == 200
    assert world.personality.tokens.count() == 1
    assert world.personality.tokens.requests[0].request.query["scope"] == ["aws"]


async def test_without_the_quirk_ecr_is_asked_for_heads_that_it_refuses(new_world):
    """P15: it works all the same, by requests that say nothing."""
    world = await new_world("public.ecr.aws", quirks=Quirks())
    await world.pull()
    assert world.seen["api HEAD blob 401"] > 0
    assert world.seen["api GET blob 307"] == 6


@pytest.mark.parametrize("name", ["docker.io", "public.ecr.aws", "nvcr.io"])
async def test_a_token_that_ends_early_is_asked_for_anew(new_world, name):
    """Whatever the registry says to it: 401, 400 without a challenge, a realm that is not for us."""
    world = await new_world(name)
    assert (await world.ask("HEAD", "manifests/1")).status == 200
    assert world.personality.tokens.count() == 1
    world.personality.tokens.time_offset_s = 3600.0
    answer = await world.ask("GET", "manifests/1")
    assert (answer.status, answer.body) == (200, IMAGE.content)
    assert world.personality.tokens.count() == 2
    assert world.personality.strangers is None or world.personality.strangers.count() == 0


@pytest.mark.parametrize("name", ["public.ecr.aws", "nvcr.io"])
async def test_without_the_quirk_it_would_fail(new_world, name):
    world = await new_world(name, quirks=Quirks())
    assert (await world.ask("HEAD", "manifests/1")).status == 200
    world.personality.tokens.time_offset_s = 3600.0
    assert (await world.ask("GET", f"blobs/{next(iter(CHILD.blobs))}")).status in (403, 502)


async def test_the_store_behind_kubernetes_is_asked_by_its_own_name(new_world):
    """R88: what it asks for is its business with us; the first host sees no token."""
    world = await new_world("registry.k8s.io")
    await world.pull()
    assert {record.authorization for record in world.personality.api.requests} == {None}
    (asked,) = world.personality.tokens.requests
    assert asked.request.query["scope"] == [f"repository:k8s-artifacts-prod/images/{REPOSITORY}:pull"]


async def test_tokens_of_gitlab_are_at_another_host_that_is_known(new_world):
    """R82: with credentials too, and nowhere else."""
    world = await new_world("registry.gitlab.com")
    await world.pull()
    (asked,) = world.personality.tokens.requests
    assert (asked.path, asked.port) == ("/jwt/auth", world.personality.tokens.port)
    assert asked.port != world.personality.api.port
    assert str(builtin_realm("registry.gitlab.com")) == "https://gitlab.com"


async def test_a_challenge_of_nvidia_names_no_service(new_world):
    world = await new_world("nvcr.io")
    await world.pull()
    (asked,) = world.personality.tokens.requests
    assert asked.request.query == {"scope": [f"repository:{REPOSITORY}:pull"]}
