"""One upstream registry, put together: agents, tokens, doors, and what is asked through them."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import IAgent
from zope.interface import implementer

from regproxy.errors import (
    TransferStopped,
    UpstreamError,
    UpstreamRefused,
    UpstreamTrouble,
)
from regproxy.headers.origins import Origin
from regproxy.interfaces import Allowance, IRemoteRegistry, Standing
from regproxy.metrics.upstreams import UpstreamFigures
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference
from regproxy.settings import UpstreamSettings
from regproxy.upstream.agents import BUFFER_BYTES, ExactAgent, Pool
from regproxy.upstream.answers import DENIED
from regproxy.upstream.attempts import Attempts, Holding, Question
from regproxy.upstream.bandwidth import Bandwidth, read_size
from regproxy.upstream.blobs import RemoteBlobs
from regproxy.upstream.breaker import Breaker
from regproxy.upstream.budget import Budget
from regproxy.upstream.calls import Calls
from regproxy.upstream.client import Client
from regproxy.upstream.credentials import CredentialSource
from regproxy.upstream.endpoints import Endpoints
from regproxy.upstream.hall import Hall, trusted_realms
from regproxy.upstream.limits import LIMITS, Limits
from regproxy.upstream.manifests import ManifestReader, RemoteManifests
from regproxy.upstream.notices import Notices
from regproxy.upstream.pages import TagPages
from regproxy.upstream.probes import Probes
from regproxy.upstream.questions import Questions
from regproxy.upstream.reach import Bounds, Reach
from regproxy.upstream.retrying import Retrying, Spare
from regproxy.upstream.running import Running
from regproxy.upstream.tags import RemoteTags
from regproxy.upstream.threads import InThread, threads_of
from regproxy.upstream.tls import TlsPolicy
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
        steady: IReactorTime | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``realm`` is the built-in token server of a well-known registry; ``wall`` gives epoch seconds.

        ``agent`` replaces our own connections, for tests. ``in_thread`` runs what is long for the
        reactor; None: in the reactor's thread pool. ``heard`` is told of each call's trouble.
        ``steady`` and ``chance`` are the clock and the jitter of its rate limit; None: the reactor's.
        """
        in_thread = in_thread or threads_of(reactor)
        figures = figures or UpstreamFigures.apart(settings.name)
        self.name = settings.name
        self._limits = limits
        self._running = Running(settings.name, reactor, heard, wall)
        self._credentials = CredentialSource(settings.name, settings.credentials)
        self._links = _Links(settings, reactor, realm, limits, agent)
        self._small = small = Client(settings.name, self._links.small, reactor, figures)
        bulk = Client(settings.name, self._links.bulk, reactor, figures)
        doors = Hall(settings, small, wall, realm, self._running, limits, self._credentials, figures).doors()
        self._budget = Budget(
            settings.name,
            Origin.of(settings.endpoints[0]),
            reactor if steady is None else steady,
            wall,
            self._credentials.identity,
            chance,
            self._look,
        )
        self._probes = Probes(settings.name, small, self._running, limits.probe_s)
        self._endpoints = Endpoints(
            settings.name,
            settings.endpoints,
            partial(self._breaker, reactor, figures),
            reactor,
            wall,
            lambda number, circuit: figures.circuit(number, circuit.name),
        )
        if settings.offline:
            self._endpoints.set_offline(True)
        attempts = Attempts(
            settings.name,
            reactor,
            limits,
            Holding(reactor, self._credentials.mark),
            doors.is_own,
            wall,
            several=len(self._endpoints) > 1,
        )
        calls = partial(
            Calls,
            budget=self._budget,
            doors=doors,
            wall=wall,
            endpoints=self._endpoints,
            attempts=attempts,
            insecure=settings.insecure,
            retrying=Retrying(reactor, limits.first_byte_s, Spare()),
        )
        self._calls, bodies = calls(settings.name, small), calls(settings.name, bulk, by_speed=True)
        self._questions = Questions(settings.endpoints[0])
        self._notices = notices = Notices()
        reader = ManifestReader(settings.name, self._questions, self._calls, in_thread, notices)
        pages = TagPages(settings.name, self._questions, self._calls, in_thread, notices)
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
            refused = UpstreamRefused(self.name, f"it refuses our credentials ({answer.status})")
            refused.status = answer.status
            raise refused
        if answer.status == 429 or answer.status >= 500:
            self._calls.insist(answer, self._questions.base())

    def answers(self) -> Deferred[bool]:
        """Whether /v2/ gives any answer below 500, a challenge too; no token is asked for.

        Where that is known to be not so, nobody is asked.
        """
        if not self._endpoints.standing().asked:
            return succeed(False)
        asking = self._running.call(self._ping(), "its API", self._limits.first_byte_s)
        return asking.addErrback(_no_answer)

    def warnings(self, repository: Repository, reference: Reference | None) -> tuple[str, ...]:
        """As :meth:`IRemoteRegistry.warnings`."""
        return self._notices.of(repository, reference)

    def _look(self) -> None:
        """Ask for nothing but the headers that say what is left of the rate limit."""
        known = self._calls.known
        if known is not None:
            looking = self._running.call(self._head(known), known.what, self._limits.first_byte_s)
            looking.addErrback(lambda failure: failure.trap(UpstreamError, TransferStopped) and None)

    async def _head(self, known: Question) -> None:
        (await self._calls.ask(known.as_method("HEAD"))).discard()

    async def _ping(self) -> bool:
        *others, last = self._endpoints.order()
        for endpoint in others:
            with contextlib.suppress(UpstreamError):
                await self._probes.ask_in_time(endpoint.url)
                return True
        await self._probes.ask(last.url)
        return True

    def standing(self) -> Standing:
        """As :meth:`IRemoteRegistry.standing`."""
        return self._endpoints.standing()

    def endpoints(self) -> Sequence[tuple[str, Standing]]:
        """As :meth:`IRemoteRegistry.endpoints`."""
        return self._endpoints.standings()

    def allowance(self) -> Allowance:
        """As :meth:`IRemoteRegistry.allowance`."""
        return self._budget.allowance()

    def set_offline(self, offline: bool, since_s: float | None = None) -> bool:
        """As :meth:`IRemoteRegistry.set_offline`; transfers that run go on to their end."""
        return self._endpoints.set_offline(offline, since_s)

    def _breaker(self, reactor: Any, figures: UpstreamFigures, number: int, url: str) -> Breaker:
        host = str(Origin.of(url)).partition("://")[2]
        return Breaker(
            self.name if host == self.name else f"{self.name} at {host}",
            lambda: self._probes.probe(url, partial(self._endpoints.alone, number)),
            reactor,
            told=lambda circuit: figures.circuit(number, circuit.name),
            probe_told=partial(figures.probed, number),
            opened_told=partial(figures.circuit_opened, number),
        )

    def close(self) -> Deferred[None]:
        """Cancel what is under way and close every connection."""
        self._endpoints.close()
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
        named = {*map(Origin.of, settings.endpoints), *trusted_realms(settings, realm)}
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
