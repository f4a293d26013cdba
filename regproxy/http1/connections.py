"""How many clients may be connected, in all and from one address.

A connection beyond is told so in one short answer and closed: its client goes elsewhere, or tries
again, at once instead of after a timeout, and those who are being served notice nothing. Not to accept
would be cheaper and would shut out everyone, health checks included, for as long as the crowd stays.
Who comes beyond even MAX_TURNED_AWAY of these is dropped without a word. A stranger, whose address is
not served at all, is told that in the same way, and never takes a place of those who are.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address

from twisted.logger import Logger

from regproxy.access.networks import MAX_KNOWN, NOT_SERVED, Address, normalise
from regproxy.errors import AccessDenied, TooManyConnections
from regproxy.seldom import Seldom

MAX_TURNED_AWAY = 256
"""So many may be on their way out at once, beside the connections that are served."""


class Verdict(enum.Enum):
    """What becomes of a new connection; the values are names of settings."""

    ADMITTED = ""
    FULL = "connections"
    CROWDED = "per_address"
    STRANGER = "networks"


def verdict(in_all: int, from_there: int, connections: int, per_address: int | None) -> Verdict:
    """The verdict on one more, beside ``in_all`` that are open, ``from_there`` of them of its address."""
    if in_all >= connections:
        return Verdict.FULL
    if per_address is not None and from_there >= per_address:
        return Verdict.CROWDED
    return Verdict.ADMITTED


@lru_cache(MAX_KNOWN)
def neighbourhood(host: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 of an IPv6 one; "" for none.

    A link-local one counts by itself: all that are on one link have the same /64.
    """
    address = normalise(host)
    if isinstance(address, IPv6Address) and not address.is_link_local:
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return "" if address is None else str(address)


def nobody(address: Address) -> bool:
    """No address is exempt."""
    return False


class Connections:
    """Those that are open. ``is_exempt``: this address may have any number, as a proxy has whose clients
    are many; it counts in all. ``turned_away`` hears of each one; ``monotonic`` is for the log, where
    ``allowance`` names what says how many there may be in all. ``is_stranger``: a peer of this address,
    None for what is no address, is not served."""

    log = Logger()

    def __init__(
        self,
        connections: int,
        per_address: int | None,
        monotonic: Callable[[], float],
        is_exempt: Callable[[Address], bool] = nobody,
        turned_away: Callable[[str], object] = lambda limit: None,
        allowance: str = "limits.connections",
        is_stranger: Callable[[Address | None], bool] = lambda address: False,
    ) -> None:
        self._is_stranger = is_stranger
        self._connections = connections
        self._per_address = per_address
        self._monotonic = monotonic
        self._is_exempt = is_exempt
        self._turned_away = turned_away
        self._names = {Verdict.FULL: allowance, Verdict.CROWDED: "limits.per_address"}
        self._by_address: Counter[str] = Counter()
        self._unsaid = 0
        self._saying = Seldom()
        self.open = 0
        """How many are being served."""
        self.leaving = 0
        """How many are being told that there is no room."""

    def __repr__(self) -> str:
        return f"<Connections {self.open} of {self._connections}, {self.leaving} turned away>"

    def enter(self, host: str | None) -> Verdict:
        """Let a connection of ``host`` in (None: a unix socket), or count it as turned away."""
        if host is not None and self._is_stranger(normalise(host)):
            self.leaving += 1
            return Verdict.STRANGER
        there = self._counted(host)
        found = verdict(self.open, self._by_address[there], self._connections, self._per_address)
        if found is Verdict.ADMITTED:
            self.open += 1
            if there:
                self._by_address[there] += 1
            return found
        self.leaving += 1
        self._turned_away(found.value)
        self._say(found)
        return found

    def no_room(self, found: Verdict) -> AccessDenied | TooManyConnections:
        """What a client is told that is turned away."""
        if found is Verdict.STRANGER:
            return AccessDenied(NOT_SERVED)
        whose = "your address" if found is Verdict.CROWDED else "this mirror"
        return TooManyConnections(
            f"{whose} may have no more connections than are open now ({self._names[found]}); try again later"
        )

    @property
    def may_tell(self) -> bool:
        """Whether those who are turned away are few enough to be told."""
        return self.leaving <= MAX_TURNED_AWAY

    def leave(self, host: str | None, found: Verdict) -> None:
        """A connection on which ``enter`` gave ``found`` is closed."""
        if found is not Verdict.ADMITTED:
            self.leaving -= 1
            return
        self.open -= 1
        there = self._counted(host)
        if there:
            self._by_address[there] -= 1
            if not self._by_address[there]:
                del self._by_address[there]

    def _counted(self, host: str | None) -> str:
        """Whose number counts, "" for one who may have any."""
        if self._per_address is None or host is None:
            return ""
        address = normalise(host)
        return "" if address is None or self._is_exempt(address) else neighbourhood(host)

    def _say(self, found: Verdict) -> None:
        self._unsaid += 1
        if not self._saying.may(self._monotonic()):
            return
        self.log.warn(
            "{count} connections beyond {limit} were turned away; {open} are open",
            count=self._unsaid,
            limit=self._names[found],
            open=self.open,
        )
        self._unsaid = 0
