"""Scripted registries that behave like the well-known ones, as far as a pull can tell.

What is known of them comes from what they document and from what their clients have reported; a
pull through a mirror that works with each of these works with the manners, not with the content.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from regproxy.testing.actions import Scene, redirect, status, to_cdn
from regproxy.testing.contents import Quirks, error_reply
from regproxy.testing.images import Image
from regproxy.testing.manners import Gatekeeper, Manners
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.reply import Reply
from regproxy.testing.rules import Match
from regproxy.testing.tokens import TokenServer

PULLS: Mapping[str, tuple[str, ...]] = {"*": ("pull",)}


class Personality:
    """Hosts that together are one well-known registry. ``name`` is its name in the settings.

    ``api`` is asked first, ``stores`` are other registries that it sends clients to (each below a
    path of its own), ``tokens`` give tokens, ``strangers`` none.
    """

    def __init__(
        self,
        name: str,
        api: ScriptableRegistry,
        tokens: TokenServer | None = None,
        *,
        tokens_apart: bool = False,
        stores: Mapping[str, ScriptableRegistry] | None = None,
        strangers: TokenServer | None = None,
    ) -> None:
        """``tokens_apart``: they are given on a host of its own."""
        self.name = name
        self.api = api
        self.tokens = tokens
        self.strangers = strangers
        self._stores = dict(stores or {})
        started: list[Any] = [api, *self._stores.values()]
        self._hosts = started + [each for each in (strangers, tokens if tokens_apart else None) if each]

    def __repr__(self) -> str:
        return f"<Personality {self.name} at {self.api.url}>"

    def start(self) -> Deferred[None]:
        """All of its hosts listen, on free ports."""
        return Deferred.fromCoroutine(self._each("start"))

    def stop(self) -> Deferred[None]:
        """Give up all ports; idempotent."""
        return Deferred.fromCoroutine(self._each("stop"))

    async def _each(self, what: str) -> None:
        for host in self._hosts:
            await getattr(host, what)()

    def put_image(self, repository: str, tag: str, image: Image) -> Image:
        """All of ``image``, wherever it is asked for."""
        for prefix, store in self._stores.items():
            store.put_image(prefix + repository, tag, image)
        return self.api.put_image(repository, tag, image)

    @property
    def seen(self) -> Counter[str]:
        """How often each of its hosts was asked for what, and what it said: ``api GET manifest 200``."""
        found = Counter(self._lines("api", self.api.requests))
        for store in self._stores.values():
            found.update(self._lines("store", store.requests))
        for server in (self.tokens, self.strangers):
            found.update(self._lines("", server.requests if server is not None else ()))
        return found

    def _lines(self, host: str, requests: tuple[Any, ...]) -> list[str]:
        labels = {"registry": host}
        return [
            f"{labels.get(record.host, record.host)} {record.method} {record.kind} {record.status}"
            for record in requests
        ]

    def clear(self) -> None:
        """Forget the requests so far."""
        for host in (self.api, *self._stores.values(), self.tokens, self.strangers):
            if host is not None:
                host.clear()


class Quota:
    """Manifests that one may still GET: HEAD says how many, and costs nothing (R51, R91)."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.left = limit

    def __call__(self, reply: Reply, scene: Scene) -> Reply:
        """Count it, and say so; 429 when there are none left."""
        if scene.request.method == "GET":
            if self.left == 0:
                return status(429)(reply, scene)
            self.left -= 1
        told = reply.with_header("ratelimit-limit", f"{self.limit};w=21600")
        told = told.with_header("ratelimit-remaining", f"{self.left};w=21600")
        return told.with_header("docker-ratelimit-source", scene.request.peer.partition(":")[0])


class DockerHub(Personality):
    """docker.io: tokens elsewhere, official images below ``library/`` only, a quota of GETs."""

    def __init__(self, reactor: object, limit: int = 100) -> None:
        tokens = TokenServer(reactor, anonymous={}, service="registry.docker.io")
        quirks = Quirks(blob_redirect_status=307)
        api = ScriptableRegistry(reactor, quirks=quirks, guard=Gatekeeper(tokens))
        super().__init__("docker.io", api, tokens, tokens_apart=True)
        self.quota = Quota(limit)
        api.script(Match(kind="manifest"), self.quota)

    def put_image(self, repository: str, tag: str, image: Image) -> Image:
        """An image, and tokens for its repository; there are none for names of one component."""
        assert self.tokens is not None
        assert "/" in repository
        self.tokens.anonymous = {**(self.tokens.anonymous or {}), repository: ("pull",)}
        return super().put_image(repository, tag, image)


def ghcr(reactor: object) -> Personality:
    """ghcr.io: a manifest whose type Accept does not list is not there."""
    tokens = TokenServer(reactor, anonymous=PULLS, service="ghcr.io")
    quirks = Quirks(strict_accept=True, blob_redirect_status=307)
    return Personality("ghcr.io", _own(reactor, tokens, quirks), tokens)


def quay(reactor: object) -> Personality:
    """quay.io: tokens below ``/v2/``, HEAD of a blob answered where it is, GET by its CDN."""
    tokens = TokenServer(reactor, anonymous=PULLS, service="quay.io", path="/v2/auth")
    api = _own(reactor, tokens, Quirks(max_page=50))
    api.script(Match(method="GET", kind="blob"), to_cdn(302))
    return Personality("quay.io", api, tokens)


def kubernetes(reactor: object) -> Personality:
    """registry.k8s.io: asks for nothing, has nothing. Manifests are at another registry, which asks
    for tokens of its own for a longer name; blobs are in an object store (R88)."""
    tokens = TokenServer(reactor, anonymous=PULLS, service="store.example", path="/v2/token")
    store = _own(reactor, tokens, Quirks())
    prefix = "k8s-artifacts-prod/images/"
    api = ScriptableRegistry(reactor, quirks=Quirks(blob_redirect_status=307))

    def elsewhere(reply: Reply, scene: Scene) -> Reply:
        path = scene.request.target.removeprefix("/v2/")
        return redirect(f"{store.url}/v2/{prefix}{path}")(reply, scene)

    for kind in ("manifest", "tags"):
        api.script(Match(kind=kind), elsewhere)
    return Personality("registry.k8s.io", api, tokens, stores={prefix: store})


def google(reactor: object) -> Personality:
    """gcr.io: tokens below ``/v2/``, blobs by a relative redirect to a path of the same host."""
    tokens = TokenServer(reactor, anonymous=PULLS, service="gcr.io", path="/v2/token")
    api = _own(reactor, tokens, Quirks())
    start = "/artifacts-downloads/"

    def download(reply: Reply, scene: Scene) -> Reply:
        return redirect(f"{start}{scene.target.repository}/{scene.target.reference}", 302)(reply, scene)

    def downloaded(reply: Reply, scene: Scene) -> Reply:
        repository, _, digest = scene.request.path.removeprefix(start).rpartition("/")
        content = api.holding(repository).blob(digest)
        missing = error_reply(404, "UNSUPPORTED", "no such path")
        headers = (("Content-Type", "application/octet-stream"),)
        return missing if content is None else Reply(200, headers, content)

    api.script(Match(kind="blob"), download)
    api.script(Match(kind="other"), downloaded)
    return Personality("gcr.io", api, tokens)


def microsoft(reactor: object) -> Personality:
    """mcr.microsoft.com: no tokens, blobs at a data endpoint."""
    return Personality(
        "mcr.microsoft.com", ScriptableRegistry(reactor, quirks=Quirks(blob_redirect_status=307))
    )


def ecr_public(reactor: object) -> Personality:
    """public.ecr.aws: one scope for everything, HEAD of a blob is 401 with any token, and a token
    that has ended is 400 without a challenge (P15)."""
    tokens = TokenServer(reactor, anonymous=PULLS, service="public.ecr.aws", path="/token/")
    manners = Manners(scope="aws", ended_status=400)
    api = _own(reactor, tokens, Quirks(blob_redirect_status=307), manners)

    def unauthorised(reply: Reply, scene: Scene) -> Reply:
        challenge = f'Bearer realm="{tokens.realm}",service="{tokens.service}",scope="aws"'
        return status(401, None, ("WWW-Authenticate", challenge))(reply, scene)

    api.script(Match(method="HEAD", kind="blob"), unauthorised)
    return Personality("public.ecr.aws", api, tokens)


def gitlab(reactor: object) -> Personality:
    """registry.gitlab.com: tokens at another host, under a path of its own."""
    tokens = TokenServer(reactor, anonymous=PULLS, service="container_registry", path="/jwt/auth")
    quirks = Quirks(blob_redirect_status=307)
    api = ScriptableRegistry(reactor, quirks=quirks, guard=Gatekeeper(tokens))
    return Personality("registry.gitlab.com", api, tokens, tokens_apart=True)


def nvidia(reactor: object) -> Personality:
    """nvcr.io: no service in challenges, no life told with a token, and a token that has ended is
    sent to a realm that has none for people without an account."""
    tokens = TokenServer(reactor, anonymous=PULLS, service="registry", path="/proxy_auth")
    accounts = TokenServer(reactor, anonymous=None, service="registry")
    manners = Manners(names_service=False, ended_realm=lambda: accounts.realm)
    api = _own(reactor, tokens, Quirks(blob_redirect_status=302), manners)
    tokens.script(_only_a_token)
    return Personality("nvcr.io", api, tokens, strangers=accounts)


def _only_a_token(reply: Reply, scene: Scene) -> Reply:
    if reply.status != 200:
        return reply
    return attrs.evolve(reply, body=json.dumps({"token": json.loads(reply.body)["token"]}).encode())


def _own(
    reactor: object, tokens: TokenServer, quirks: Quirks, manners: Manners | None = None
) -> ScriptableRegistry:
    """A registry that gives its tokens itself."""
    guard = Gatekeeper(tokens, manners or Manners())
    return ScriptableRegistry(reactor, quirks=quirks, guard=guard, tokens=tokens)


PERSONALITIES: Mapping[str, Callable[[object], Personality]] = {
    "docker.io": DockerHub,
    "ghcr.io": ghcr,
    "quay.io": quay,
    "registry.k8s.io": kubernetes,
    "gcr.io": google,
    "mcr.microsoft.com": microsoft,
    "public.ecr.aws": ecr_public,
    "registry.gitlab.com": gitlab,
    "nvcr.io": nvidia,
}
"""By the name of the registry that each is like; all of those that need no settings."""
