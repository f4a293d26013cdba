"""What well-known registries do otherwise is data: asked otherwise only where it says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from regproxy.errors import Denied, UpstreamFailed, UpstreamRefused
from regproxy.oci.repository import Repository
from regproxy.settings import Credentials, Quirks
from regproxy.upstream.registry import RemoteRegistry
from regproxy.upstream.small_bodies import MAX_DISCARDED_BYTES
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Asked, Server
from tests.upstream.test_registry import BLOB, BLOB_DIGEST, BLOB_PATH, BY_TAG, TAG, manifest_answer

NewRegistry = Callable[..., RemoteRegistry]


class Tokens:
    """A token server that gives ``token-1``, ``token-2`` and so on; ``good`` is the one that counts."""

    def __init__(self, server: Server, path: str = "/token") -> None:
        self.realm = f"{server.url}{path}"
        self.given = 0
        self.good: str | None = None
        server.on(path, self._give)

    def _give(self, asked: Asked) -> None:
        self.given += 1
        self.good = f"token-{self.given}"
        asked.json({"token": self.good, "expires_in": 300})

    def refusing(self, refuse: Callable[[Asked, bool], None]) -> Callable[[Asked], None]:
        """Manifests for the good token; ``refuse`` gets the others, and whether they had a token."""

        def judge(asked: Asked) -> None:
            sent = asked.header("Authorization")
            if sent is not None and sent == f"Bearer {self.good}":
                manifest_answer(asked)
            else:
                refuse(asked, sent is not None)

        return judge

    def challenge(self, asked: Asked, realm: str | None = None) -> None:
        service = "" if realm is None else ',service="registry"'
        challenge = f'Bearer realm="{realm or self.realm}"{service}'
        asked.reply(401, b"{}", {"WWW-Authenticate": challenge})


async def test_no_head_of_a_blob_where_none_is_answered(server: Server, new_registry: NewRegistry) -> None:
    registry = new_registry(server.url, quirks=Quirks(blob_heads=False))
    server.on(BLOB_PATH, lambda asked: asked.reply(200, BLOB))
    assert await registry.blobs.stat(REPOSITORY, BLOB_DIGEST) == len(BLOB)
    assert server.log() == [f"GET {BLOB_PATH}"]


def bad_request(tokens: Tokens) -> Callable[[Asked, bool], None]:
    def refuse(asked: Asked, had_token: bool) -> None:
        asked.reply(400, b" " * MAX_DISCARDED_BYTES) if had_token else tokens.challenge(asked)

    return refuse


async def test_a_token_that_ended_with_a_400_is_renewed(server: Server, new_registry: NewRegistry) -> None:
    """aws/containers-roadmap#2835: no challenge says so."""
    registry = new_registry(server.url, quirks=Quirks(ended_token=400))
    tokens = Tokens(server)
    server.on(BY_TAG, tokens.refusing(bad_request(tokens)))
    await registry.tags.get(REPOSITORY, TAG)
    for given in range(2, 8):
        tokens.good = "none"
        await registry.tags.get(REPOSITORY, TAG)
        assert tokens.given == given
    assert server.opened <= 3, "each refusal was read to its end, and its connection used again"


async def test_a_400_to_a_fresh_token_is_its_answer(server: Server, new_registry: NewRegistry) -> None:
    """Asking for more of them would change nothing."""
    registry = new_registry(server.url, quirks=Quirks(ended_token=400))
    tokens = Tokens(server)

    def refuse(asked: Asked) -> None:
        asked.reply(400, b"{}") if asked.header("Authorization") else tokens.challenge(asked)

    server.on(BY_TAG, refuse)
    with pytest.raises(UpstreamFailed, match="400"):
        await registry.tags.get(REPOSITORY, TAG)
    assert tokens.given == 1
    with pytest.raises(UpstreamFailed, match="400"):
        await registry.tags.get(REPOSITORY, TAG)
    assert tokens.given == 2, "that one had been kept: once more, once"


async def test_a_400_to_a_token_for_another_repository_is_its_answer(
    server: Server, new_registry: NewRegistry
) -> None:
    """It was asked for just now; nothing is sent without it."""
    registry = new_registry(server.url, quirks=Quirks(ended_token=400))
    tokens = Tokens(server)
    server.on(BY_TAG, tokens.refusing(bad_request(tokens)))
    await registry.tags.get(REPOSITORY, TAG)
    other = "/v2/other/manifests/latest"
    server.on(other, lambda asked: asked.reply(400, b"{}"))
    with pytest.raises(UpstreamFailed, match="400"):
        await registry.tags.get(Repository.parse("upstream.test", "other"), TAG)
    assert [asked.header("Authorization") for asked in server.asked if asked.path == other] == [
        "Bearer token-2"
    ]


async def test_a_400_to_a_password_is_its_answer(server: Server, new_registry: NewRegistry) -> None:
    credentials = Credentials("me", "hunter2")
    registry = new_registry(server.url, quirks=Quirks(ended_token=400), credentials=credentials)
    server.on(BY_TAG, lambda asked: asked.reply(401, b"", {"WWW-Authenticate": 'Basic realm="r"'}))
    with pytest.raises(UpstreamRefused):
        await registry.tags.get(REPOSITORY, TAG)
    server.on("/v2/library/other/manifests/latest", lambda asked: asked.reply(400, b"{}"))
    before = len(server.asked)
    with pytest.raises(UpstreamFailed, match="400"):
        await registry.tags.get(Repository.parse("upstream.test", "library/other"), TAG)
    assert len(server.asked) == before + 1


async def test_a_400_without_a_token_is_its_answer(server: Server, new_registry: NewRegistry) -> None:
    registry = new_registry(server.url, quirks=Quirks(ended_token=400))
    server.on(BY_TAG, lambda asked: asked.reply(400, b"{}"))
    with pytest.raises(UpstreamFailed, match="400"):
        await registry.tags.get(REPOSITORY, TAG)
    assert len(server.asked) == 1


async def test_a_400_elsewhere_means_nothing_of_tokens(server: Server, new_registry: NewRegistry) -> None:
    registry = new_registry(server.url)
    tokens = Tokens(server)
    server.on(BY_TAG, tokens.refusing(bad_request(tokens)))
    await registry.tags.get(REPOSITORY, TAG)
    tokens.good = "none"
    with pytest.raises(UpstreamFailed, match="400"):
        await registry.tags.get(REPOSITORY, TAG)
    assert tokens.given == 1


def to_another_realm(tokens: Tokens, other: str) -> Callable[[Asked, bool], None]:
    return lambda asked, had_token: tokens.challenge(asked, other if had_token else None)


@pytest.mark.parametrize(("one_realm", "asks_the_other"), [(True, 0), (False, 1)])
async def test_the_first_realm_is_kept_where_only_that_gives_tokens(
    server: Server,
    new_server: Callable[[], Server],
    new_registry: NewRegistry,
    one_realm: bool,
    asks_the_other: int,
) -> None:
    """NVIDIA/nvidia-container-toolkit#1945: a token that has ended is sent where we have no account."""
    registry = new_registry(server.url, quirks=Quirks(one_realm=one_realm))
    tokens, other = Tokens(server), new_server()
    other.on("/token", lambda asked: asked.reply(401, b"{}"))
    server.on(BY_TAG, tokens.refusing(to_another_realm(tokens, f"{other.url}/token")))
    await registry.tags.get(REPOSITORY, TAG)
    tokens.good = "none"
    if one_realm:
        await registry.tags.get(REPOSITORY, TAG)
        first, second = (asked.target for asked in server.asked if asked.path == "/token")
        assert first == second
    else:
        with pytest.raises(Denied):
            await registry.tags.get(REPOSITORY, TAG)
    assert len(other.asked) == asks_the_other


async def test_a_fresh_token_that_is_sent_elsewhere_is_refused(
    server: Server, new_registry: NewRegistry
) -> None:
    registry = new_registry(server.url, quirks=Quirks(one_realm=True))
    tokens = Tokens(server)
    server.on(
        BY_TAG,
        lambda asked: tokens.challenge(
            asked, f"{server.url}/other" if asked.header("Authorization") else None
        ),
    )
    with pytest.raises(Denied):
        await registry.tags.get(REPOSITORY, TAG)
    assert tokens.given == 1


async def test_quirks_are_of_the_upstreams_own_hosts(
    server: Server, new_server: Callable[[], Server], new_registry: NewRegistry
) -> None:
    """A host that it redirects to is asked as any other."""
    store = new_server()
    registry = new_registry(server.url, quirks=Quirks(ended_token=400))
    tokens = Tokens(store)
    server.on(BY_TAG, lambda asked: asked.reply(307, b"", {"Location": store.url + BY_TAG}))
    store.on(BY_TAG, tokens.refusing(bad_request(tokens)))
    await registry.tags.get(REPOSITORY, TAG)
    tokens.good = "none"
    with pytest.raises(UpstreamFailed, match="400"):
        await registry.tags.get(REPOSITORY, TAG)


async def test_a_registry_behind_another_is_asked_by_its_own_name(
    server: Server, new_server: Callable[[], Server], new_registry: NewRegistry
) -> None:
    """R88: it refuses once, however often it is asked, since the scope is that of its path."""
    store = new_server()
    registry = new_registry(server.url)
    tokens = Tokens(store)
    path = "/v2/k8s/images/nginx/manifests/latest"
    server.on(BY_TAG, lambda asked: asked.reply(307, b"", {"Location": store.url + path}))
    store.on(path, tokens.refusing(lambda asked, had_token: tokens.challenge(asked)))
    for _ in range(3):
        await registry.tags.get(REPOSITORY, TAG)
    assert [asked.query for asked in store.asked if asked.path == "/token"] == [
        [("scope", "repository:k8s/images/nginx:pull")]
    ]
    assert store.log().count(f"GET {path}") == 4
