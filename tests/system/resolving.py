"""Names that lead where a test says, on the real reactor; and a note of each address that is dialled."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHostnameResolver
from zope.interface import implementer


@implementer(IHostnameResolver)
class Names:
    """In front of the reactor's own resolver, until :meth:`remove`."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._answers: dict[str, list[list[str]]] = {}
        self._inner: Any = None
        self._connect = reactor.connectTCP
        self.dialled: set[str] = set()

    @classmethod
    def install(cls, reactor: Any) -> Names:
        """From now on all of the process asks here."""
        names = cls(reactor)
        names._inner = reactor.installNameResolver(names)
        reactor.connectTCP = names._dial
        return names

    def remove(self) -> None:
        """Leave things as they were."""
        self._reactor.installNameResolver(self._inner)
        self._reactor.connectTCP = self._connect

    def _dial(self, host: str, *args: Any, **kwargs: Any) -> Any:
        self.dialled.add(host)
        return self._connect(host, *args, **kwargs)

    def set(self, name: str, *answers: list[str]) -> None:
        """The addresses of ``name``, for each time it is asked; the last ones stay."""
        self._answers[name] = list(answers)

    def resolveHostName(self, receiver: Any, hostName: str, portNumber: int = 0, *more: Any) -> Any:
        """As IHostnameResolver says."""
        if hostName not in self._answers:
            return self._inner.resolveHostName(receiver, hostName, portNumber, *more)
        answers = self._answers[hostName]
        receiver.resolutionBegan(self)
        for address in answers.pop(0) if len(answers) > 1 else answers[0]:
            kind = IPv6Address if ":" in address else IPv4Address
            receiver.addressResolved(kind("TCP", address, portNumber))
        receiver.resolutionComplete()
        return self

    def cancel(self) -> None:
        """It is over at once."""
