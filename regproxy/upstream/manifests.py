"""Manifests of one upstream: bytes bounded, judged and verified before anybody sees them (R13-R19)."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from zope.interface import implementer

from regproxy.errors import (
    ContentMismatch,
    InvalidDigest,
    InvalidManifest,
    ManifestRefused,
    UpstreamFailed,
    UpstreamUnreachable,
)
from regproxy.interfaces import IManifestSource
from regproxy.oci import media_type as types
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import MAX_MANIFEST_BYTES, Descriptor, Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference
from regproxy.upstream.answers import HEAD_UNSUPPORTED, content_length
from regproxy.upstream.attempts import Question
from regproxy.upstream.calls import Calls
from regproxy.upstream.client import Answer
from regproxy.upstream.limits import Limits
from regproxy.upstream.notices import Notices
from regproxy.upstream.questions import Questions
from regproxy.upstream.retrying import RETRIES, WHERE_CACHED
from regproxy.upstream.running import Running
from regproxy.upstream.threads import InThread, by_size

T = TypeVar("T")

_SCHEMA1 = frozenset({types.DOCKER_SCHEMA1, types.DOCKER_SCHEMA1_SIGNED})


class ManifestReader:
    """GET and HEAD of one manifest, without a deadline of its own."""

    def __init__(
        self, name: str, questions: Questions, calls: Calls, in_thread: InThread, notices: Notices
    ) -> None:
        self._name = name
        self._notices = notices
        self.questions = questions
        self._calls = calls
        self._in_thread = in_thread

    async def get(self, repository: Repository, reference: Reference) -> tuple[Manifest, str | None]:
        """The manifest and its ETag. Wrong bytes: ContentMismatch; no manifest: ManifestRefused."""
        question = self.questions.manifest("GET", repository, reference)
        answer, content = await self._read(question)
        self._notices.heard(repository, reference, answer.headers("Warning"))
        manifest = await by_size(
            self._in_thread, len(content), lambda: self._judge(question, answer, content, reference)
        )
        return manifest, entity_tag_of(answer)

    async def _read(self, question: Question, again: bool = True) -> tuple[Answer, bytes]:
        """Where it breaks off it is asked for ``again``, once."""
        answer = await self._calls.ask_ok(question)
        try:
            return answer, await answer.read(MAX_MANIFEST_BYTES, question.what)
        except UpstreamFailed as too_large:
            raise ManifestRefused(self._name, too_large.reason) from None
        except UpstreamUnreachable:
            if not again or not self._calls.retrying.once_more():
                raise
        return await self._read(question, again=False)

    def _judge(self, question: Question, answer: Answer, content: bytes, reference: Reference) -> Manifest:
        stated = stated_digest(answer)
        digest = reference if isinstance(reference, Digest) else None
        if digest is not None and not digest.matches(content):
            raise ContentMismatch(self._name, f"{question.what}: its bytes are not what the digest names")
        if digest is None and stated is not None and stated.matches(content):
            digest = stated  # in the algorithm that a HEAD would state, else each HEAD is another digest
        try:
            manifest = Manifest.receive(content, answer.header("Content-Type"), digest)
        except InvalidManifest as invalid:
            raise ManifestRefused(self._name, f"{question.what}: {invalid}") from None
        self._compare(question, manifest, stated)
        return manifest

    def _compare(self, question: Question, manifest: Manifest, stated: Digest | None) -> None:
        """Signed schema 1 states the digest of its payload, not of its bytes: not compared (P54)."""
        if stated is None or manifest.media_type in _SCHEMA1 or stated.matches(manifest.content):
            return
        raise ContentMismatch(
            self._name, f"{question.what}: its bytes are not what Docker-Content-Digest names"
        )

    async def head(
        self, repository: Repository, reference: Reference, etag: str | None = None
    ) -> tuple[Question, Answer]:
        """The answer to a HEAD, conditional with ``etag``, its empty body done; not yet judged."""
        headers = {} if etag is None else {"If-None-Match": etag}
        question = self.questions.manifest("HEAD", repository, reference, headers)
        answer = await self._calls.ask(question, again=RETRIES if etag is None else WHERE_CACHED)
        if answer.status != 304 and answer.status not in HEAD_UNSUPPORTED:
            self._calls.insist(answer, question)
        if answer.status not in HEAD_UNSUPPORTED:
            whole = answer.status != 304
            self._notices.heard(repository, reference, answer.headers("Warning"), whole=whole)
        answer.discard()
        return question, answer


@implementer(IManifestSource)
class RemoteManifests:
    """IManifestSource over one upstream."""

    def __init__(self, name: str, reader: ManifestReader, running: Running, limits: Limits) -> None:
        self._name = name
        self._reader = reader
        self._running = running
        self._limits = limits

    def stat(self, repository: Repository, digest: Digest) -> Deferred[Descriptor]:
        """One HEAD; a GET only where HEAD is not served or does not tell size and type (R51)."""
        return self._call(self._stat(repository, digest), repository, digest)

    def get(self, repository: Repository, digest: Digest) -> Deferred[Manifest]:
        """One GET by digest, hashed with the digest's own algorithm (R13)."""
        return self._call(self._get(repository, digest), repository, digest)

    def _call(
        self, work: Coroutine[Deferred[Any], Any, T], repository: Repository, digest: Digest
    ) -> Deferred[T]:
        return self._running.call(work, f"{repository.path}@{digest}", self._limits.first_byte_s)

    async def _get(self, repository: Repository, digest: Digest) -> Manifest:
        manifest, _ = await self._reader.get(repository, digest)
        return manifest

    async def _stat(self, repository: Repository, digest: Digest) -> Descriptor:
        question, answer = await self._reader.head(repository, digest)
        if answer.status == 304:
            raise UpstreamFailed(self._name, f"{question.what}: it answered 304 to an unconditional request")
        stated = stated_digest(answer)
        if stated is not None and stated.algorithm == digest.algorithm and stated != digest:
            raise ContentMismatch(self._name, f"{question.what}: it answered for another digest")
        described = None if answer.status in HEAD_UNSUPPORTED else described_by(self._name, answer, digest)
        return described or (await self._get(repository, digest)).descriptor


def stated_digest(answer: Answer) -> Digest | None:
    """Docker-Content-Digest; None where it is missing or malformed."""
    try:
        return Digest.parse((answer.header("Docker-Content-Digest") or "").strip())
    except InvalidDigest:
        return None


def described_by(name: str, answer: Answer, digest: Digest) -> Descriptor | None:
    """The descriptor that the headers of a HEAD state; None when they do not tell enough."""
    size = content_length(answer.header("Content-Length"))
    media_type = types.essence(answer.header("Content-Type") or "")
    if size is None or media_type not in types.MANIFEST_TYPES or media_type in _SCHEMA1:
        return None
    if size > MAX_MANIFEST_BYTES:
        raise ManifestRefused(name, f"the manifest {digest} is larger than {MAX_MANIFEST_BYTES} bytes")
    return Descriptor(digest, size, media_type)


def entity_tag_of(answer: Answer) -> str | None:
    """The ETag when it can be sent back as it is."""
    etag = (answer.header("ETag") or "").strip()
    return etag if 0 < len(etag) <= 256 and etag.isascii() and etag.isprintable() else None
