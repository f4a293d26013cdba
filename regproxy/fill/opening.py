"""The first answer of a fill's sources: they are asked in their order, but not behind one that is silent.

Laws: each source is asked once at a time. Beside a silent one another upstream's is asked, after
PATIENCE_S, MOST_ASKED at most. The first that gives headers is used, and nothing is read of the others:
what they answer later gives their repositories their right, or takes it. All that is asked is let go of
before :meth:`Opening.stop` fires.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from regproxy.errors import RegproxyError, StorageFailed
from regproxy.fill.source import Source, Sources
from regproxy.interfaces import IBlob, ISpool
from regproxy.singleflight import Waiters

_log = Logger()

PATIENCE_S = 1.5
"""Most upstreams answer in a tenth of it; one that does not may be in trouble for all of 12 s."""
MOST_ASKED = 3

Opened: TypeAlias = tuple[Source, ISpool | StorageFailed, IBlob]


def ask_in_s(asked_s: Mapping[str, float], upstream: str, now_s: float) -> float | None:
    """In how many seconds a source of ``upstream`` is to be asked, where other upstreams were asked at
    ``asked_s`` and have said nothing; None: not before one of them has."""
    if not asked_s:
        return 0.0
    if upstream in asked_s or len(asked_s) >= MOST_ASKED:
        return None
    return max(0.0, max(asked_s.values()) + PATIENCE_S - now_s)


class Opening:
    """``heard`` is told of each source that is not used: why it failed, or None where it has shown that it
    has the blob."""

    def __init__(
        self,
        clock: IReactorTime,
        sources: Sources,
        heard: Callable[[Source, RegproxyError | None], None],
    ) -> None:
        self._clock = clock
        self._sources = sources
        self._heard = heard
        self._asked: dict[Source, float] = {}
        self._running: dict[Source, Deferred[None]] = {}
        self._news: Waiters[None] = Waiters()
        self._wanted = False
        self._answer: Opened | None = None
        self._fault: BaseException | None = None

    def __repr__(self) -> str:
        return f"<Opening of {[str(source.repository) for source in self._asked]}>"

    def is_awaited(self, source: Source) -> bool:
        """Whether its right is not shown, and depends on an answer that is still to come."""
        return source in self._asked and source.since_s is None

    def poke(self) -> None:
        """There may be one more source."""
        self._news.fire(None)

    async def first(self) -> Opened:
        """The first to answer; raises why the last one failed when none is left. One call at a time."""
        self._wanted = True
        try:
            while self._answer is None:
                wait_s = self._ask()
                if self._answer is None:
                    await self._wait(wait_s)
                if self._fault is not None:
                    raise self._fault
        finally:
            self._wanted = False
        answer, self._answer = self._answer, None
        return answer

    async def settled(self) -> None:
        """Wait until all have answered on whom a repository's right depends."""
        while any(map(self.is_awaited, self._asked)):
            await self._news.add()

    async def stop(self) -> None:
        """Ask no more, and let go of what was asked and of what nobody took."""
        answer, self._answer = self._answer, None
        if answer is not None:
            await _let_go(answer[1], answer[2])
        for running in list(self._running.values()):
            running.cancel()
        while self._asked:
            await self._news.add()

    def _ask(self) -> float | None:
        """Ask whom it is time to ask; in how many seconds to look again, None: when there is news."""
        while self._answer is None and self._fault is None:
            source = self._sources.untried(self._asked)
            if source is None and not self._asked:
                source = self._sources.next()  # which raises, there being none
            if source is None or any(asked.local for asked in self._asked):
                return None
            since_s = {asked.repository.upstream: at_s for asked, at_s in self._asked.items()}
            wait_s = ask_in_s(since_s, source.repository.upstream, self._clock.seconds())
            if wait_s != 0:
                return wait_s
            if self._asked:
                _log.info("{asked} is asked beside one that is silent", asked=str(source.repository))
            self._begin(source)
        return None

    async def _wait(self, wait_s: float | None) -> None:
        timer = None if wait_s is None else self._clock.callLater(wait_s, self._news.fire, None)
        try:
            await self._news.add()
        finally:
            if timer is not None and timer.active():
                timer.cancel()

    def _begin(self, source: Source) -> None:
        self._asked[source] = self._clock.seconds()
        running = Deferred.fromCoroutine(self._open(source))
        if not running.called:
            self._running[source] = running
        running.addErrback(self._broke).addCallback(self._over, source)

    async def _open(self, source: Source) -> None:
        try:
            spool, blob = await source.begin()
        except RegproxyError as error:
            source.error = error
            self._asked.pop(source)
            self._heard(source, error)
            return
        source.shown = True
        if self._wanted and self._answer is None:
            self._answer = source, spool, blob
            return
        await _let_go(spool, blob)
        self._asked.pop(source)
        self._heard(source, None)

    def _broke(self, failure: Failure) -> None:
        """A fault of ours, for who waits; or it was cancelled, since nobody waits any more."""
        if self._wanted:
            self._fault = failure.value
        elif not failure.check(CancelledError):
            _log.failure("a source broke that nobody waited for", failure)

    def _over(self, _: None, source: Source) -> None:
        self._asked.pop(source, None)
        self._running.pop(source, None)
        self._news.fire(None)


async def _let_go(spool: ISpool | StorageFailed, blob: IBlob) -> None:
    blob.close()
    if isinstance(spool, StorageFailed):
        return
    try:
        await (spool.discard() if spool.left is None else spool.keep())
    except StorageFailed as error:
        if not error.told:
            _log.error("{digest}: {error}", digest=str(spool.digest), error=error.message)
