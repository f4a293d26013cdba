"""When one more connection is added to a transfer: by what those that it has bring.

Laws: nothing is added where nobody waits. One delayed call at most, none after :meth:`Pace.stop`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from regproxy.fill import pieces
from regproxy.fill.lines import Lines


class Paced(Protocol):
    """What is measured."""

    @property
    def connections(self) -> int:
        """How many it has."""

    @property
    def arrived(self) -> int:
        """Bytes that they have brought."""

    @property
    def backlog(self) -> int:
        """Bytes that have come and were not taken."""

    @property
    def unshared(self) -> bool:
        """Whether there are bytes that nobody brings."""

    def add(self) -> bool:
        """One more; whether it is there."""


class Pace:
    """Looks at ``paced`` in front of ``upstream`` while ``awaited`` says that somebody waits for it."""

    def __init__(
        self, paced: Paced, upstream: str, lines: Lines, clock: IReactorTime, awaited: Callable[[], bool]
    ) -> None:
        self.bytes_s = float(pieces.USUAL_PIECE_BYTES)
        """What all connections bring together; a guess until it is measured."""
        self._paced = paced
        self._upstream = upstream
        self._lines = lines
        self._clock = clock
        self._awaited = awaited
        self._before_bytes_s = 0.0
        self._mark = (clock.seconds(), 0)
        self._measured_connections = 1
        self._looking: IDelayedCall | None = None

    def begin(self) -> None:
        """As many as were worth it before, once somebody waits; from then on it is measured."""
        if not self._awaited():
            self._looking = self._clock.callLater(pieces.NEXT_LOOK_S, self.begin)
            return
        connections, self.bytes_s = self._lines.worth(self._upstream) or (1, self.bytes_s)
        while self._paced.connections < connections and self._paced.add():
            pass
        self._measure_after(pieces.FIRST_LOOK_S)

    def stop(self) -> None:
        """Look no more."""
        looking, self._looking = self._looking, None
        if looking is not None and looking.active():
            looking.cancel()

    def _look(self) -> None:
        """Add a connection while that is worth it."""
        if not self._awaited():
            self._measure_after(pieces.NEXT_LOOK_S)
            return
        look = pieces.Look(
            self._paced.connections, self._measured(), self._before_bytes_s, self._paced.backlog
        )
        if look.connections != self._measured_connections:
            if self._paced.unshared:  # else it comes to its end
                self._measure_after(pieces.NEXT_LOOK_S)
            return
        self.bytes_s = look.bytes_s
        if look.connections == 1 or look.before_bytes_s:
            self._lines.learn(self._upstream, pieces.worth(look), look.bytes_s)
        if pieces.wants_another(look, self._lines.most(self._upstream)) and self._paced.add():
            self._before_bytes_s = look.bytes_s
            self._looking = self._clock.callLater(
                pieces.SETTLING_S, self._measure_after, pieces.NEXT_LOOK_S - pieces.SETTLING_S
            )

    def _measure_after(self, seconds: float) -> None:
        self._mark = (self._clock.seconds(), self._paced.arrived)
        self._measured_connections = self._paced.connections
        self._looking = self._clock.callLater(seconds, self._look)

    def _measured(self) -> float:
        since_s, before = self._mark
        return (self._paced.arrived - before) / max(self._clock.seconds() - since_s, 0.001)
