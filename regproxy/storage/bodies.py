"""Blobs on disk, open: the size that was promised, and a body read at the reader's pace."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from regproxy.errors import StorageFailed, TransferStopped
from regproxy.interfaces import How, IBlob, IBody, IFileBody
from regproxy.storage.files import MAX_READ_BYTES, StoredFile


@implementer(IBlob)
class FileBlob:
    """A complete blob over an open file."""

    how = How.HIT

    def __init__(self, file: StoredFile, size_bytes: int) -> None:
        self.size: int | None = size_bytes
        self._whole = size_bytes
        self._file: StoredFile | None = file

    def body(self, start: int = 0, stop: int | None = None) -> IBody:
        """The bytes from ``start`` to ``stop``; ValueError outside of the blob or the second time."""
        end = self._whole if stop is None else stop
        if self._file is None:
            raise ValueError("the blob is closed, or its body was taken")
        if not 0 <= start <= end <= self._whole:
            raise ValueError(f"{start}..{end} is not within the blob's {self._whole} bytes")
        file, self._file = self._file, None
        return FileBody(file, start, end)

    def close(self) -> None:
        """Close the file unless a body has it; idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None


@implementer(IFileBody)
class FileBody:
    """A span of an open file. It owns the file."""

    def __init__(self, file: StoredFile, start: int, stop: int) -> None:
        self._file = file
        self._offset = start
        self._stop = stop
        self._error: BaseException | None = None
        self._waiting: Deferred[None] | None = None

    def __repr__(self) -> str:
        return f"<FileBody {self._offset}..{self._stop} of {self._file!r}>"

    def read(self, max_bytes: int) -> bytes | None:
        """The next bytes; ``b""`` at the end, None while the disk fetches them."""
        if self._error is not None:
            raise self._error
        left = self._stop - self._offset
        if left <= 0:
            return b""
        content = self._file.read_at(self._offset, min(left, max_bytes))
        if content == b"" and max_bytes > 0:
            self._error = StorageFailed("a blob on the disk became shorter while it was read")
            raise self._error
        self._offset += len(content or b"")
        return content

    def send_file(self, socket_fd: int, max_bytes: int) -> int | None:
        """The next bytes, to a socket."""
        if self._error is not None:
            raise self._error
        left = self._stop - self._offset
        if left <= 0:
            return 0
        sent = self._file.send_at(socket_fd, self._offset, min(left, max_bytes))
        if sent == 0 and max_bytes > 0:
            self._error = StorageFailed("a blob on the disk became shorter while it was read")
            raise self._error
        self._offset += sent or 0
        return sent

    def ready(self) -> Deferred[None]:
        """Fires when read() gives bytes, the end or an error."""
        if isinstance(self._error, TransferStopped):
            return fail(self._error)
        if self._error is not None or self._offset >= self._stop:
            return succeed(None)
        waiting = self._waiting = Deferred()
        warming = self._file.warm(self._offset, min(self._stop - self._offset, MAX_READ_BYTES))
        warming.addCallbacks(self._warmed, self._failed, callbackArgs=(waiting,), errbackArgs=(waiting,))
        return waiting

    def _warmed(self, _: None, waiting: Deferred[None]) -> None:
        if not waiting.called:
            waiting.callback(None)

    def _failed(self, failure: Failure, waiting: Deferred[None]) -> None:
        if self._error is None:
            self._error = failure.value
        self._warmed(None, waiting)

    def close(self) -> None:
        """Close the file; a pending ready() fails with TransferStopped. Idempotent."""
        if isinstance(self._error, TransferStopped):
            return
        self._error = TransferStopped("the body was closed by its reader")
        self._file.close()
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.errback(self._error)
