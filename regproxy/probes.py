"""Is anything out there? One connection to each upstream, after the start and behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError, TimeoutError
from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from regproxy.headers.origins import Origin
from regproxy.settings import UpstreamSettings

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
    return Deferred.fromCoroutine(_knock(reactor, [url for each in upstreams for url in each.endpoints]))


async def _knock(reactor: Any, urls: Sequence[str]) -> str | None:
    if not urls:
        return None
    attempts = [_connect(reactor, Origin.of(url)) for url in urls]
    outcome: Any = await DeferredList(attempts, fireOnOneCallback=True, consumeErrors=True)
    if isinstance(outcome, tuple):
        for attempt in attempts:
            attempt.cancel()
        return None
    if any(failure.check(*_CANCELLED) for _, failure in outcome):
        raise CancelledError
    return f"{Origin.of(urls[0]).host}: {_reason(outcome[0][1])}"


def _connect(reactor: Any, origin: Origin) -> Deferred[Any]:
    endpoint = HostnameEndpoint(reactor, origin.host, origin.port, timeout=TIMEOUT_S)
    connecting: Deferred[Any] = endpoint.connect(Factory.forProtocol(_Knock))
    return connecting.addTimeout(TIMEOUT_S, reactor, onTimeoutCancel=_timed_out)


def _timed_out(result: object, timeout_s: float) -> None:
    raise TimeoutError


def _reason(failure: Failure) -> str:
    if failure.check(DNSLookupError):
        return "its name is not found"
    if failure.check(TimeoutError):
        return "no answer"
    if failure.check(ConnectError):
        return "no connection"
    return failure.type.__name__ if failure.type else "no connection"
