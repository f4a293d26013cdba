"""Which addresses may be connected to for an upstream (R80), decided. ``ways`` carries it out. Pure.

Laws: link-local and metadata addresses never. What the settings name (endpoints, token realms) may lie
in a private network; on loopback only where it is written so. Where an answer sends us may lie in
a private network only if that answer came from one, and so for loopback: no name that a stranger
resolves, no redirect and no realm leads a public registry's mirror into its own network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from regproxy.headers.addresses import Place, written_place
from regproxy.headers.origins import Origin


@attrs.frozen(slots=True, order=True)
class Reach:
    """What may be connected to beside public addresses."""

    private: bool = False
    loopback: bool = False

    @classmethod
    def from_place(cls, place: Place) -> Reach:
        """What an answer that came from there may send us to."""
        return cls(place is Place.PRIVATE, place is Place.LOOPBACK)

    def allows(self, place: Place) -> bool:
        """Whether an address there may be connected to."""
        if place is Place.PRIVATE:
            return self.private
        if place is Place.LOOPBACK:
            return self.loopback
        return place is Place.PUBLIC


PUBLIC_ONLY = Reach()
EVERYWHERE = Reach(private=True, loopback=True)
"""But for what is never connected to."""


@attrs.frozen(slots=True)
class Bounds:
    """The reach of one upstream. ``named`` are the origins that its settings name."""

    named: Mapping[Origin, Reach]
    private: bool = False

    @classmethod
    def of(cls, named: Iterable[Origin], private: bool) -> Bounds:
        """``private``: the settings allow private and loopback addresses wherever it sends us."""
        return cls({origin: _written(origin, private) for origin in named}, private)

    def reach(self, origin: Origin, sent_by: Reach) -> Reach:
        """What a connection to ``origin`` may lead to, when an answer with that reach named it."""
        if origin in self.named:
            return self.named[origin]
        return EVERYWHERE if self.private else sent_by

    def verdict(self, origin: Origin, sent_by: Reach = PUBLIC_ONLY) -> Verdict:
        """What judges the addresses of ``origin``."""
        return Verdict(self.reach(origin, sent_by), origin in self.named)


def _written(origin: Origin, private: bool) -> Reach:
    return Reach(True, private or written_place(origin.host) is Place.LOOPBACK)


@attrs.frozen(slots=True)
class Verdict:
    """Judges each address that a connection to one origin could lead to."""

    reach: Reach
    named: bool
    """Whether the settings name the origin, not an answer."""

    def judge(self, place: Place) -> None:
        """Raise :exc:`ForbiddenAddress` unless an address there may be connected to."""
        if not self.reach.allows(place):
            raise ForbiddenAddress(place, self.named)


class ForbiddenAddress(Exception):
    """A host lies where it may not: ``place``; ``named`` tells whether the settings name it."""

    def __init__(self, place: Place, named: bool) -> None:
        super().__init__(place, named)
        self.place = place
        self.named = named
