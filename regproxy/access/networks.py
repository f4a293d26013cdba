"""May this address ask at all? Pure; called in one place for each listener, before routing."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from twisted.internet.address import UNIXAddress

from regproxy.errors import AccessDenied
from regproxy.settings import Network

NOT_SERVED = "this mirror does not serve your address; its operator can add it to access.networks"
Address = IPv4Address | IPv6Address

MAX_KNOWN = 4096
"""So many clients' addresses are kept parsed: each is looked at several times a request."""


@lru_cache(MAX_KNOWN)
def normalise(host: str) -> Address | None:
    """The address that ``host`` writes, None when it is none.

    ``::ffff:a.b.c.d``, which is how a socket for both families shows an IPv4 peer, becomes
    ``a.b.c.d``; the zone of a link-local address goes.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def admit(host: str | None, networks: Iterable[Network]) -> None:
    """Let the peer with the address ``host`` pass, or raise :exc:`AccessDenied`.

    ``None`` is a peer on a unix socket: the socket's file mode decided already.
    """
    if host is not None and not is_within(normalise(host), networks):
        raise AccessDenied(NOT_SERVED)


def is_within(address: Address | None, networks: Iterable[Network]) -> bool:
    """Whether one of the ``networks`` has ``address``; none has None, which is no address."""
    return address is not None and any(address in network for network in networks)


def peer_host(address: object) -> str | None:
    """A peer's address as text, IPv4 always as IPv4; None on a unix socket, "" when unknown."""
    if isinstance(address, UNIXAddress):
        return None
    return _shown(str(getattr(address, "host", "")))


@lru_cache(MAX_KNOWN)
def _shown(host: str) -> str:
    return str(normalise(host) or host)
