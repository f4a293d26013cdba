"""A blob that cannot be kept: it passes through, one transfer for each reader.

Laws: memory holds the hold-back and one piece, never the blob. An answer that covers the whole
blob keeps its last bytes until the hash is right, as a fill's does (invariant 3).
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from zope.interface import implementer

from regproxy.errors import ContentMismatch, TransferStopped
from regproxy.fill.plan import HOLD_BACK_BYTES, covers_whole
from regproxy.interfaces import How, IBlob, IBody
from regproxy.oci.digest import Digest


@implementer(IBody)
class CheckedBody:
    """The whole of a blob from ``body``, hashed as it passes. ``upstream`` is named when it is wrong."""

    def __init__(self, body: IBody, digest: Digest, upstream: str) -> None:
        self._body = body
        self._digest = digest
        self._upstream = upstream
        self._hash = digest.hasher()
        self._held = bytearray()
        self._checked = False
        self._closed = False

    def read(self, max_bytes: int) -> bytes | None:
        """As :meth:`IBody.read`; ContentMismatch in the place of the last bytes of a wrong blob."""
        if self._closed:
            raise TransferStopped("the body is closed")
        while not self._checked and len(self._held) <= HOLD_BACK_BYTES:
            piece = self._body.read(max_bytes)
            if piece is None:
                return None
            self._take(piece)
        spare = len(self._held) if self._checked else len(self._held) - HOLD_BACK_BYTES
        given = bytes(self._held[: min(max_bytes, spare)])
        del self._held[: len(given)]
        return given

    def _take(self, piece: bytes) -> None:
        if piece:
            self._hash.update(piece)
            self._held += piece
        elif self._hash.hexdigest() == self._digest.hex:
            self._checked = True
        else:
            raise ContentMismatch(self._upstream, f"sent bytes that are not {self._digest}")

    def ready(self) -> Deferred[None]:
        """As :meth:`IBody.ready`."""
        return self._body.ready()

    def close(self) -> None:
        """As :meth:`IBody.close`."""
        self._closed = True
        self._body.close()


@implementer(IBlob)
class PassingBlob:
    """A blob of an upstream for one reader, kept nowhere."""

    how = How.MISS

    def __init__(self, blob: IBlob, digest: Digest, upstream: str) -> None:
        self._blob = blob
        self._digest = digest
        self._upstream = upstream
        self.size: int | None = blob.size

    def body(self, start: int = 0, stop: int | None = None) -> IBody:
        """As :meth:`IBlob.body`; the whole is checked, a part is the client's to check."""
        body = self._blob.body(start, stop)
        if covers_whole(start, stop, self.size):
            return CheckedBody(body, self._digest, self._upstream)
        return body

    def close(self) -> None:
        """As :meth:`IBlob.close`."""
        self._blob.close()
