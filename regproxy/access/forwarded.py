"""Whose address a request came from, where proxies stand in front (R71).

Only peers in ``access.trusted_proxies`` are believed, and of what they say only the last hop that
is none of them: everything further left was written by the client. ``Forwarded`` is not read: of
two headers that say the same thing, a proxy writes one and passes the other one on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from regproxy.access.networks import MAX_KNOWN, Address, is_within, normalise
from regproxy.settings import Network

MAX_HOPS = 16
"""More proxies in a row than anybody has; what names more of them names no client."""
MAX_REMEMBERED = 256
"""Signs of a header that is remembered with what it says."""
MAX_ADDRESS = 64
"""Signs of the longest address, with brackets, zone and port."""
UNKNOWN = ""
"""The address of a client that its proxy does not name: it is in no network."""

_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}|\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?", re.ASCII)


class TrustedProxies:
    """The peers whose word counts; none, unless the settings name them."""

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        self._networks = tuple(networks)
        self._trusts = lru_cache(MAX_KNOWN)(self._looks)
        self._origin = lru_cache(MAX_KNOWN)(self._walk)

    def trust(self, peer: str | None) -> bool:
        """Whether ``peer`` is one of them. Never for a unix socket, which has no address."""
        return bool(self._networks) and peer is not None and self._trusts(peer)

    def include(self, address: Address) -> bool:
        """As :meth:`trust`, where the address has been read."""
        return self.trust(str(address))

    def client(self, peer: str | None, forwarded_for: Sequence[str]) -> str | None:
        """The client's address: the peer's own, or the one that trusted peers name.

        ``forwarded_for`` are the values of ``X-Forwarded-For``, in their order. :data:`UNKNOWN`
        where a trusted peer names something that is no address.
        """
        if not self.trust(peer) or not forwarded_for:
            return peer
        written = ",".join(forwarded_for)
        return self._origin(written) if len(written) <= MAX_REMEMBERED else self._walk(written)

    def secure(self, peer: str | None, own: bool, forwarded_proto: Sequence[str]) -> bool:
        """Whether the client itself spoke TLS: by our own connection, or by a trusted peer's word."""
        if own or not forwarded_proto or not self.trust(peer):
            return own
        return forwarded_proto[-1].rpartition(",")[2].strip().lower() == "https"

    def _looks(self, peer: str) -> bool:
        return is_within(normalise(peer), self._networks)

    def _walk(self, written: str) -> str:
        hops = written.rsplit(",", MAX_HOPS)
        found = UNKNOWN
        for hop in reversed(hops[-MAX_HOPS:]):
            found = _address(hop.strip())
            if not self._trusts(found):
                return found
        return found if len(hops) <= MAX_HOPS else UNKNOWN


def _address(text: str) -> str:
    """The address that a hop writes, with a port or without; :data:`UNKNOWN` for anything else."""
    if len(text) > MAX_ADDRESS:  # which would be remembered with what it is
        return UNKNOWN
    found = _WITH_PORT.fullmatch(text)
    address = normalise((found[1] or found[2]) if found else text)
    return UNKNOWN if address is None else str(address)
