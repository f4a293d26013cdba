"""Who waits for a fill to begin, who has been given its blob, who reads it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from regproxy.errors import StorageFailed
from regproxy.fill.pokes import Pokes
from regproxy.fill.readers import FillBlob, FillReader, Growing
from regproxy.interfaces import How, IBlob, IFile
from regproxy.oci.repository import Repository
from regproxy.singleflight import Waiters


class Audience:
    """The clients of one fill, by their repository while they wait. ``left`` is called when a reader,
    or a blob that nobody will read, is gone."""

    def __init__(self, clock: IReactorTime, left: Callable[[], None]) -> None:
        self._left = left
        self._waiting: dict[Repository, Waiters[IBlob]] = {}
        self._readers: set[FillReader] = set()
        self._blobs: set[FillBlob] = set()
        self._pokes = Pokes(clock)

    @property
    def reader_count(self) -> int:
        """How many read now."""
        return len(self._readers)

    @property
    def follows(self) -> bool:
        """Whether anybody may still need the spool."""
        return bool(self._readers or self._blobs)

    @property
    def is_needed(self) -> bool:
        """Whether anybody follows it, or waits for it to begin."""
        return self.follows or any(self._waiting.values())

    def wait(self, repository: Repository) -> Deferred[IBlob]:
        """Fires when :meth:`serve` is called; cancelling it concerns nobody else."""
        return self._waiting.setdefault(repository, Waiters()).add()

    def serve(
        self, make: Callable[[How], IBlob], waits_on: Callable[[Repository], bool] = lambda repository: False
    ) -> None:
        """Everyone who waits gets the blob that ``make`` gives, or its StorageFailed; but for those whose
        repository ``waits_on`` an answer of its own."""
        waiting = {one: waiters for one, waiters in self._waiting.items() if not waits_on(one)}
        self._waiting = {one: waiters for one, waiters in self._waiting.items() if one not in waiting}
        how = How.MISS
        for waiters in waiting.values():
            while waiters:
                try:
                    blob = make(how)
                except StorageFailed as error:
                    waiters.fail_one(error)
                else:
                    waiters.fire_one(blob)
                    how = How.JOINED

    def refuse(self, repository: Repository, error: BaseException) -> None:
        """Those of one repository wait in vain."""
        self._waiting.pop(repository, Waiters()).fail(error)

    def refuse_all(self, why: Callable[[Repository], BaseException]) -> None:
        """All that wait are told why."""
        waiting, self._waiting = self._waiting, {}
        for repository, waiters in waiting.items():
            waiters.fail(why(repository))

    def seat(self, fill: Growing, file: IFile, how: How) -> FillBlob:
        """A blob of ``fill`` for one more, who gets ``file``."""
        blob = FillBlob(fill, file, how, self._readers.add, self._leave_blob)
        self._blobs.add(blob)
        return blob

    def leave(self, reader: FillReader) -> None:
        """A reader is closed."""
        self._readers.discard(reader)
        self._left()

    def _leave_blob(self, blob: FillBlob) -> None:
        self._blobs.discard(blob)
        self._left()

    def poke(self) -> None:
        """There is news for all."""
        self._pokes.add(*self._blobs, *self._readers)
