"""One request of a client: HTTP's own rules first, then the resource; errors become answers here.

No page of a library's own ever leaves (invariant 11): whatever goes wrong is an OCI error
document, or, once the status line is gone, an aborted connection (R37).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import attrs
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import OK, UNAUTHORIZED

from regproxy.access.identity import ANONYMOUS, Identity
from regproxy.errors import RegproxyError, WriteRefused
from regproxy.http1.channel import READS
from regproxy.http1.heads import whole_answer
from regproxy.http1.request import StrictRequest
from regproxy.http1.sockets import queued_bytes
from regproxy.interfaces import How
from regproxy.oci.digest import Digest
from regproxy.web.access_log import DENIED, AccessRecord, client_name, quote_method, quote_path
from regproxy.web.answers import API_VERSION, Answer, answer_block, error_answer
from regproxy.web.errors import UNEXPECTED, Problem, Subject, problem_for
from regproxy.web.routing import BaseRoute, BlobRoute, ManifestRoute, Route, TagsRoute
from regproxy.web.targets import check_host, split_authority, split_target
from regproxy.web.trace import HEADER as TRACE

KINDS: Mapping[type, str] = {BlobRoute: "blob", ManifestRoute: "manifest", TagsRoute: "tags"}
"""What a route asks for, for logs and figures."""
READ_ONLY = "this mirror is read-only: push to the registry itself"


class RegistryRequest(StrictRequest):
    """One request. What is known of it is for the access record."""

    log = Logger()
    route: Route = BaseRoute()
    subject = Subject.NAME
    upstream: str | None = None
    how: How | None = None
    digest: Digest | None = None
    namespace: str | None = None
    identity: Identity = ANONYMOUS
    tried = False
    """Whether something was sent that shows nobody."""
    client_host: str | None = None
    """The client's address, also behind trusted proxies; None on a unix socket."""
    host_name: str | None = None
    absolute_port: int | None = None
    """The port of a target in absolute form; ``host_name`` is its host then."""
    query = b""
    cause: str | None = None
    """Why it was refused or cut, as its client was told, for the record."""
    note: str | None = None
    trace: Callable[[], str] | None = None
    """What makes the trace of the answer, for an operator who asked for it."""
    _began_s: float | None = None

    def header(self, name: str) -> str | None:
        """A request header as text, several of one name joined (RFC 9110 5.3)."""
        values = self.requestHeaders.getRawHeaders(name.encode("ascii"))
        return None if values is None else b", ".join(values).decode("latin-1")

    @property
    def authorization(self) -> bytes | None:
        """What the client sent to say who it is; one header, or none that counts."""
        values = self.requestHeaders.getRawHeaders(b"Authorization")
        return values[0] if values is not None and len(values) == 1 else None

    @property
    def is_in_clear(self) -> bool:
        """Whether others can read what the client sends: no TLS on its way, as far as is known."""
        own = self.peer is None or self.isSecure()
        return not self.site.proxies.secure(self.peer, own, self._forwarded("Proto"))

    def _forwarded(self, what: str) -> list[str]:
        """Their values: any bytes, since proxies pass on what a client sends."""
        values = self.requestHeaders.getRawHeaders(f"X-Forwarded-{what}".encode("ascii")) or ()
        return [value.decode("latin-1") for value in values]

    def process(self) -> None:
        """Serve it: the rules of HTTP first, then the resource."""
        self.begin()
        maybeDeferred(self._serve).addErrback(self.failed)

    def begin(self) -> None:
        """Start the clock of the access record."""
        super().begin()
        self._began_s = self.site.reactor.seconds()
        self.client_host = peer = self.peer
        if self.site.proxies.trust(peer):
            self.client_host = self.site.proxies.client(peer, self._forwarded("For"))
        self.notifyFinish().addBoth(self._record)

    def set_common_headers(self) -> None:
        """Those that every answer of a registry has."""
        super().set_common_headers()
        self._set_headers([API_VERSION])

    def _serve(self) -> None:
        if self.method not in READS:
            raise WriteRefused(READ_ONLY)
        target = split_target(self.uri)
        hosts = list(self.requestHeaders.getRawHeaders(b"Host") or [])
        self.host_name = check_host(hosts, required=self.clientproto == b"HTTP/1.1")
        if target.authority is not None:  # which counts, whatever Host says (RFC 9112 3.2.2)
            self.host_name, self.absolute_port = split_authority(target.authority, target.secure)
        self.path, self.query = target.path, target.query
        self.site.resource.render(self)

    def render(self, resrc: object) -> None:
        """Not used: resources here answer by themselves, later."""
        raise NotImplementedError

    def reply(self, answer: Answer, content: bytes = b"") -> None:
        """Send a whole answer; ``content`` follows a 200, the answer's own anything else."""
        body = content if answer.status == OK else answer.content
        self.reply_with(answer.status, answer_block(self._traced(answer)), body)

    def reply_with(self, status: int, block: bytes, content: bytes) -> None:
        """Send a whole answer in one piece, its head made by :func:`answer_block`."""
        self.startedWriting = 1
        self.setResponseCode(status)
        body = b"" if self.is_head else content
        self.sentLength += len(body)
        self.channel.write(whole_answer(block, body, close=not self.channel.persistent))
        self.finish()

    def send_head(self, answer: Answer) -> None:
        """Status and headers of ``answer``; they leave with the first byte that is written."""
        self.set_common_headers()
        self.setResponseCode(answer.status)
        self._set_headers(self._traced(answer).headers)

    def _traced(self, answer: Answer) -> Answer:
        if self.trace is None:
            return answer
        return attrs.evolve(answer, headers=(*answer.headers, (TRACE, self.trace())))

    def _set_headers(self, headers: Iterable[tuple[str, str]]) -> None:
        for name, value in headers:
            self.setHeader(name.encode("ascii"), value.encode("ascii", "replace"))

    def refuse(self, problem: Problem) -> None:
        """Send an error, whatever was prepared for another answer."""
        self.cause = problem.message
        unknown = problem.status == UNAUTHORIZED  # who is not told which names mean something here
        self.reply(error_answer(problem, None if unknown else self.namespace))

    def failed(self, failure: Failure) -> Deferred[None]:
        """The end of a request that failed: an error answer, or an aborted connection (R37).

        Fires when there is nothing more to do for it.
        """
        if self.is_gone() or failure.check(CancelledError):
            if not failure.check(CancelledError, RegproxyError):
                self.log.failure("a request failed after its client had left", failure)
            return self.over() if self.is_gone() else succeed(None)
        if isinstance(failure.value, RegproxyError):
            self._fail(failure.value)
        else:
            self.processingFailed(failure)
        return self.over()

    def _fail(self, error: RegproxyError) -> None:
        if self.startedWriting:
            self.cause = error.message
            self.log.warn(
                "{method} {path}: connection aborted after {sent} bytes: {cause}",
                method=quote_method(self.method),
                path=quote_path(self.path),
                sent=self.sentLength,
                cause=error.message,
            )
            self.abort()
            return
        problem = problem_for(error, self.subject)
        if problem.refers_to_log:
            self.log.error(
                "{method} {path} is answered {status}: {cause}",
                method=quote_method(self.method),
                path=quote_path(self.path),
                status=problem.status,
                cause=error.message,
            )
        self.refuse(problem)

    def processingFailed(self, reason: Failure) -> Failure:
        """A fault of ours: logged whole, told to the client as a bare 500."""
        self.log.failure("a request could not be served", reason)
        if self.is_gone():
            return reason
        if self.startedWriting:
            self.abort()
        else:
            self.refuse(UNEXPECTED)
        return reason

    def abort(self) -> None:
        """Cut the connection: the client must not take what it got for the whole (R37)."""
        self.channel.transport.abortConnection()

    def way_out(self) -> object:
        """What the answer goes out by; None when the connection is lost."""
        return None if self.is_gone() else self.channel.transport

    def connectionLost(self, reason: Failure) -> None:
        """The client is gone: what still lay here was not sent to it."""
        self.sentLength -= min(self.sentLength, queued_bytes(self.channel.transport))
        if (ending := self.channel.ending) is not None:
            self.note, self.cause = ending.note, ending.cause
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def note_sent(self, sent_bytes: int) -> None:
        """Count body bytes that the kernel sent by itself."""
        self.sentLength += sent_bytes

    def _record(self, result: object) -> None:
        elapsed_s = self.site.reactor.seconds() - (self._began_s or 0.0)
        status = self.code if self.startedWriting else 499
        how = None if self.how is None else self.how.value
        self.site.record(
            AccessRecord(
                client=client_name(self.client_host),
                method=quote_method(self.method),
                path=quote_path(self.path, self.namespace),
                status=status,
                sent_bytes=self.sentLength,
                ms=elapsed_s * 1000,
                how=DENIED if status in (401, 403) else how,
                upstream=self.upstream,
                digest=str(self.digest) if self.digest is not None else None,
                complete=not isinstance(result, Failure),
                kind=KINDS.get(type(self.route)),
                user=self.identity.shown,
                note=self.note,
                cause=self.cause,
            )
        )
