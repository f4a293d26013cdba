"""How late the reactor is: what holds it delays everybody."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

EVERY_S = 0.25


class LagMeter:
    """A timer that is told to ``seen`` how late it came, in seconds.

    ``monotonic`` measures, since the reactor's own clock may be set.
    """

    def __init__(
        self, clock: IReactorTime, monotonic: Callable[[], float], seen: Callable[[float], None]
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._seen = seen
        self._due_s = 0.0
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Look four times a second from now on."""
        self._due_s = self._monotonic() + EVERY_S
        self._call = self._clock.callLater(EVERY_S, self._look)

    def stop(self) -> None:
        """Look no more; idempotent."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _look(self) -> None:
        self._seen(max(0.0, self._monotonic() - self._due_s))
        self.start()
