"""Child processes, bounded in time and ended by their own pid."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IProcessTransport, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from regproxy.singleflight import Waiters

MAX_OUTPUT_BYTES = 4 * 1024 * 1024

WITNESSES: list[Callable[[Child], object]] = []
"""Who is told of every process that is started here."""


@attrs.frozen(slots=True)
class Finished:
    """How a process ended. ``code`` is its exit code, or minus the signal that ended it."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Both outputs, for a message."""
        return (self.out + self.err).decode("utf-8", "replace")


class ProcessFailed(Exception):
    """A process did not do what it was started for; the message has its output."""


class Child(ProcessProtocol):
    """One process; killed ``limit_s`` seconds after its start if it still lives."""

    def __init__(self, reactor: object, argv: Sequence[str], env: Mapping[str, str], limit_s: float) -> None:
        self.argv = tuple(argv)
        self.out = bytearray()
        self.err = bytearray()
        self.finished: Finished | None = None
        self._lines: list[tuple[bytes, Deferred[None]]] = []
        self._ends: Waiters[Finished] = Waiters()
        self._reactor = reactor
        clock = cast(IReactorTime, reactor)
        self._limit: IDelayedCall = clock.callLater(limit_s, self.kill)
        self._process: IProcessTransport = cast(IReactorProcess, reactor).spawnProcess(
            self, argv[0], list(argv), env={**os.environ, **env}
        )
        for witness in WITNESSES:
            witness(self)

    @property
    def pid(self) -> int:
        """Its process id."""
        return int(self._process.pid)

    def outReceived(self, data: bytes) -> None:
        """Keep the standard output, up to MAX_OUTPUT_BYTES."""
        self.out += data[: MAX_OUTPUT_BYTES - len(self.out)]
        self._tell()

    def errReceived(self, data: bytes) -> None:
        """Keep the standard error, up to MAX_OUTPUT_BYTES."""
        self.err += data[: MAX_OUTPUT_BYTES - len(self.err)]
        self._tell()

    def said(self, text: bytes) -> Deferred[None]:
        """Fires when ``text`` is in its output; ProcessFailed when it ends before."""
        told: Deferred[None] = Deferred()
        self._lines.append((text, told))
        self._tell()
        return told

    def _tell(self) -> None:
        waiting, self._lines = self._lines, []
        for text, told in waiting:
            if text in self.out or text in self.err:
                told.callback(None)
            elif self.finished is not None:
                told.errback(Failure(ProcessFailed(f"it ended ({self.finished.code}): {self.finished.text}")))
            else:
                self._lines.append((text, told))

    def ended(self) -> Deferred[Finished]:
        """Fires at its end; at once when it has ended."""
        waiter = self._ends.add()
        if self.finished is not None:
            self._ends.fire(self.finished)
        return waiter

    def signal(self, name: str) -> None:
        """Send it ``TERM``, ``KILL``, ...; nothing when it has ended."""
        try:
            self._process.signalProcess(name)
        except ProcessExitedAlready:
            return

    def kill(self) -> None:
        """End it now."""
        self.signal("KILL")

    def stop(self, patience_s: float = 5.0) -> Deferred[Finished]:
        """TERM, then KILL after ``patience_s``; its end."""
        return Deferred.fromCoroutine(self._stop(patience_s))

    async def _stop(self, patience_s: float) -> Finished:
        self.signal("TERM")
        last = cast(IReactorTime, self._reactor).callLater(patience_s, self.kill)
        try:
            return await self.ended()
        finally:
            if last.active():
                last.cancel()

    def processEnded(self, reason: Failure) -> None:
        """Tell everybody who waits."""
        if self._limit.active():
            self._limit.cancel()
        code = 0
        if isinstance(reason.value, ProcessTerminated):
            code = -reason.value.signal if reason.value.signal else int(reason.value.exitCode or 0)
        self.finished = Finished(code, bytes(self.out), bytes(self.err))
        self._tell()
        self._ends.fire(self.finished)


def run(
    reactor: object, argv: Sequence[str], *, env: Mapping[str, str] | None = None, limit_s: float = 60.0
) -> Deferred[Finished]:
    """Run a command to its end; it is killed after ``limit_s``, and when the Deferred is cancelled."""
    return Deferred.fromCoroutine(_run(Child(reactor, argv, env or {}, limit_s)))


async def _run(child: Child) -> Finished:
    try:
        return await child.ended()
    finally:
        child.kill()
