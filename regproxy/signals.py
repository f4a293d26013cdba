"""What the daemon hears from outside while it runs and while it ends.

The first SIGTERM or SIGINT is Twisted's. Another one, be it at the same moment, would be a traceback
there, and changes nothing: the end comes within 10 s.
"""

from __future__ import annotations

import signal
from typing import Any

from twisted.logger import Logger


class Signals:
    """The handlers, and what they were before."""

    log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._former: dict[int, Any] = {}
        self._asked = False

    def listen(self) -> None:
        """A hangup is answered by a line, a signal that rotates other programs' logs by none; their
        defaults would kill. twistd has its own handler for SIGUSR1 where it rotates its own file."""
        self._take(signal.SIGHUP, self._hangup)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            if signal.getsignal(number) is signal.SIG_DFL:
                self._take(number, signal.SIG_IGN)

    def running(self) -> None:
        """The reactor has its own handlers now: each of them hears of the first signal only."""
        if self._former:
            for number in (signal.SIGTERM, signal.SIGINT):
                if callable(signal.getsignal(number)):
                    self._take(number, self._first)

    def ending(self) -> None:
        """From now on nothing cuts the end short; does nothing where nobody listens."""
        if self._former:
            self._take(signal.SIGHUP, signal.SIG_IGN)
            self._take(signal.SIGTERM, self._again)
            self._take(signal.SIGINT, self._again)

    def restore(self) -> None:
        """As it was before :meth:`listen`."""
        while self._former:
            signal.signal(*self._former.popitem())

    def _take(self, number: int, handler: Any) -> None:
        former = signal.signal(number, handler)
        self._former.setdefault(number, former)

    def _hangup(self, number: int, frame: object) -> None:
        self._say("SIGHUP: reload is not supported yet, restart to apply changed settings")

    def _first(self, number: int, frame: object) -> None:
        if self._asked:
            self._again(number, frame)
            return
        self._asked = True
        self._former[number](number, frame)

    def _again(self, number: int, frame: object) -> None:
        self._say("it ends already; SIGKILL ends it at once")

    def _say(self, line: str) -> None:
        self._reactor.callFromThread(self.log.warn, "{line}", line=line)
