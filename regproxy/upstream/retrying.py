"""Asking once more where a connection broke before it brought an answer (R90).

Laws: an answer is an answer, whatever it says; a deadline that has passed is the end, and so is that nobody
waits any more. All tries together stay within the time that a client waits. Over any length of time the
questions that are asked again are a tenth of those that were asked, and a handful: an upstream that
is down is not asked more because of that.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from regproxy.errors import UpstreamUnreachable
from regproxy.upstream.client import Answer

_log = Logger()

RETRIES = 3
WITH_OTHERS = 1
"""Where there is another endpoint that may be asked instead."""
WHERE_CACHED = 1
"""Where it is asked whether what is cached has changed: who waits may have that instead."""
WAIT_S = 0.1
SHARE = 0.1
SPARE = 10.0


def again_in_s(retries: int, most: int, left_s: float, chance: float) -> float | None:
    """How long to wait before a question is asked again that was asked again ``retries`` times already, of
    ``most``, with ``left_s`` seconds left for all of it; ``chance`` in [0, 1) spreads those that failed
    together. None: it is not."""
    wait_s = float(WAIT_S * 2**retries * (0.5 + chance))
    return wait_s if retries < most and wait_s < left_s else None


class Spare:
    """How many questions may be asked again: SHARE of each that was asked, SPARE at most."""

    def __init__(self) -> None:
        self._left = SPARE

    def __repr__(self) -> str:
        return f"<Spare {self._left:.1f}>"

    def asked(self) -> None:
        """One more was asked for the first time."""
        self._left = min(SPARE, self._left + SHARE)

    def take(self) -> bool:
        """Whether one may be asked again; it counts then."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Retrying:
    """Asks one upstream, within ``within_s`` seconds for each question."""

    def __init__(
        self,
        clock: IReactorTime,
        within_s: float,
        spare: Spare,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._within_s = within_s
        self._spare = spare
        self._chance = chance

    def __repr__(self) -> str:
        return f"<Retrying {self._spare}>"

    def once_more(self) -> bool:
        """Whether an answer that broke off may be asked for again, as a whole and at once."""
        return self._spare.take()

    def run(self, ask: Callable[[], Coroutine[Deferred[Any], Any, Answer]], most: int) -> Deferred[Answer]:
        """The answer of the first ``ask`` that has one; the last one's error.

        Cancelled it asks no more, whatever the try that runs makes of it: a name that was being looked up
        cannot be resolved then.
        """
        left: list[bool] = []

        def leave(_: Deferred[Answer]) -> None:
            left.append(True)
            running.cancel()

        running = Deferred.fromCoroutine(self._run(ask, most, left))
        outer: Deferred[Answer] = Deferred(leave)
        running.addBoth(_tell, outer)
        return outer

    async def _run(
        self,
        ask: Callable[[], Coroutine[Deferred[Any], Any, Answer]],
        most: int,
        left: Sequence[bool],
    ) -> Answer:
        self._spare.asked()
        began_s, retries = self._clock.seconds(), 0
        while True:
            try:
                return await ask()
            except UpstreamUnreachable as error:
                if left:
                    raise CancelledError() from None
                left_s = self._within_s - (self._clock.seconds() - began_s)
                wait_s = self._again_in_s(error, retries, most, left_s)
                if wait_s is None:
                    raise
                _log.debug("{why}; asked again in {wait_s} s", why=str(error), wait_s=round(wait_s, 3))
            retries += 1
            await deferLater(self._clock, wait_s)

    def _again_in_s(self, error: UpstreamUnreachable, retries: int, most: int, left_s: float) -> float | None:
        if not error.passing:
            return None
        wait_s = again_in_s(retries, most, left_s, self._chance())
        return wait_s if wait_s is not None and self._spare.take() else None


def _tell(result: Answer | Failure, outer: Deferred[Answer]) -> None:
    if not outer.called:
        outer.callback(result)
