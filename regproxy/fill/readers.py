"""Readers of a fill: each follows the growing file at its own pace.

Laws: a reader owns one open file, its own, and closes it in :meth:`FillReader.close`, or when it
needs it no more. It reads nothing past the limit that the plan gives it. A slow reader delays nobody;
a reader that leaves stops nothing. When the fill begins anew from another source, a reader that has
given out no byte follows the new file; one that has fails, since what it gave out was wrong. Where
the disk refuses, it reads its file to the end and goes on by a relay.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from regproxy.errors import ContentMismatch, StorageFailed, TransferStopped
from regproxy.fill.passing import Onward, PassingReader
from regproxy.fill.plan import covers_whole, readable_limit
from regproxy.interfaces import How, IBlob, IBody, IFile, IFileBody

Moved = TypeVar("Moved")

WARM_BYTES = 8 * 1024 * 1024
"""How much is read ahead, in a thread, when a reader comes to bytes that left the memory."""


class Growing(Protocol):
    """What a reader sees of its fill."""

    size: int | None
    front: int
    epoch: int
    """Counts the spools: another number means that all bytes before it are void."""
    failure: BaseException | None
    onward: Onward | None
    """How to go on behind the front, where the disk has refused; what is before it stays true."""

    @property
    def verified(self) -> bool:
        """Whether size and hash have been found right."""

    @property
    def begun(self) -> bool:
        """Whether headers are in hand and a spool takes the bytes."""

    def file(self) -> IFile | None:
        """A descriptor of the present spool, the reader's own; None while there is none."""

    def reach(self, offset: int) -> int:
        """How far a part may be read from ``offset`` on."""

    def want(self, start: int, stop: int | None) -> None:
        """A reader of a part waits for bytes at ``start``, up to ``stop`` at most."""

    def leave(self, reader: FillReader) -> None:
        """The reader is closed."""

    def wrong(self) -> ContentMismatch:
        """The error for a reader whose bytes turned out to be wrong."""


@implementer(IFileBody)
class FillReader:
    """The bytes ``start`` to ``stop`` of a blob that is still arriving."""

    def __init__(
        self, fill: Growing, file: IFile, epoch: int, start: int, stop: int | None, size: int | None
    ) -> None:
        """``size`` is what the reader was told when the blob was opened."""
        self._fill = fill
        self._size = size
        self._whole = covers_whole(start, stop, size)
        self._start = self._offset = start
        self._stop = stop if stop is not None else size
        self._epoch = epoch
        self._file: IFile | None = file
        self._closed = False
        self._cold = False
        self._edge = 0
        self._rest: PassingReader | None = None
        self._pending: Deferred[None] | None = None

    def __repr__(self) -> str:
        return f"<FillReader at {self._offset} of {self._start}-{self._stop}>"

    def read(self, max_bytes: int) -> bytes | None:
        """As :meth:`IBody.read`."""
        rest = self._beyond()
        if rest is not None:
            return self._moved(rest, rest.read(max_bytes))
        file, room = self._follow(), self._room()
        if file is None or room is None:
            return None
        data = b"" if room == 0 else file.read_at(self._offset, min(max_bytes, room))
        self._advance(None if data is None else len(data))
        return data

    def send_file(self, socket_fd: int, max_bytes: int) -> int | None:
        """As :meth:`IFileBody.send_file`."""
        rest = self._beyond()
        if rest is not None:
            return self._moved(rest, rest.send(socket_fd, max_bytes))
        file, room = self._follow(), self._room()
        if file is None or room is None:
            return None
        sent = 0 if room == 0 else file.send_at(socket_fd, self._offset, min(max_bytes, room))
        self._advance(sent)
        return sent

    def ready(self) -> Deferred[None]:
        """As :meth:`IBody.ready`."""
        if self._cold and self._file is not None:
            self._cold = False
            return self._file.warm(self._offset, min(WARM_BYTES, self._limit() - self._offset))
        if self._rest is not None:
            return self._rest.wait(self._offset)
        if not self._stuck():
            return succeed(None)
        pending: Deferred[None] = Deferred(self._forget)
        self._pending = pending
        if not self._whole and self._offset > self._fill.front:
            self._fill.want(self._offset, self._stop)
        return pending

    def poke(self) -> None:
        """The fill has news: wake whoever waits for bytes, if there are any for this reader."""
        if self._offset == self._start:
            self._go_over()
        if self._pending is not None and not self._stuck():
            pending, self._pending = self._pending, None
            pending.callback(None)

    def close(self) -> None:
        """As :meth:`IBody.close`."""
        if self._closed:
            return
        self._closed = True
        self._close_file()
        if self._rest is not None:
            self._rest.close()
        self._fill.leave(self)
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.errback(Failure(TransferStopped("the reader closed the body")))

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _forget(self, _pending: Deferred[None]) -> None:
        self._pending = None

    def _beyond(self) -> PassingReader | None:
        """Who brings the next bytes, where they are not in the file."""
        onward = self._fill.onward
        if onward is None or self._closed or self._fill.failure is not None:
            return None
        if self._rest is None and (self._epoch != self._fill.epoch or self._offset >= self._limit()):
            if self._ended():
                return None
            self._rest = self._go_on(onward)
        if self._rest is None or self._offset < self._edge:
            return None
        self._close_file()  # the disk that refused has the room of its bytes with the last reader
        return self._rest

    def _go_on(self, onward: Onward) -> PassingReader:
        """The file is read as far as it goes; one whose bytes turned out wrong counts for nothing."""
        if self._epoch == self._fill.epoch:
            self._edge = max(self._offset, onward.point.offset)
        elif self._offset != self._start or self._fill.size != self._size:
            raise self._fill.wrong()
        else:
            self._edge = self._start
        rest = onward.reader(self._edge, self._stop, self._whole)
        rest.follow()
        return rest

    def _moved(self, rest: PassingReader, given: Moved) -> Moved:
        self._offset = rest.offset
        return given

    def _follow(self) -> IFile | None:
        """The file to read from, None until there is a new one; raises what ended this reader."""
        if self._closed:
            raise TransferStopped("the body is closed")
        if self._fill.failure is not None:
            raise self._fill.failure
        if self._epoch != self._fill.epoch:
            return self._begin_anew()
        return self._file

    def _begin_anew(self) -> IFile | None:
        """Go over to the new spool, unless something of the old one was given out."""
        fill = self._fill
        if self._offset != self._start or (fill.begun and fill.size != self._size):
            raise fill.wrong()
        newer = newer_file(fill, self._epoch, self._size)
        if newer is None and fill.begun:
            raise TransferStopped("the transfer that this body followed has ended")
        if newer is None:
            return None
        self._close_file()
        self._file, self._epoch = newer, fill.epoch
        return newer

    def _go_over(self) -> None:
        """The same while the new spool is open: a committed one gives no more files. Where the
        descriptors have run out, read() says so."""
        if not self._closed and self._rest is None and self._epoch != self._fill.epoch:
            with contextlib.suppress(StorageFailed, ContentMismatch, TransferStopped):
                self._begin_anew()

    def _room(self) -> int | None:
        """How many bytes may be given out now; 0 at the end, None: not yet any."""
        if self._ended():
            return 0
        room = self._limit() - self._offset
        return room if room > 0 else None

    def _advance(self, given: int | None) -> None:
        self._cold = given is None
        self._offset += given or 0

    def _limit(self) -> int:
        fill = self._fill
        if self._rest is not None:
            return min(self._edge, self._rest.limit())
        front = fill.front if self._whole else fill.reach(self._offset)
        limit = readable_limit(front, fill.size, self._whole, fill.verified)
        return limit if self._stop is None else min(limit, self._stop)

    def _ended(self) -> bool:
        if self._whole and not self._fill.verified:
            return False
        if self._stop is not None:
            return self._offset >= self._stop
        return self._fill.verified and self._offset >= self._fill.front

    def _stuck(self) -> bool:
        if self._fill.failure is not None or self._fill.onward is not None or self._closed:
            return False
        if self._epoch != self._fill.epoch:
            return self._offset == self._start and not self._fill.begun
        return not self._ended() and self._offset >= self._limit()


def newer_file(fill: Growing, epoch: int, size: int | None) -> IFile | None:
    """A file of the spool that came after ``epoch``, for a reader that was told ``size``; None while
    there is none. StorageFailed."""
    if epoch == fill.epoch or not fill.begun or fill.size != size:
        return None
    return fill.file()


@implementer(IBlob)
class FillBlob:
    """A blob that is still arriving, for one reader: its open file, until body() takes it over.

    ``gone`` is called once, when it needs no more news.
    """

    def __init__(
        self,
        fill: Growing,
        file: IFile,
        how: How,
        enter: Callable[[FillReader], None],
        gone: Callable[[FillBlob], None],
    ) -> None:
        self._fill = fill
        self._enter = enter
        self._gone = gone
        self._file: IFile | None = file
        self._epoch = fill.epoch
        self.how = how
        self.size = fill.size

    def body(self, start: int = 0, stop: int | None = None) -> IBody:
        """As :meth:`IBlob.body`."""
        if self._file is None:
            raise TransferStopped("the blob is closed")
        reader = FillReader(self._fill, self._file, self._epoch, start, stop, self.size)
        self._enter(reader)  # before the blob leaves: the fill counts who still needs it
        self._let_go()
        return reader

    def poke(self) -> None:
        """The fill has news: where it has begun anew, follow it while its spool is open."""
        if self._file is None:
            return
        with contextlib.suppress(StorageFailed, TransferStopped):
            newer = newer_file(self._fill, self._epoch, self.size)
            if newer is not None:
                self._file.close()
                self._file, self._epoch = newer, self._fill.epoch

    def close(self) -> None:
        """As :meth:`IBlob.close`: the fill goes on without this reader."""
        file = self._let_go()
        if file is not None:
            file.close()

    def _let_go(self) -> IFile | None:
        file, self._file = self._file, None
        if file is not None:
            self._gone(self)
        return file
