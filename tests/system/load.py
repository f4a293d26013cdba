"""A mixed load on a mirror that may be killed at any moment: pulls, revalidations, tags that move."""

from __future__ import annotations

import random
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.web.client import RequestTransmissionFailed, ResponseFailed

from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.oci.media_type import ACCEPT
from regproxy.testing.actions import drip
from regproxy.testing.images import Image, make_image, make_index
from regproxy.testing.layers import sized_layer
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.rules import Match
from tests.system.client import Answer, Client

KIB = 1024
REPOSITORIES = ("team/app", "team/tools/ci", "library/base", "a")
TAGS = ("latest", "1.29", "edge")
CLIENTS = 6
SIZES = (4 * KIB, 20 * KIB, 64 * KIB, 200 * KIB, 700 * KIB)
BROKEN = (ConnectError, ConnectionLost, ResponseFailed, RequestTransmissionFailed)


def make_images(count: int = 12) -> list[Image]:
    """Images of few layers that most of them share; every fourth is an index of two."""
    layers = [sized_layer(SIZES[number % len(SIZES)], number) for number in range(9)]
    images = [
        make_image(layers[number % 9], layers[(number * 4 + 1) % 9], labels={"number": str(number)})
        for number in range(count)
    ]
    return [
        make_index(image, images[number - 1]) if number % 4 == 3 else image
        for number, image in enumerate(images)
    ]


class Load:
    """What clients do, as ``rng`` decides, until ``killed``, which also says that answers may break."""

    def __init__(
        self, registry: ScriptableRegistry, rng: random.Random, images: Sequence[Image] | None = None
    ) -> None:
        self.registry = registry
        self.killed = False
        self.answers = 0
        self.open = 0
        """Requests that are on their way now."""
        self._rng = rng
        self._images = images or make_images()
        self._hot: tuple[str, ...] = REPOSITORIES[:2]
        for size in SIZES[2:]:
            for digest in self._blobs_of(size):
                registry.script(Match(kind="blob", reference=str(digest)), drip(16 * KIB, 0.005))
        for repository in REPOSITORIES:
            for tag in TAGS:
                self._move(repository, tag)

    def _blobs_of(self, size: int) -> set[Digest]:
        blobs = {digest: content for image in self._images for digest, content in image.all_blobs().items()}
        return {digest for digest, content in blobs.items() if len(content) == size}

    def _move(self, repository: str, tag: str) -> None:
        self.registry.put_image(repository, tag, self._rng.choice(self._images))

    def turn_to_others(self) -> None:
        """From now on other repositories are asked for, so that content of the last ones expires."""
        self._hot = tuple(self._rng.sample(REPOSITORIES, 2))

    def start(self, client: Client) -> list[Deferred[None]]:
        """Ask by several clients; each fires when it has met the kill, or an error."""
        self.killed = False
        return [Deferred.fromCoroutine(self._until_killed(client)) for _ in range(CLIENTS)]

    async def _until_killed(self, client: Client) -> None:
        while not self.killed:
            repository, tag = self._rng.choice(self._hot), self._rng.choice(TAGS)
            if self._rng.random() < 0.15:
                self._move(repository, tag)
            act = self._rng.choice((self._pull, self._pull, self._look, self._some_blob))
            try:
                await act(client, repository, tag)
            except BROKEN:
                if not self.killed:
                    raise

    async def _ask(self, client: Client, path: str, method: str = "GET") -> Answer | None:
        """A whole, right answer; None when the kill came between."""
        self.open += 1
        try:
            answer = await client.ask(f"/v2/{path}", method, accept=ACCEPT)
        finally:
            self.open -= 1
        if self.killed and not answer.complete:
            return None
        assert answer.complete, f"{method} {path} broke off: {answer.status}"
        assert answer.status == 200, f"{method} {path}: {answer.status} {answer.body[:300]!r}"
        if method == "GET":
            named = Digest.parse(answer["docker-content-digest"])
            assert named.matches(answer.body), f"{path} was served with wrong bytes"
        self.answers += 1
        return answer

    async def _look(self, client: Client, repository: str, tag: str) -> None:
        await self._ask(client, f"{repository}/manifests/{tag}", "HEAD")

    async def _pull(self, client: Client, repository: str, reference: str) -> None:
        """Manifest, then all that it names."""
        answer = await self._ask(client, f"{repository}/manifests/{reference}")
        if answer is None:
            return
        manifest = Manifest.receive(answer.body, answer["content-type"])
        for named in manifest.names():
            if named.media_type.endswith(("manifest.v1+json", "manifest.v2+json")):
                await self._pull(client, repository, str(named.digest))
            else:
                await self._ask(client, f"{repository}/blobs/{named.digest}")

    async def _some_blob(self, client: Client, repository: str, tag: str) -> None:
        held = self.registry.holding(repository)
        digest = self._rng.choice(sorted(held.blobs, key=str))
        await self._ask(client, f"{repository}/blobs/{digest}")
