"""From whom a transfer asks for bytes: one source at a time, by pieces where its upstream serves them.

Laws: what an upstream answers is remembered for all that ask it. Another source is gone over to only
when this one has failed for good, and then it is asked for all the rest at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from regproxy.errors import (
    Denied,
    NotFound,
    RangeIgnored,
    Throttled,
    UpstreamDown,
    UpstreamError,
    UpstreamSlow,
)
from regproxy.fill.lines import Lines
from regproxy.fill.retries import ask_again_after_s
from regproxy.fill.source import Source
from regproxy.fill.tail import Tail
from regproxy.interfaces import IBody

_log = Logger()


class Supply:
    """``tail`` says how ``source`` gives a piece, and which endpoint does. ``another`` gives the source to
    go on from when it has failed for good; ``faster`` one over another line than that of a slow one."""

    def __init__(
        self,
        source: Source,
        tail: Tail,
        lines: Lines,
        clock: IReactorTime,
        another: Callable[[], Source | None],
        faster: Callable[[Source], Source | None],
    ) -> None:
        self.source = source
        self.upstream = source.repository.upstream
        """Whose connections are counted, from the beginning to the end."""
        self._server = tail.endpoint or self.upstream
        """Of whom is remembered that it serves no ranges."""
        self._size = tail.size
        self._piece = None if source.plain or lines.refused(self._server) else tail.piece
        self._lines = lines
        self._clock = clock
        self._another = another
        self._faster = faster

    def __repr__(self) -> str:
        return f"<Supply {self.source.repository} by_pieces={self.by_pieces}>"

    @property
    def by_pieces(self) -> bool:
        """Whether it may be asked for a piece; else it gives all from an offset on."""
        return self._piece is not None

    @property
    def goes_on(self) -> bool:
        """Whether there is a way to read on where a connection broke."""
        return self.source.resume is not None

    def open(self, start: int, stop: int) -> Deferred[IBody]:
        """The bytes from ``start`` on, up to ``stop`` at least."""
        if self._piece is not None:
            return self._piece(start, stop)
        assert self.source.resume is not None, "only who can read on comes here"
        return self.source.resume(start, self._size)

    def learn(self, error: BaseException) -> None:
        """A connection failed with ``error``."""
        if isinstance(error, RangeIgnored):
            self._piece = None
            self._lines.refuse(self._server)
        if isinstance(error, NotFound | Denied):
            self.source.taken_back = error
        if isinstance(error, Throttled):
            self._lines.leave_alone(self.upstream, error.retry_after_s)

    def has_faster(self) -> bool:
        """Whether there is a source over a line that is not known to be slow."""
        return self._faster(self.source) is not None

    def leave(self) -> bool:
        """This one is slow: all that is asked for from now on comes from another; whether there is one.
        It has not failed, and is gone back to when that one does."""
        other = self._faster(self.source)
        if other is None:
            return False
        slow = self.source.repository
        self._lines.slow(slow.upstream)
        _log.warn("{slow} is slow; it goes on from {other}", slow=str(slow), other=str(other.repository))
        self.source, self._piece = other, None
        return True

    async def recover(self, error: UpstreamError, failures: int) -> int:
        """Wait before it is asked again, or go over to another source; the failures that count from now
        on. Raises ``error`` when nobody is left."""
        if isinstance(error, UpstreamSlow):
            return 0  # whoever left it has seen to it that the next one asked is another
        ignored = isinstance(error, RangeIgnored) and self.by_pieces
        self.learn(error)
        if ignored:
            return failures
        wait_s = ask_again_after_s(error, failures, random.random())
        if wait_s is not None and not isinstance(error, UpstreamDown):
            await deferLater(self._clock, wait_s)
            return failures
        self.source.error = error
        other = self._another()
        if other is None:
            if wait_s is None:
                raise error
            self.source.error = None  # it may be back by then, and nobody else is there
            await deferLater(self._clock, wait_s)
            return failures
        _log.warn("{error}; it goes on from {other}", error=str(error), other=str(other.repository))
        self.source, self._piece = other, None
        return 0
