"""Tags of one upstream: what a tag means now, and which there are."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from zope.interface import implementer

from regproxy.errors import UpstreamFailed
from regproxy.headers.conditionals import entity_tag
from regproxy.interfaces import IRemoteTags, RemoteTag
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.upstream.answers import HEAD_UNSUPPORTED
from regproxy.upstream.limits import Limits
from regproxy.upstream.manifests import ManifestReader, described_by, entity_tag_of, stated_digest
from regproxy.upstream.pages import TagPages
from regproxy.upstream.running import Running


@implementer(IRemoteTags)
class RemoteTags:
    """IRemoteTags over one upstream."""

    def __init__(
        self, name: str, reader: ManifestReader, pages: TagPages, running: Running, limits: Limits
    ) -> None:
        self._name = name
        self._reader = reader
        self._pages = pages
        self._running = running
        self._limits = limits

    def get(self, repository: Repository, tag: Tag) -> Deferred[RemoteTag]:
        """One GET by tag; the digest is computed from its bytes (R14)."""
        return self._running.call(
            self._get(repository, tag), f"{repository.path}:{tag}", self._limits.first_byte_s
        )

    def stat(self, repository: Repository, tag: Tag, known: RemoteTag | None) -> Deferred[RemoteTag | None]:
        """One HEAD; None when the tag still means what ``known`` says (R50, R51)."""
        return self._running.call(
            self._stat(repository, tag, known), f"{repository.path}:{tag}", self._limits.first_byte_s
        )

    def list(self, repository: Repository) -> Deferred[tuple[str, ...]]:
        """All pages, sorted (R94)."""
        return self._running.call(
            self._pages.all(repository), f"the tags of {repository.path}", self._limits.list_s
        )

    async def _get(self, repository: Repository, tag: Tag) -> RemoteTag:
        manifest, etag = await self._reader.get(repository, tag)
        return RemoteTag(manifest.descriptor, etag, manifest)

    async def _stat(self, repository: Repository, tag: Tag, known: RemoteTag | None) -> RemoteTag | None:
        condition = None if known is None else known.etag or entity_tag(known.descriptor.digest)
        question, answer = await self._reader.head(repository, tag, condition)
        if answer.status == 304:
            if known is None:
                raise UpstreamFailed(
                    self._name, f"{question.what}: it answered 304 to an unconditional request"
                )
            return None
        digest = None if answer.status in HEAD_UNSUPPORTED else stated_digest(answer)
        if answer.later and known is not None and digest != known.descriptor.digest:
            raise UpstreamFailed(
                self._name, f"{answer.origin.host}, asked instead, knows {question.what} as another one"
            )
        if digest is None:
            return _changed(await self._get(repository, tag), known)
        if known is not None and known.descriptor.digest == digest:
            return None
        described = described_by(self._name, answer, digest)
        if described is None:
            return _changed(await self._get(repository, tag), known)
        return RemoteTag(described, entity_tag_of(answer))


def _changed(found: RemoteTag, known: RemoteTag | None) -> RemoteTag | None:
    same = known is not None and known.descriptor.digest == found.descriptor.digest
    return None if same else found
