"""What a fill shows: to its readers, to the table, to those who watch."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from twisted.internet.interfaces import IReactorTime

from regproxy.errors import ContentMismatch
from regproxy.fill.audience import Audience
from regproxy.fill.copy import Copy
from regproxy.fill.passing import Onward
from regproxy.fill.plan import is_worth_keeping
from regproxy.fill.ranges import Ranges
from regproxy.fill.readers import FillReader
from regproxy.fill.relay import Relay
from regproxy.fill.source import Source, Sources
from regproxy.interfaces import IFile
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository


class State(enum.Enum):
    """Where a fill is; the module's diagram says what leads where."""

    OPENING = "opening"
    RUNNING = "running"
    VERIFIED = "verified"
    PASSING = "passing"
    DONE = "done"
    FAILED = "failed"


class FillView:
    """The state of a fill and all that can be asked of it; :class:`~regproxy.fill.fill.Fill` moves it."""

    def __init__(
        self,
        digest: Digest,
        clock: IReactorTime,
        revoked_s: Callable[[Repository], float],
        is_slow: Callable[[str], bool],
    ) -> None:
        self.digest = digest
        self.state = State.OPENING
        self.started_s = clock.seconds()
        self.size: int | None = None
        self.front = 0
        self.epoch = 0
        self.failure: BaseException | None = None
        self.onward: Onward | None = None
        self.kept = False
        """Whether the disk has it now."""
        self._relay: Relay | None = None
        self._sources = Sources(revoked_s, is_slow)
        self._current: Source | None = None
        self._audience = Audience(clock, self._left)
        self._copy = Copy(digest)
        self._over = False
        self._ranges: Ranges | None = None
        self.asked_for = False
        """Whether a client has asked for it, and not only what looks ahead."""
        self._awaited = 0
        """How many wait for its end, and read nothing."""
        self.pausing = False
        """Whether it is being ended since nobody reads it."""

    def __repr__(self) -> str:
        return (
            f"<Fill {self.digest} {self.state.value} {self.front}/{self.size}"
            f" sources={len(self._sources)} readers={self.reader_count}>"
        )

    @property
    def verified(self) -> bool:
        """Whether size and hash of what is on disk have been found right."""
        return self.onward is None and self.state in (State.VERIFIED, State.DONE)

    @property
    def begun(self) -> bool:
        """Whether headers are in hand and the bytes come."""
        return self.state not in (State.OPENING, State.FAILED)

    @property
    def joinable(self) -> bool:
        """Whether a new reader can still be served by it; after its end the disk has it, or nobody."""
        if self.pausing:
            return False
        if self._relay is not None:
            return self._relay.running and self._relay.covers(0)
        return self.state not in (State.DONE, State.FAILED)

    @property
    def leaves_some(self) -> bool:
        """Whether it is over for everybody, and leaves what the next fill can go on from."""
        there = 0 if self._ranges is None else self._ranges.there.total
        return self.pausing or is_worth_keeping(self.failure, there, self._copy.resumed)

    @property
    def followed(self) -> bool:
        """Whether anybody reads it, or waits for it to begin or for its end."""
        return self._audience.is_needed or self._awaited > 0

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Meanwhile somebody waits for its end: it does not pause, though nobody reads it."""
        self._awaited += 1
        try:
            yield
        finally:
            self._awaited -= 1
            self._left()

    def is_of(self, repository: Repository) -> bool:
        """Whether it is fetched for ``repository``, among others."""
        return any(source.repository == repository for source in self._sources)

    @property
    def reader_count(self) -> int:
        """How many read it now."""
        return self._audience.reader_count

    @property
    def repository(self) -> Repository | None:
        """Where the bytes come from now, or will come from first; None before anybody joined."""
        sources = iter(self._sources)
        current = self._current or next(sources, None)
        return None if current is None else current.repository

    @property
    def arrived(self) -> int:
        """How many bytes have come, those that pass included."""
        return self.front if self._relay is None else max(self.front, self._relay.window.front)

    def serves(self, repository: Repository) -> bool:
        """Whether readers of ``repository`` may join without a proof of their own."""
        return self._sources.admits(repository)

    def size_for(self, repository: Repository) -> int | None:
        """The size, as far as ``repository`` may rely on it: its own upstream's word, or verified."""
        own = self._current is not None and self._current.repository == repository
        return self.size if self.verified or (own and self.begun) else None

    def file(self) -> IFile | None:
        """A descriptor of the present spool; None while there is none. StorageFailed."""
        return self._copy.duplicate() if self.begun else None

    def reach(self, offset: int) -> int:
        """How far a part may be read from ``offset`` on: what is there, be it behind the front."""
        there = offset if self._ranges is None else self._ranges.there.reach(offset)
        return max(self.front, there)

    def want(self, start: int, stop: int | None) -> None:
        """A reader of a part waits for bytes at ``start``."""
        if self._ranges is not None and self.size is not None:
            self._ranges.want(start, self.size if stop is None else stop)

    def leave(self, reader: FillReader) -> None:
        """A reader is closed."""
        self._audience.leave(reader)

    def wrong(self) -> ContentMismatch:
        """What a reader is told whose bytes were wrong."""
        upstream = self._current.repository.upstream if self._current is not None else "?"
        if self._current is not None and self._current.local:
            return ContentMismatch(
                upstream, f"the mirror's own copy is not {self.digest}; it is moved to quarantine/"
            )
        return ContentMismatch(upstream, f"sent bytes that are not {self.digest}; nothing was kept")

    def _left(self) -> None:
        """Somebody needs it no more."""
        self._close_unused_file()

    def _close_unused_file(self) -> None:
        """Who has not yet gone over from a rejected spool still needs it, after the end too."""
        if self._over and not self._audience.follows:
            self._copy.close_file()
