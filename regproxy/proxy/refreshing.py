"""Questions that nobody waits for: a tag in its grace is served at once and asked about behind.

Laws: so many at a time, and where there are more the next request asks again. What failed is left alone
for a while, so that an upstream in trouble is not asked at the rate of our clients. A failure is nobody's:
the room that met it has said so in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from regproxy.errors import RegproxyError

MAX_BEHIND = 64
PAUSE_S = 10.0
MAX_PAUSED = 1024
_log = Logger()


class Refreshing:
    """What is asked behind, by key."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._running: set[Hashable] = set()
        self._failed: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, key: Hashable, ask: Callable[[], Deferred[Any]]) -> None:
        """``ask``, unless that is under way, has just failed, or too much else is under way."""
        if key in self._running or len(self._running) >= MAX_BEHIND or self._pauses(key):
            return
        self._running.add(key)
        maybeDeferred(ask).addCallbacks(lambda _: None, self._fail, errbackArgs=(key,)).addBoth(
            self._end, key
        )

    def _pauses(self, key: Hashable) -> bool:
        failed_s = self._failed.get(key)
        if failed_s is None:
            return False
        if self._clock.seconds() - failed_s < PAUSE_S:
            return True
        del self._failed[key]
        return False

    def _fail(self, failure: Failure, key: Hashable) -> None:
        if failure.check(RegproxyError) is None:
            _log.failure("A tag could not be asked about", failure)
        while len(self._failed) >= MAX_PAUSED:
            del self._failed[next(iter(self._failed))]
        self._failed[key] = self._clock.seconds()

    def _end(self, _: object, key: Hashable) -> None:
        self._running.discard(key)
