"""Is anything out there? One connection to each upstream, after the start and behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError, TimeoutError
from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from regproxy.headers.origins import Origin
from regproxy.settings import UpstreamSettings
from regproxy.upstream.reach import Bounds, ForbiddenAddress
from regproxy.upstream.ways import Way

TIMEOUT_S = 8
_CANCELLED = (CancelledError, ConnectingCancelledError)


class _Knock(Protocol):
    """Hangs up as soon as somebody answers."""

    transport: ITransport

    def connectionMade(self) -> None:
        self.transport.loseConnection()


def unreachable(reactor: Any, upstreams: Sequence[UpstreamSettings]) -> Deferred[str | None]:
    """None as soon as one endpoint accepts a connection; else why the first one did not.

    Sends no byte, so it costs no quota. Cancelling it closes everything.
    """
    ways = [way for each in upstreams for way in _ways(reactor, each)]
    return Deferred.fromCoroutine(_knock(reactor, ways))


def _ways(reactor: Any, upstream: UpstreamSettings) -> Iterator[tuple[Origin, Way]]:
    """To its endpoints, within its bounds as ever."""
    origins = [Origin.of(url) for url in upstream.endpoints]
    bounds = Bounds.of(origins, upstream.private)
    for origin in origins:
        yield origin, Way(reactor, origin, bounds.verdict(origin), None, TIMEOUT_S)


async def _knock(reactor: Any, ways: Sequence[tuple[Origin, Way]]) -> str | None:
    if not ways:
        return None
    attempts = [_connect(reactor, way) for _, way in ways]
    outcome: Any = await DeferredList(attempts, fireOnOneCallback=True, consumeErrors=True)
    if isinstance(outcome, tuple):
        for attempt in attempts:
            attempt.cancel()
        return None
    if any(failure.check(*_CANCELLED) for _, failure in outcome):
        raise CancelledError
    return f"{ways[0][0].host}: {_reason(outcome[0][1])}"


def _connect(reactor: Any, way: Way) -> Deferred[Any]:
    connecting: Deferred[Any] = way.connect(Factory.forProtocol(_Knock))
    return connecting.addTimeout(TIMEOUT_S, reactor, onTimeoutCancel=_timed_out)


def _timed_out(result: object, timeout_s: float) -> None:
    raise TimeoutError


def _reason(failure: Failure) -> str:
    if failure.check(DNSLookupError):
        return "its name is not found"
    if failure.check(ForbiddenAddress):
        return "its address is not allowed"
    if failure.check(TimeoutError):
        return "no answer"
    if failure.check(ConnectError):
        return "no connection"
    return failure.type.__name__ if failure.type else "no connection"
