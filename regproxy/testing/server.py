"""A listening port of 127.0.0.1 for the doubles: refuses, comes back on the same port, cuts all."""

from __future__ import annotations

from typing import cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLContextFactory,
    IReactorSSL,
    IReactorTCP,
    IReactorTime,
)

from regproxy.testing.wire import Answer, ChannelFactory

LOCALHOST = "127.0.0.1"


class Server:
    """One port of 127.0.0.1 that stays the same over refuse() and accept()."""

    def __init__(
        self,
        reactor: object,
        answer: Answer,
        tls: IOpenSSLContextFactory | None = None,
        host: str = LOCALHOST,
    ) -> None:
        self._reactor = reactor
        self._factory = ChannelFactory(answer, cast(IReactorTime, reactor))
        self._tls = tls
        self._listening: IListeningPort | None = None
        self.host = host
        self.port = 0

    @property
    def url(self) -> str:
        """Scheme, host and port; no slash at the end."""
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    @property
    def connection_count(self) -> int:
        """How many connections are open now."""
        return len(self._factory.channels)

    def listen(self) -> None:
        """Take the port: a free one, or the one had before."""
        if self._listening is not None:
            return
        if self._tls is None:
            tcp = cast(IReactorTCP, self._reactor)
            self._listening = tcp.listenTCP(self.port, self._factory, interface=self.host)
        else:
            ssl = cast(IReactorSSL, self._reactor)
            self._listening = ssl.listenSSL(self.port, self._factory, self._tls, interface=self.host)
        self.port = cast(IPv4Address, self._listening.getHost()).port

    async def close(self) -> None:
        """Give up the port and cut every connection."""
        listening, self._listening = self._listening, None
        if listening is not None:
            await maybeDeferred(listening.stopListening)
        await self._factory.abort_all()
