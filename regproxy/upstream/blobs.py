"""Blobs of one upstream: one GET to open (P15), one HEAD, or a GET closed after its headers, for a
size, one GET by Range to read on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from regproxy.errors import ContentMismatch, RangeIgnored, UpstreamFailed
from regproxy.headers.ranges import Span, parse_content_range
from regproxy.interfaces import IBlob, IBody, IRangedBlob, IRemoteBlobs
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.upstream.answers import (
    DENIED,
    HEAD_REFUSED,
    MAX_BLOB_BYTES,
    RANGE_REFUSED,
    content_length,
    is_absurd_length,
    serves_ranges,
    strong_validator,
)
from regproxy.upstream.attempts import Question
from regproxy.upstream.bandwidth import Bandwidth
from regproxy.upstream.calls import Calls
from regproxy.upstream.client import Answer
from regproxy.upstream.limits import Limits
from regproxy.upstream.questions import Questions
from regproxy.upstream.running import Running
from regproxy.upstream.streams import RemoteBlob
from regproxy.upstream.validators import Validators, agree

RANGE_NOT_SATISFIABLE = 416


@implementer(IRemoteBlobs)
class RemoteBlobs:
    """IRemoteBlobs over one upstream; nothing is verified here, the reader hashes."""

    def __init__(
        self,
        name: str,
        questions: Questions,
        calls: Calls,
        running: Running,
        clock: IReactorTime,
        limits: Limits,
        bandwidth: Bandwidth,
        heads: bool = True,
    ) -> None:
        """``heads``: HEAD of a blob is worth a try."""
        self._bandwidth = bandwidth
        self._name = name
        self._heads = heads
        self._questions = questions
        self._calls = calls
        self._running = running
        self._clock = clock
        self._limits = limits
        self._validators = Validators()

    def stat(self, repository: Repository, digest: Digest) -> Deferred[int | None]:
        """The size: by HEAD, else by a GET that is closed after its headers (R36); None: neither tells."""
        return self._running.call(
            self._stat(repository, digest), f"{repository.path}@{digest}", self._limits.first_byte_s
        )

    def open(self, repository: Repository, digest: Digest) -> Deferred[IBlob]:
        """One GET; the blob's connection waits, paused, for body()."""
        return self._running.call(
            self._open(repository, digest), f"{repository.path}@{digest}", self._limits.first_byte_s
        )

    def resume(self, repository: Repository, digest: Digest, start: int, size: int | None) -> Deferred[IBody]:
        """The bytes from ``start`` on: one GET by Range."""
        return self._running.call(
            self._resume(repository, digest, start, size),
            f"{repository.path}@{digest} from {start}",
            self._limits.first_byte_s,
        )

    async def _open(self, repository: Repository, digest: Digest) -> IRangedBlob:
        return self._whole(repository, digest, await self._get(repository, digest))

    def _whole(self, repository: Repository, digest: Digest, answer: Answer) -> RemoteBlob:
        piece, validator = None, strong_validator(answer.header("ETag"))
        self._validators.note(repository, digest, answer.endpoint, validator)
        if answer.length is not None and serves_ranges(answer.header("Accept-Ranges")):
            piece = partial(self._open_piece, repository, digest, answer.length, validator)
        return self._opened(answer, piece, None, validator)

    def open_from(
        self, repository: Repository, digest: Digest, start: int, validator: str | None
    ) -> Deferred[IRangedBlob]:
        """The blob from ``start`` on: one GET by Range, a proof as :meth:`open` is one."""
        return self._running.call(
            self._open_from(repository, digest, start, validator),
            f"{repository.path}@{digest} from {start} anew",
            self._limits.first_byte_s,
        )

    async def _open_from(
        self, repository: Repository, digest: Digest, start: int, known: str | None
    ) -> IRangedBlob:
        question = self._questions.rest(repository, digest, start, known)
        answer = await self._calls.ask(question)
        if start and answer.status == RANGE_NOT_SATISFIABLE:
            answer.discard()
            raise RangeIgnored(self._name, f"asked for a blob from byte {start} on, it has not so many")
        partly = start > 0 and answer.status == 206
        self._calls.insist(answer, question, also=206 if partly else 200)
        self._bound(answer, digest)
        if not partly:
            return self._whole(repository, digest, answer)
        found = parse_content_range(answer.header("Content-Range") or "")
        span, size = found if found is not None else (None, None)
        if span is None or size is None or span != Span(start, size) or answer.length != span.length:
            answer.abort()
            raise RangeIgnored(self._name, f"asked for a blob from byte {start} on, it sent other bytes")
        validator = strong_validator(answer.header("ETag"))
        piece = partial(self._open_piece, repository, digest, size, validator)
        return self._opened(answer, piece, span, validator)

    def _open_piece(
        self, repository: Repository, digest: Digest, size: int, validator: str | None, start: int, stop: int
    ) -> Deferred[IBody]:
        """As :attr:`IRangedBlob.piece`."""
        span = Span(start, stop)
        return self._running.call(
            self._piece(self._questions.piece(repository, digest, span, validator), span, size, validator),
            f"{repository.path}@{digest} from {start} to {stop}",
            self._limits.first_byte_s,
        )

    async def _piece(self, question: Question, span: Span, size: int, validator: str | None) -> IBody:
        answer = await self._ask_on(question)
        if answer.status != RANGE_REFUSED:
            self._calls.insist(answer, question, also=206)
        sent = parse_content_range(answer.header("Content-Range") or "") if answer.status == 206 else None
        same = agree(validator, strong_validator(answer.header("ETag")))
        if sent != (span, size) or answer.length != span.length or not same:
            answer.abort()
            raise RangeIgnored(self._name, "asked for some bytes of a blob it sent others")
        return self._opened(answer).body()

    async def _resume(self, repository: Repository, digest: Digest, start: int, size: int | None) -> IBody:
        question = self._questions.blob("GET", repository, digest, start)
        answer = await self._ask_on(question)
        if start > 0 and (answer.status == RANGE_REFUSED or self._is_another(answer, repository, digest)):
            answer.discard()
            self._check_total(answer, size)
            question = self._questions.blob("GET", repository, digest)
            answer = await self._ask_on(question)
        partial = start > 0 and answer.status == 206
        self._calls.insist(answer, question, also=206 if partial else 200)
        self._bound(answer, digest)
        try:
            self._check_span(answer, start if partial else None, size)
        except BaseException:
            answer.abort()
            raise
        blob = self._opened(answer)
        return blob.body(0 if partial else start)

    def _check_total(self, answer: Answer, size: int | None) -> None:
        """A 416 may say how long the blob is (RFC 9110 15.5.17): with another one there is no rest."""
        found = parse_content_range(answer.header("Content-Range") or "")
        total = None if found is None or answer.status != RANGE_REFUSED else found[1]
        if total is not None and size not in (None, total):
            raise ContentMismatch(self._name, f"the blob had {size} bytes before, and has {total} now")

    def _is_another(self, answer: Answer, repository: Repository, digest: Digest) -> bool:
        """Whether the rest is of something else than was begun, by the same endpoint's own word."""
        known = self._validators.of(repository, digest, answer.endpoint)
        return answer.status == 206 and not agree(known, strong_validator(answer.header("ETag")))

    async def _ask_on(self, question: Question) -> Answer:
        """Ask for the rest of a blob that was answered before.

        Where the registry sends us on and the other host refuses, that is no answer but a signature that
        has expired: the registry may be asked again (R87). A transfer has retries of its own.
        """
        answer = await self._calls.ask(question, again=0)
        if answer.status in DENIED and not self._calls.is_home(answer):
            answer.discard()
            host = answer.origin.host
            reason = f"it sent us to {host}, which refuses the rest of {question.what} ({answer.status})"
            raise UpstreamFailed(self._name, reason)
        return answer

    def _check_span(self, answer: Answer, start: int | None, size: int | None) -> None:
        """Only exactly what was asked for; ``start`` None: the whole, from an upstream that ignores Range."""
        total, length = answer.length, answer.length
        if start is not None:
            found = parse_content_range(answer.header("Content-Range") or "")
            if found is None or found[0].start != start or found[0].stop != (found[1] or found[0].stop):
                raise UpstreamFailed(self._name, f"asked for the bytes from {start} on, it sent others")
            total, length = found[0].stop, found[0].length
        if total is not None and size not in (None, total):
            raise ContentMismatch(self._name, f"the blob had {size} bytes before, and has {total} now")
        if length is not None and answer.length not in (None, length):
            raise UpstreamFailed(self._name, "its Content-Length and Content-Range contradict each other")

    def _opened(
        self,
        answer: Answer,
        piece: Callable[[int, int], Deferred[IBody]] | None = None,
        span: Span | None = None,
        validator: str | None = None,
    ) -> RemoteBlob:
        register, spent, idle_s = self._running.register, self._bandwidth.spent, self._limits.idle_s
        return RemoteBlob(answer, self._clock, idle_s, register, piece, spent, span, validator)

    async def _stat(self, repository: Repository, digest: Digest) -> int | None:
        size = await self._head(repository, digest) if self._heads else None
        if size is not None:
            return size
        answer = await self._get(repository, digest)
        answer.abort()
        return answer.length

    async def _head(self, repository: Repository, digest: Digest) -> int | None:
        question = self._questions.blob("HEAD", repository, digest)
        answer = await self._calls.ask(question)
        if answer.status in HEAD_REFUSED:
            answer.discard()
            return None
        self._calls.insist(answer, question)
        self._bound(answer, digest)
        size = content_length(answer.header("Content-Length"))
        answer.discard()
        return size

    async def _get(self, repository: Repository, digest: Digest) -> Answer:
        answer = await self._calls.ask_ok(self._questions.blob("GET", repository, digest))
        self._bound(answer, digest)
        return answer

    def _bound(self, answer: Answer, digest: Digest) -> None:
        """A length that no disk has is no length: nothing is counted, reserved or told by it."""
        announced = [*answer.headers("Content-Length"), str(answer.length or 0)]
        if any(map(is_absurd_length, announced)):
            answer.abort()
            limit = f"{MAX_BLOB_BYTES >> 40} TiB"
            raise UpstreamFailed(self._name, f"it says that blob {digest} is larger than {limit}")
