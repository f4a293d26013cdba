"""A blob's bytes for the disk, which may refuse what was read already: then they are read again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from regproxy.errors import TransferStopped
from regproxy.interfaces import IBlob, IBody, IRangedBlob


@implementer(IBody)
class Tail:
    """All that ``blob`` gives, opened by the first look at it. Bytes are remembered until they have
    landed, so it holds no more than its reader has under way."""

    def __init__(self, blob: IBlob) -> None:
        self.size = blob.size
        self.start = blob.start if IRangedBlob.providedBy(blob) else 0
        """The offset of its first byte."""
        self.validator: str | None = blob.validator if IRangedBlob.providedBy(blob) else None
        """As :attr:`IRangedBlob.validator`."""
        self.offset = self.start
        """The offset up to which it was read."""
        self.piece = blob.piece if IRangedBlob.providedBy(blob) else None
        """As :attr:`IRangedBlob.piece`."""
        self.endpoint = blob.endpoint if IRangedBlob.providedBy(blob) else None
        """As :attr:`IRangedBlob.endpoint`."""
        self.backlog: Callable[[], int] = blob.backlog if IRangedBlob.providedBy(blob) else lambda: 0
        """As :meth:`IRangedBlob.backlog`."""
        self._closed = False
        self._blob = blob
        self._body: IBody | None = None
        self._landed = self.start
        self._taken: deque[bytes] = deque()
        self._again: deque[bytes] = deque()
        self._keeping = True

    def read(self, max_bytes: int) -> bytes | None:
        """As :meth:`IBody.read`; what is read again comes first."""
        if self._again:
            piece = self._again.popleft()
            if len(piece) > max_bytes:
                self._again.appendleft(piece[max_bytes:])
            return piece[:max_bytes]
        new = self._opened().read(max_bytes)
        self.offset += len(new or b"")
        if new and self._keeping:
            self._taken.append(new)
        return new

    def line(self) -> IBody:
        """The body that all comes from, for who looks how fast it is."""
        return self._opened()

    def landed(self, offset: int) -> None:
        """All bytes before ``offset`` are safe."""
        while self._taken and self._landed + len(self._taken[0]) <= offset:
            self._landed += len(self._taken.popleft())

    def holds(self, offset: int) -> bool:
        """Whether it can go on from ``offset``, which is not before what has landed."""
        return not self._closed and self._landed <= offset <= self.offset

    def rewind(self, offset: int) -> None:
        """Go on from ``offset``, which is not before what has landed; nothing is remembered any more."""
        self._keeping = False
        self.landed(offset)
        self._again, self._taken = self._taken, deque()
        if self._again and offset > self._landed:
            self._again[0] = self._again[0][offset - self._landed :]

    def ready(self) -> Deferred[None]:
        """As :meth:`IBody.ready`."""
        return succeed(None) if self._again else self._opened().ready()

    def close(self) -> None:
        """As :meth:`IBody.close`."""
        self._closed = True
        self._again.clear()
        self._taken.clear()
        self._blob.close()
        if self._body is not None:
            self._body.close()

    def _opened(self) -> IBody:
        if self._body is None and self._closed:
            raise TransferStopped("the blob is closed")
        if self._body is None:
            self._body = self._blob.body()
        return self._body
