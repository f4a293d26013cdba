"""Holds requests for content until what must come before them is over."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed


class Gate:
    """Shut until :meth:`open`, which is for ever. As many wait as there are connections, at most."""

    def __init__(self, *, is_open: bool = False) -> None:
        self.is_open = is_open
        self._waiting: list[Deferred[None]] = []

    def passed(self) -> Deferred[None]:
        """Fires when the gate is open; in the order in which it was asked."""
        if self.is_open:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def open(self) -> None:
        """Let everybody pass from now on."""
        self.is_open = True
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)
