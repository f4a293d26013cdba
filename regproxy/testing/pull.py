"""A small container client: pulls an image the way containerd does, and measures what it took."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import treq
from twisted.internet.interfaces import IReactorTime
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers

from regproxy.errors import ContentMismatch, UpstreamFailed
from regproxy.oci import media_type as types
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest


@attrs.frozen(slots=True)
class Pulled:
    """What a pull brought: requests made, body bytes, and how long it took."""

    requests: int
    body_bytes: int
    seconds: float


class Puller:
    """Pulls from ``base_url`` (``http://host:port``). ``repository`` is as a client names it."""

    def __init__(self, reactor: Any, base_url: str) -> None:
        self._clock: IReactorTime = reactor
        self._reactor = reactor
        self._base_url = base_url
        self._requests = 0
        self._bytes = 0

    async def pull(self, repository: str, tag: str) -> Pulled:
        """Manifest by tag, then everything it names, each verified.

        Raises UpstreamFailed for a status other than 200, ContentMismatch for wrong bytes.
        """
        pool = HTTPConnectionPool(self._reactor)
        self._client = treq.client.HTTPClient(Agent(self._reactor, pool=pool))
        self._requests = self._bytes = 0
        started = self._clock.seconds()
        try:
            await self._manifest(repository, tag, None)
        finally:
            await pool.closeCachedConnections()
        return Pulled(self._requests, self._bytes, self._clock.seconds() - started)

    async def _manifest(self, repository: str, reference: str, digest: Digest | None) -> None:
        content, content_type = await self._get(f"{repository}/manifests/{reference}", types.ACCEPT)
        Manifest.receive(content, content_type, digest)
        document = json.loads(content)
        for child in self._named(document, "manifests"):
            await self._manifest(repository, str(child), child)
        for blob in [*self._named(document, "layers"), *self._named(document, "config")]:
            await self._blob(repository, blob)

    def _named(self, document: Mapping[str, Any], key: str) -> Iterator[Digest]:
        found = document.get(key, [])
        for descriptor in [found] if isinstance(found, dict) else found:
            yield Digest.parse(descriptor["digest"])

    async def _blob(self, repository: str, digest: Digest) -> None:
        content, _ = await self._get(f"{repository}/blobs/{digest}", "*/*")
        if not digest.matches(content):
            raise ContentMismatch(self._base_url, f"sent bytes that are not {digest}")

    async def _get(self, path: str, accept: str) -> tuple[bytes, str]:
        response = await self._client.get(
            f"{self._base_url}/v2/{path}",
            headers=Headers({"Accept": [accept]}),
            reactor=self._reactor,
            timeout=30,
        )
        content = await response.content()
        self._requests += 1
        self._bytes += len(content)
        if response.code != 200:
            raise UpstreamFailed(self._base_url, f"answered {response.code} for {path}")
        return content, ",".join(response.headers.getRawHeaders("Content-Type", [""]))
