"""Ways to an origin: an endpoint that connects to no address which its verdict refuses.

Laws: a name is resolved anew for each connection, and the very address that was judged is connected
to, so that a name which changes its mind (rebinding) gains nothing. Nothing is sent to a refused
address, no TLS hello and no SYN; of several addresses only the allowed ones are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IDelayedCall,
    IHostnameResolver,
    IHostResolution,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from twisted.web.client import URI
from twisted.web.iweb import IAgentEndpointFactory, IPolicyForHTTPS
from zope.interface import implementer

from regproxy.headers.addresses import place_of
from regproxy.headers.origins import Origin
from regproxy.upstream.reach import Bounds, ForbiddenAddress, Reach, Verdict


@implementer(IStreamClientEndpoint)
class Way:
    """The endpoint of one origin, with its verdict; TLS where there is a ``creator``."""

    def __init__(
        self,
        reactor: Any,
        origin: Origin,
        verdict: Verdict,
        creator: IOpenSSLClientConnectionCreator | None,
        timeout_s: float,
    ) -> None:
        self._reactor = reactor
        self._origin = origin
        self._verdict = verdict
        self._creator = creator
        self._timeout_s = timeout_s

    def judge(self, address: str) -> None:
        """Raise :exc:`ForbiddenAddress` unless ``address`` may be connected to."""
        self._verdict.judge(place_of(address))

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """As IStreamClientEndpoint says; ForbiddenAddress where no address is allowed."""
        sieve = _Sieve(self._reactor.nameResolver, self.judge)
        plain = HostnameEndpoint(
            _Guided(self._reactor, sieve), self._origin.host, self._origin.port, self._timeout_s
        )
        whole = plain if self._creator is None else wrapClientTLS(self._creator, plain)
        connecting: Deferred[IProtocol] = whole.connect(factory)
        return connecting.addErrback(sieve.explain)


@implementer(IAgentEndpointFactory)
class WayFinder:
    """Makes the ways of one request, which an answer with the reach ``sent_by`` asked for."""

    def __init__(
        self, reactor: Any, policy: IPolicyForHTTPS, bounds: Bounds, sent_by: Reach, timeout_s: float
    ) -> None:
        self._reactor = reactor
        self._policy = policy
        self._bounds = bounds
        self._sent_by = sent_by
        self._timeout_s = timeout_s

    def endpointForURI(self, uri: URI) -> Way:
        """The way to the origin of ``uri``; raises what the policy does when a file cannot be read."""
        origin = Origin.of((uri.scheme + b"://" + uri.netloc).decode("ascii"))
        verdict = self._bounds.verdict(origin, self._sent_by)
        creator = self._policy.creatorForNetloc(uri.host, uri.port) if origin.secure else None
        return Way(self._reactor, origin, verdict, creator, self._timeout_s)


@implementer(IHostnameResolver)
class _Sieve:
    """Resolves a name, and holds back the addresses that are refused."""

    def __init__(self, inner: IHostnameResolver, judge: Callable[[str], None]) -> None:
        self._inner = inner
        self._judge = judge
        self._refused: ForbiddenAddress | None = None

    def resolveHostName(
        self,
        receiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """As IHostnameResolver says."""
        through = _Through(receiver, self._passes)
        return self._inner.resolveHostName(through, hostName, portNumber, addressTypes, transportSemantics)

    def _passes(self, address: IAddress) -> bool:
        try:
            self._judge(getattr(address, "host", ""))
        except ForbiddenAddress as refused:
            self._refused = refused
            return False
        return True

    def explain(self, failure: Failure) -> Failure:
        """That a name has no address left is no failure of DNS."""
        if self._refused is not None and failure.check(DNSLookupError):
            return Failure(self._refused)
        return failure


@implementer(IResolutionReceiver)
class _Through:
    """Passes on what ``passes``."""

    def __init__(self, receiver: IResolutionReceiver, passes: Callable[[IAddress], bool]) -> None:
        self._receiver = receiver
        self._passes = passes

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        self._receiver.resolutionBegan(resolutionInProgress)

    def addressResolved(self, address: IAddress) -> None:
        if self._passes(address):
            self._receiver.addressResolved(address)

    def resolutionComplete(self) -> None:
        self._receiver.resolutionComplete()


@implementer(IReactorPluggableNameResolver)
class _Guided:
    """The reactor as HostnameEndpoint needs it, with the sieve as its resolver."""

    def __init__(self, reactor: Any, resolver: IHostnameResolver) -> None:
        self._reactor = reactor
        self.nameResolver = resolver

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """Here only."""
        old, self.nameResolver = self.nameResolver, resolver
        return old

    def connectTCP(self, *args: Any, **kwargs: Any) -> IConnector:
        """To an address that the sieve has let through."""
        return cast(IConnector, self._reactor.connectTCP(*args, **kwargs))

    def seconds(self) -> float:
        """The reactor's."""
        return cast(float, self._reactor.seconds())

    def callLater(self, *args: Any, **kwargs: Any) -> IDelayedCall:
        """The reactor's."""
        return cast(IDelayedCall, self._reactor.callLater(*args, **kwargs))
