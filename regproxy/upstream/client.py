"""One exchange with one host: a request through treq, an answer whose body is still to be read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import Any

from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IConsumer, IProtocol, IReactorTime
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer
from zope.interface import implementer

from regproxy import __version__
from regproxy.errors import UpstreamFailed, UpstreamUnreachable
from regproxy.headers.addresses import place_of
from regproxy.headers.locations import rooted
from regproxy.headers.origins import Origin
from regproxy.metrics.upstreams import UpstreamFigures
from regproxy.upstream.agents import CODED, DeadConnection, IdentityAgent, was_cancelled
from regproxy.upstream.failures import TRANSPORT_ERRORS, explain
from regproxy.upstream.reach import PUBLIC_ONLY, Reach
from regproxy.upstream.small_bodies import MAX_DISCARDED_BYTES, BodyCut, BodyTooLarge, SmallBody

USER_AGENT = f"regproxy/{__version__}"
DISCARD_S = 5.0
"""How long the rest of an unwanted body may take to come."""

_NUMERIC = "http://address.invalid/"
"""What treq is told in place of an IPv6 address; nothing of it leaves."""

IDEMPOTENT = frozenset({"GET", "HEAD"})


class Answer:
    """Status and headers of one answer. Its body is read, discarded, delivered or aborted."""

    def __init__(
        self,
        upstream: str,
        origin: Origin,
        response: Any,
        clock: IReactorTime,
        received: Callable[[int], None] = lambda size_bytes: None,
    ) -> None:
        """``received`` is to be told of the bytes of a body that is used, as they come."""
        self.upstream = upstream
        self.origin = origin
        self.status: int = response.code
        self.length: int | None = None if response.length == UNKNOWN_LENGTH else response.length
        self.received = received
        self.endpoint: str | None = None
        """Which of several endpoints was asked."""
        self.later = False
        """Whether it is another than the first of the settings."""
        self.broke: Callable[[], None] = _nothing
        """To be called when it breaks off inside the body, so that another endpoint is asked next."""
        self.slow: Callable[[], None] = _nothing
        """To be called when its body is too slow to be waited for: blobs come from another next."""
        self.elsewhere: Callable[[], bool] = lambda: False
        """Whether there is another that is well, and was not found slow."""
        self._response = response
        self._clock = clock
        self._delivered = False
        self._headers: Headers = response.headers

    def header(self, name: str) -> str | None:
        """The last value of a header, None where there is none."""
        values = self.headers(name)
        return values[-1] if values else None

    def headers(self, name: str) -> list[str]:
        """All values of a header, undecodable bytes replaced."""
        return [value.decode("ascii", "replace") for value in self._headers.getRawHeaders(name.encode(), [])]

    @property
    def coding(self) -> str | None:
        """The Content-Encoding it came with; treq leaves an empty one where there was none."""
        values = [raw.decode("ascii", "replace").strip() for raw in self._headers.getRawHeaders(CODED, [])]
        return ", ".join(value for value in values if value) or None

    @property
    def reach(self) -> Reach:
        """Where it may send us, by where it came from."""
        return Reach.from_place(place_of(getattr(self._response.original, "peer", "")))

    def abort(self) -> None:
        """Close the connection under it; harmless once the body has been read whole."""
        self._response.original.abort()

    def unread_bytes(self) -> int:
        """What has come of the body and nobody took yet, TLS and headers included."""
        return int(self._response.original.unread_bytes())

    def deliver(self, protocol: IProtocol) -> None:
        """Let the body flow to ``protocol``."""
        self._delivered = True
        self._response.original.deliverBody(protocol)

    def discard(self) -> None:
        """Read a short rest so that the connection can be used again, abort a long one.

        Nothing when the body has been delivered already.
        """
        if self._delivered:
            return
        if self.length is not None and self.length > MAX_DISCARDED_BYTES:
            self.abort()
            return
        body = SmallBody(MAX_DISCARDED_BYTES, self.abort)
        body.done.addTimeout(DISCARD_S, self._clock)
        body.done.addErrback(lambda failure: failure.trap(BodyTooLarge, BodyCut, TimeoutError) and None)
        self.deliver(body)

    async def read(self, limit: int, what: str) -> bytes:
        """The whole body; UpstreamFailed when it is longer than ``limit``, Unreachable when cut."""
        if self.length is not None and self.length > limit:
            self.abort()
            raise UpstreamFailed(self.upstream, f"{what} is larger than {limit} bytes")
        body = SmallBody(limit, self.abort, self.received)
        self.deliver(body)
        try:
            return await body.done
        except BodyTooLarge:
            raise UpstreamFailed(self.upstream, f"{what} is larger than {limit} bytes") from None
        except BodyCut:
            raise UpstreamUnreachable(
                self.upstream, f"{self.origin.host} cut the connection in the middle of {what}"
            ) from None


def _nothing() -> None:
    """Nobody wants to know."""


@implementer(IBodyProducer)
class _Form:
    """A short request body, written at once; treq's own producer runs on the global reactor."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.length = len(content)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._content)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is left to hold back."""

    def resumeProducing(self) -> None:
        """Nothing is left to send."""

    def stopProducing(self) -> None:
        """Nothing is left to stop."""


class Client:
    """Sends one request to one host: no redirects, no authorisation, no cookies, no judgement."""

    def __init__(
        self, upstream: str, agents: Callable[[Reach], IAgent], reactor: Any, figures: UpstreamFigures
    ) -> None:
        """``agents`` gives the agent for a URL that was named by an answer of that reach."""
        self._upstream = upstream
        self._reactor = reactor
        self._figures = figures
        self._agents = agents
        self._cookies = IndexableCookieJar(DefaultCookiePolicy(allowed_domains=[]))

    async def exchange(
        self,
        method: str,
        url: str,
        headers: Headers,
        kind: str,
        form: bytes | None = None,
        sent_by: Reach = PUBLIC_ONLY,
    ) -> Answer:
        """The answer once its headers are there; UpstreamUnreachable, -Timeout or -Failed.

        A connection from the pool that turns out dead is replaced once for GET and HEAD. ``sent_by`` is
        the reach of the answer that named ``url``, where the settings do not.
        """
        try:
            return await self._exchange(method, url, headers, kind, form, sent_by)
        except BaseException:
            self._figures.unanswered(method, kind)
            raise

    async def _exchange(
        self, method: str, url: str, headers: Headers, kind: str, form: bytes | None, sent_by: Reach
    ) -> Answer:
        agent = self._agents(sent_by)
        try:
            return await self._once(agent, method, url, headers, kind, form)
        except DeadConnection:
            if method in IDEMPOTENT:
                return await self._last(agent, method, url, headers, kind, form)
            raise explain(self._upstream, _host(url), DeadConnection()) from None
        except ValueError:
            raise UpstreamFailed(self._upstream, "it sent us to an address that cannot be used") from None
        except TRANSPORT_ERRORS as error:
            raise self._explained(url, error) from None

    async def _last(
        self, agent: IAgent, method: str, url: str, headers: Headers, kind: str, form: bytes | None
    ) -> Answer:
        try:
            return await self._once(agent, method, url, headers, kind, form)
        except TRANSPORT_ERRORS as error:
            raise self._explained(url, error) from None

    def _explained(self, url: str, error: Exception) -> Exception:
        return CancelledError() if was_cancelled(error) else explain(self._upstream, _host(url), error)

    async def _once(
        self, agent: IAgent, method: str, url: str, headers: Headers, kind: str, form: bytes | None
    ) -> Answer:
        sent = headers.copy()
        sent.setRawHeaders("User-Agent", [USER_AGENT])
        began = self._reactor.seconds()
        origin, target = Origin.split(url)
        numeric = str(origin).encode("ascii") if ":" in origin.host else None
        exact = IdentityAgent(agent, rooted(target).encode("ascii"), numeric)  # treq would encode it anew
        response = await HTTPClient(exact, self._cookies, _Form).request(
            method,
            f"{origin}/" if numeric is None else _NUMERIC,
            headers=sent,
            data=form,
            unbuffered=True,
            allow_redirects=False,
            reactor=self._reactor,
        )
        self._figures.answered(method, kind, response.code, self._reactor.seconds() - began)
        received = partial(self._figures.received, kind)
        return Answer(self._upstream, origin, response, self._reactor, received)


def _host(url: str) -> str:
    """Host and port, for messages."""
    return str(Origin.of(url)).partition("://")[2]
