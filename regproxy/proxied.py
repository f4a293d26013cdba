"""Listeners behind a balancer that writes the PROXY protocol (``haproxy:``), versions 1 and 2.

Whoever reaches such a listener may claim any address, so only trusted proxies may reach it; others
are cut off before a byte is read. The header comes first, in clear, TLS behind it, as balancers
write it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from twisted.protocols.haproxy._exceptions import InvalidProxyHeader
from twisted.protocols.haproxy._info import ProxyInfo
from twisted.protocols.haproxy._v1parser import V1Parser
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper, HAProxyWrappingFactory
from zope.interface import implementer

from regproxy.access.forwarded import TrustedProxies
from regproxy.access.networks import peer_host

MAX_TOLD = 100
"""So many strangers are named in the log; it is theirs to repeat, not ours."""


def behind_proxies(endpoint: Any, proxies: TrustedProxies) -> IStreamServerEndpoint:
    """``endpoint`` for connections that ``proxies``, and peers on a unix socket, pass on."""
    return _Guarded(endpoint, proxies)


class _Version1(V1Parser):
    """Twisted's, which refuses the short form of UNKNOWN and fails where a port is no number."""

    @classmethod
    def parse(cls, line: bytes) -> ProxyInfo:
        if line == b"PROXY UNKNOWN":
            return ProxyInfo(line, None, None)
        try:
            return super().parse(line)
        except ValueError as error:
            raise InvalidProxyHeader from error


class _Connection(HAProxyProtocolWrapper):
    """A path on the balancer's machine is no socket of ours, whose mode has let its clients in: who comes
    by one is the balancer itself."""

    def dataReceived(self, data: bytes) -> None:
        if self._parser is None and len(data) >= 8 and data.startswith(V1Parser.PROXYSTR):
            self._parser = _Version1()
        super().dataReceived(data)

    def getPeer(self) -> Any:
        """As the header says, if that is an address of a network."""
        return self._of_network(super().getPeer(), "getPeer")

    def getHost(self) -> Any:
        """As the header says, if that is an address of a network."""
        return self._of_network(super().getHost(), "getHost")

    def _of_network(self, said: IAddress, own: str) -> Any:
        return getattr(self.transport, own)() if isinstance(said, UNIXAddress) else said


class _Proxied(HAProxyWrappingFactory):
    protocol: Any = _Connection


@implementer(IStreamServerEndpoint)
class _Guarded:
    def __init__(self, endpoint: Any, proxies: TrustedProxies) -> None:
        self._endpoint = endpoint
        self._proxies = proxies

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        listening: Deferred[IListeningPort] = self._endpoint.listen(
            _OnlyFrom(_Proxied(factory), self._proxies)
        )
        return listening


@implementer(IProtocolFactory)
class _OnlyFrom:
    """Builds protocols for trusted peers only."""

    log = Logger()

    def __init__(self, factory: IProtocolFactory, proxies: TrustedProxies) -> None:
        self._factory = factory
        self._proxies = proxies
        self._told = 0

    def doStart(self) -> None:
        self._factory.doStart()

    def doStop(self) -> None:
        self._factory.doStop()

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        peer = peer_host(addr)
        if peer is None or self._proxies.trust(peer):
            return self._factory.buildProtocol(addr)
        if self._told < MAX_TOLD:
            self._told += 1
            self.log.warn(
                "{peer} is not in access.trusted_proxies: its connection to a haproxy: listener is closed",
                peer=peer,
            )
        return None
