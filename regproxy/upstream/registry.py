"""One upstream registry, put together: agents, tokens, doors, and what is asked through them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent
from zope.interface import implementer

from regproxy.errors import (
    TransferStopped,
    UpstreamError,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTrouble,
)
from regproxy.headers.origins import Origin
from regproxy.interfaces import Allowance, IRemoteRegistry, Standing
from regproxy.metrics.upstreams import UpstreamFigures
from regproxy.settings import Quirks, UpstreamSettings
from regproxy.upstream.agents import BUFFER_BYTES, ExactAgent, Pool
from regproxy.upstream.answers import DENIED
from regproxy.upstream.authorization import NO_QUIRKS, Door
from regproxy.upstream.bandwidth import Bandwidth, read_size
from regproxy.upstream.blobs import RemoteBlobs
from regproxy.upstream.calls import Calls, Doors
from regproxy.upstream.client import Client
from regproxy.upstream.credentials import CredentialSource
from regproxy.upstream.endpoints import Endpoints
from regproxy.upstream.limits import LIMITS, Limits
from regproxy.upstream.manifests import ManifestReader, RemoteManifests
from regproxy.upstream.pages import TagPages
from regproxy.upstream.questions import Questions
from regproxy.upstream.reach import Bounds, Reach
from regproxy.upstream.retrying import Retrying, Spare
from regproxy.upstream.running import Running
from regproxy.upstream.tags import RemoteTags
from regproxy.upstream.threads import InThread, threads_of
from regproxy.upstream.tls import TlsPolicy
from regproxy.upstream.token_requests import Token, TokenNeed
from regproxy.upstream.tokens import RealmRules, TokenCache, TokenFetcher
from regproxy.upstream.ways import WayFinder


@implementer(IRemoteRegistry)
class RemoteRegistry:
    """One upstream, read side. Its endpoints are asked in order: the next where one is in trouble."""

    def __init__(
        self,
        settings: UpstreamSettings,
        reactor: Any,
        wall: Callable[[], float] = time.time,
        realm: Origin | None = None,
        limits: Limits = LIMITS,
        figures: UpstreamFigures | None = None,
        agent: IAgent | None = None,
        in_thread: InThread | None = None,
        heard: Callable[[UpstreamTrouble | None], None] = lambda trouble: None,
    ) -> None:
        """``realm`` is the built-in token server of a well-known registry; ``wall`` gives epoch seconds.

        ``agent`` replaces our own connections, for tests. ``in_thread`` runs what is long for the
        reactor; None: in the reactor's thread pool. ``heard`` is told of each call's trouble.
        """
        in_thread = in_thread or threads_of(reactor)
        figures = figures or UpstreamFigures.apart(settings.name)
        self.name = settings.name
        self._limits = limits
        self._running = Running(settings.name, reactor, heard)
        self._credentials = CredentialSource(settings.name, settings.credentials)
        self._links = _Links(settings, reactor, realm, limits, agent)
        self._small = small = Client(settings.name, self._links.small, reactor, figures)
        bulk = Client(settings.name, self._links.bulk, reactor, figures)
        doors = _Hall(settings, small, wall, realm, self._running, limits, self._credentials, figures).doors()
        self._endpoints = Endpoints(settings.endpoints, reactor)
        calls = partial(
            Calls,
            doors=doors,
            wall=wall,
            endpoints=self._endpoints,
            clock=reactor,
            endpoint_s=limits.endpoint_s,
            insecure=settings.insecure,
            retrying=Retrying(reactor, limits.first_byte_s, Spare()),
        )
        self._calls, bodies = calls(settings.name, small), calls(settings.name, bulk, by_speed=True)
        self._questions = Questions(settings.endpoints[0])
        reader = ManifestReader(settings.name, self._questions, self._calls, in_thread)
        pages = TagPages(settings.name, self._questions, self._calls, in_thread)
        self.blobs = RemoteBlobs(
            settings.name,
            self._questions,
            bodies,
            self._running,
            reactor,
            limits,
            Bandwidth(settings.bandwidth_bytes_s, reactor),
            settings.quirks.blob_heads,
        )
        self.manifests = RemoteManifests(settings.name, reader, self._running, limits)
        self.tags = RemoteTags(settings.name, reader, pages, self._running, limits)

    def __repr__(self) -> str:
        return f"<RemoteRegistry {self.name}, {len(self._running)} under way>"

    def check_credentials(self) -> Deferred[None]:
        """Try the credentials at /v2/; nothing is asked without any. UpstreamRefused, or trouble."""
        if not self._credentials:
            return succeed(None)
        return self._running.call(self._check(), "its API", self._limits.first_byte_s)

    async def _check(self) -> None:
        answer = await self._calls.ask(self._questions.base())
        answer.discard()
        if answer.status in DENIED:
            raise UpstreamRefused(self.name, f"it refuses our credentials ({answer.status})")
        if answer.status == 429 or answer.status >= 500:
            self._calls.insist(answer, self._questions.base())

    def answers(self) -> Deferred[bool]:
        """Whether /v2/ gives any answer below 500, a challenge too; no token is asked for."""
        asking = self._running.call(self._ping(), "its API", self._limits.first_byte_s)
        return asking.addErrback(_no_answer)

    def standing(self) -> Standing:
        """As :meth:`IRemoteRegistry.standing`."""
        return Standing()

    def allowance(self) -> Allowance:
        """As :meth:`IRemoteRegistry.allowance`."""
        return Allowance()

    async def _ping(self) -> bool:
        *others, last = self._endpoints.order()
        for endpoint in others:
            with contextlib.suppress(UpstreamError):
                return await self._ping_at(endpoint.url)
        return await self._ping_at(last.url)

    async def _ping_at(self, endpoint: str) -> bool:
        question = Questions(endpoint).base()
        answer = await self._small.exchange(question.method, question.url, Headers(), question.kind)
        answer.discard()
        if answer.status >= 500:
            raise UpstreamFailed(self.name, f"asked for its API, it answers {answer.status}")
        return True

    def close(self) -> Deferred[None]:
        """Cancel what is under way and close every connection."""
        self._running.close()
        self._links.close()
        return succeed(None)


def _no_answer(failure: Failure) -> bool:
    failure.trap(UpstreamError, TransferStopped)
    return False


class _Links:
    """The two pools of connections, and the agents that use them, each as far as it may reach."""

    def __init__(
        self,
        settings: UpstreamSettings,
        reactor: Any,
        realm: Origin | None,
        limits: Limits,
        agent: IAgent | None,
    ) -> None:
        self._reactor = reactor
        self._limits = limits
        self._agent = agent
        named = {*map(Origin.of, settings.endpoints), *_trusted(settings, realm)}
        self._bounds = Bounds.of(named, settings.private)
        self._policy = TlsPolicy(settings.name, settings.ca, settings.client_cert, named)
        self._pools = Pool(reactor), Pool(reactor, read_size(BUFFER_BYTES, settings.bandwidth_bytes_s))

    def small(self, sent_by: Reach) -> IAgent:
        """For short answers."""
        return self._agent or self._towards(self._pools[0], sent_by)

    def bulk(self, sent_by: Reach) -> IAgent:
        """For bodies: never in the way of short answers."""
        return self._agent or self._towards(self._pools[1], sent_by)

    def _towards(self, pool: Pool, sent_by: Reach) -> IAgent:
        ways = WayFinder(self._reactor, self._policy, self._bounds, sent_by, self._limits.connect_s)
        agent: IAgent = ExactAgent.usingEndpointFactory(self._reactor, ways, pool)
        return agent

    def close(self) -> None:
        for pool in self._pools:
            pool.abort_all()


@attrs.frozen(slots=True)
class _Hall:
    """Makes the doors: own origins get the credentials, all others none."""

    settings: UpstreamSettings
    client: Client
    wall: Callable[[], float]
    realm: Origin | None
    running: Running
    limits: Limits
    credentials: CredentialSource
    figures: UpstreamFigures

    def doors(self) -> Doors:
        own = {
            origin: self._door(origin, self.credentials, self.settings.quirks)
            for origin in map(Origin.of, self.settings.endpoints)
        }
        nobody = CredentialSource(self.settings.name, None)
        return Doors(own, lambda origin: self._door(origin, nobody))

    def _door(self, origin: Origin, credentials: CredentialSource, quirks: Quirks = NO_QUIRKS) -> Door:
        trusted = _trusted(self.settings, self.realm) if credentials else ()
        rules = RealmRules(origin, trusted, self.settings.insecure)
        fetcher = TokenFetcher(self.settings.name, self.client, rules, credentials, self.wall)

        def fetch(need: TokenNeed) -> Deferred[Token]:
            return self.running.call(fetcher.fetch(need), "a token", self.limits.first_byte_s, nested=True)

        tokens = TokenCache(fetch, self.wall, told=self.figures.token)
        return Door(self.settings.name, origin, tokens, credentials, self.settings.insecure, quirks)


def _trusted(settings: UpstreamSettings, realm: Origin | None) -> tuple[Origin, ...]:
    return settings.token_realms if realm is None else (*settings.token_realms, realm)
