"""Pushing an image over the distribution API: POST an upload, PUT the blob, PUT the manifest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import treq
from treq.client import HTTPClient
from twisted.internet.ssl import Certificate as TrustedCertificate
from twisted.internet.ssl import trustRootFromCertificates
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.iweb import IResponse

from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.testing.certificates import Certificate
from regproxy.testing.images import Image
from regproxy.testing.processes import ProcessFailed

TIMEOUT_S = 30.0

Authorize = Callable[[str], str | None]
"""The Authorization header for a repository; None: none is needed."""


@attrs.frozen
class Pusher:
    """Writes to one registry. ``ca`` is whom its certificate is checked against."""

    reactor: Any
    url: str
    authorize: Authorize = attrs.field(default=lambda repository: None, repr=False)
    ca: Certificate | None = None

    async def push(self, repository: str, tag: str | None, image: Image) -> None:
        """All of ``image``; ProcessFailed with the answer when a step is refused."""
        for digest, content in image.all_blobs().items():
            await self.put_blob(repository, digest, content)
        for manifest in image.all_manifests():
            await self.put_manifest(repository, str(manifest.digest), manifest)
        if tag is not None:
            await self.put_manifest(repository, tag, image.manifest)

    async def put_blob(self, repository: str, digest: Digest, content: bytes) -> None:
        """One blob, in one piece."""
        opened = await self.request("POST", f"{self.url}/v2/{repository}/blobs/uploads/", repository)
        await _expect(opened, 202)
        location = opened.headers.getRawHeaders("Location", [""])[0]
        upload = location if "://" in location else self.url + location
        joint = "&" if "?" in upload else "?"
        target = f"{upload}{joint}digest={digest}"
        done = await self.request("PUT", target, repository, content, "application/octet-stream")
        await _expect(done, 201)

    async def put_manifest(self, repository: str, reference: str, manifest: Manifest) -> None:
        """One manifest, under a tag or its digest."""
        target = f"{self.url}/v2/{repository}/manifests/{reference}"
        done = await self.request("PUT", target, repository, manifest.content, manifest.media_type)
        await _expect(done, 201)

    async def request(
        self, method: str, url: str, repository: str, content: bytes = b"", content_type: str | None = None
    ) -> IResponse:
        """Any request with the repository's authorization; its body is still to be read."""
        headers: dict[bytes | str, bytes | str] = {"Content-Type": content_type} if content_type else {}
        authorization = self.authorize(repository)
        if authorization is not None:
            headers["Authorization"] = authorization
        return await HTTPClient(self._agent()).request(
            method, url, headers=headers, data=content, reactor=self.reactor, timeout=TIMEOUT_S
        )

    def _agent(self) -> Agent:
        pool = HTTPConnectionPool(self.reactor, persistent=False)
        if self.ca is None:
            return Agent(self.reactor, pool=pool)
        root = trustRootFromCertificates([TrustedCertificate.loadPEM(self.ca.certificate_pem)])
        return Agent(self.reactor, BrowserLikePolicyForHTTPS(root), pool=pool)


async def _expect(response: IResponse, status: int) -> None:
    body = await treq.content(response)
    if response.code != status:
        raise ProcessFailed(f"the registry answered {response.code}, not {status}: {body[:500]!r}")
