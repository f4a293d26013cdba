"""Jobs that outlive the question that began them: few at a time, remembered for a while after their end."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from regproxy.errors import Busy, StorageFailed
from regproxy.inventory.progress import Progress

_log = Logger()

MAX_RUNNING = 4
MAX_REMEMBERED = 32
STOPPING = "the daemon is stopping"


@attrs.define(eq=False)
class Job:
    """``action`` is its name for the log. ``error``: why it ended early."""

    number: int
    action: str
    progress: Progress
    began_s: float
    working: Deferred[None] | None = None
    over: bool = False
    cancelled: bool = False
    error: str | None = None

    @property
    def state(self) -> str:
        """``running``, ``done``, ``cancelled`` or ``broken``."""
        if not self.over:
            return "running"
        return "broken" if self.error is not None else "cancelled" if self.cancelled else "done"


class Jobs:
    """By number. ``clock`` measures how long each took."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._numbers = count(1)
        self._jobs: dict[int, Job] = {}
        self._stopped = False

    def __repr__(self) -> str:
        return f"<Jobs running={self.running} remembered={len(self._jobs)}>"

    @property
    def running(self) -> int:
        """How many run."""
        return sum(not job.over for job in self._jobs.values())

    def begin(self, action: str, images: int, work: Callable[[Progress], Deferred[None]]) -> Job:
        """Start ``work``, which ends when it is cancelled. :exc:`Busy` when too many run."""
        if self._stopped:
            raise StorageFailed(STOPPING)
        if self.running >= MAX_RUNNING:
            raise Busy(f"{MAX_RUNNING} such operations run already; wait for one, or cancel it")
        job = Job(next(self._numbers), action, Progress(images), self._clock.seconds())
        self._jobs[job.number] = job
        self._forget()
        job.working = work(job.progress)
        job.working.addErrback(self._broke, job).addCallback(self._ended, job)
        return job

    def get(self, number: int) -> Job | None:
        """A job that runs, or has ended not long ago."""
        return self._jobs.get(number)

    def cancel(self, job: Job) -> None:
        """End it; nothing where it is over. Transfers that run go on to their
        end, or pause (``fill.abandon``)."""
        if job.working is not None and not job.over:
            job.cancelled = True
            job.working.cancel()

    def stop(self) -> Deferred[None]:
        """End all of them, and begin none any more."""
        self._stopped = True
        for job in list(self._jobs.values()):
            self.cancel(job)
        waiting = [job.working for job in self._jobs.values() if job.working is not None and not job.over]
        return DeferredList(waiting, consumeErrors=True).addCallback(lambda _: None)

    def _broke(self, failure: Failure, job: Job) -> None:
        if failure.check(CancelledError):
            job.cancelled = True
            return
        job.error = "a fault in the mirror; its log has it"
        _log.failure("A job broke", failure)

    def _ended(self, _: None, job: Job) -> None:
        job.over = True
        progress = job.progress
        _log.info(
            "Operation {action}, job {number}, is over ({state}): {done} of {images} images, {failed} "
            "failed, {moved} tags moved, {fetched} bytes fetched, in {seconds} s",
            action=job.action,
            number=job.number,
            state=job.state,
            done=progress.done,
            images=progress.images,
            failed=progress.failed,
            moved=progress.moved,
            fetched=progress.fetched_bytes,
            seconds=round(self._clock.seconds() - job.began_s, 1),
        )

    def _forget(self) -> None:
        for number in [number for number, job in self._jobs.items() if job.over]:
            if len(self._jobs) <= MAX_REMEMBERED:
                return
            del self._jobs[number]
