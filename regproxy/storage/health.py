"""Does the disk take writes? One voice for all its refusals, however many blobs they concern.

Laws: trouble begins with the first refusal and is one line in the log; it ends when a test write
works and nothing was refused for a while, and that is one line too. A disk that wavers is believed
later each time. A blob that is larger than a roomy disk is that blob's trouble, not the disk's.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from regproxy.errors import RegproxyError
from regproxy.storage import durable
from regproxy.storage.layout import Layout
from regproxy.storage.refusals import reason_of, words_of

_log = Logger()

PROBE_S = 30.0
LONGEST_QUIET_S = 960.0
RELAPSE_S = 600.0
"""Trouble that comes back within this after its end needs twice the quiet to end again."""

ROOMY_BYTES = 1 << 30
ROOMY_FILES = 1000

_TROUBLE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.ENXIO, errno.ENODEV}
)

_TO_DO = {
    "full": "make room on it, or give storage.root a larger one",
    "read-only": "see the kernel's log for why, then mount it writable",
    "other": "see the kernel's log, and whom the folder belongs to",
}

PROBE_BYTES = 1 << 20

Probe = Callable[[], Deferred[OSError | None]]


def probe(layout: Layout) -> OSError | None:
    """Why the folders of ours take no writes now; None when they do. In the writer thread."""
    try:
        for folder in (layout.root, layout.blobs, layout.repositories):
            if folder.is_dir():
                durable.try_write(folder, 1)
        durable.try_write(layout.fills, PROBE_BYTES)  # it is made when it is not there
    except OSError as error:
        return error
    return None


@attrs.frozen(slots=True)
class Trouble:
    """``reason`` is ``full``, ``read-only`` or ``other``; ``words`` say it to a person."""

    reason: str
    words: str
    began_s: float
    """By the clock that was given."""


class DiskHealth:
    """What is known of the disk below ``root``. ``probe`` tries to write, and tells what refuses.

    ``counted`` is told the reason of each refusal. Nothing is asked of the disk while all is well.
    """

    def __init__(self, root: Path, clock: IReactorTime, probe: Probe) -> None:
        self.trouble: Trouble | None = None
        self.counted: Callable[[str], object] = _nobody_counts
        self._root = root
        self._clock = clock
        self._probe = probe
        self._refusals = 0
        self._last_s = 0.0
        self._ended_s: float | None = None
        self._quiet_s = PROBE_S
        self._timer: IDelayedCall | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<DiskHealth {self.trouble} refusals={self._refusals}>"

    @property
    def reason(self) -> str | None:
        """A sentence while the disk takes no writes, None while it does."""
        if self.trouble is None:
            return None
        since_s = int(self._clock.seconds() - self.trouble.began_s)
        return f"the storage folder takes no writes: {self.trouble.words}, for {since_s} s"

    def refused(self, error: OSError) -> bool:
        """A write failed with ``error``; whether it is the disk's trouble, and thus has been told."""
        if self._closed or error.errno not in (*_TROUBLE, errno.EFBIG):
            return False
        self.counted(reason_of(error))
        if error.errno == errno.EFBIG or self._is_roomy(error):
            return False
        self._refusals += 1
        self._last_s = self._clock.seconds()
        if self.trouble is None:
            self._begin(error)
        return True

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _begin(self, error: OSError) -> None:
        now_s = self._last_s
        relapsed = self._ended_s is not None and now_s - self._ended_s < RELAPSE_S
        self._quiet_s = min(2 * self._quiet_s, LONGEST_QUIET_S) if relapsed else PROBE_S
        self._refusals = 1
        self.trouble = Trouble(reason_of(error), words_of(error), now_s)
        _log.error(
            "{root} takes no writes: {words}, {room}. Pulls go on: what is there is served, the rest "
            "passes through and is not kept. To do: {to_do}. It is tried again every {every} s.",
            root=str(self._root),
            words=self.trouble.words,
            room=self._room_in_words(),
            to_do=_TO_DO[self.trouble.reason],
            every=int(PROBE_S),
        )
        self._wait()

    def _wait(self) -> None:
        if not self._closed:
            self._timer = self._clock.callLater(PROBE_S, self._look)

    def _look(self) -> None:
        self._probe().addCallback(self._looked).addErrback(self._could_not_look)

    def _looked(self, error: OSError | None) -> None:
        trouble, now_s = self.trouble, self._clock.seconds()
        if error is not None or trouble is None or now_s - self._last_s < self._quiet_s:
            self._wait()
            return
        self.trouble, self._ended_s = None, now_s
        _log.info(
            "{root} takes writes again, after {seconds} s and {count} refusals: content is kept again",
            root=str(self._root),
            seconds=int(now_s - trouble.began_s),
            count=self._refusals,
        )

    def _could_not_look(self, failure: Failure) -> None:
        """The store is closed, and with it the thread that would have looked."""
        failure.trap(RegproxyError)

    def _is_roomy(self, error: OSError) -> bool:
        """Whether there is so much room that only this blob was too large for it."""
        if error.errno != errno.ENOSPC:
            return False
        try:
            room = os.statvfs(self._root)
        except OSError:
            return False
        files = room.f_files == 0 or room.f_favail >= ROOMY_FILES
        return files and room.f_bavail * room.f_frsize >= ROOMY_BYTES

    def _room_in_words(self) -> str:
        try:
            room = os.statvfs(self._root)
        except OSError:
            return "how much is free cannot be told"
        files = f", room for {room.f_favail} files" if room.f_files and room.f_favail < ROOMY_FILES else ""
        return f"{room.f_bavail * room.f_frsize / (1 << 20):.0f} MiB free{files}"


def _nobody_counts(reason: str) -> None:
    """Nobody counts."""
