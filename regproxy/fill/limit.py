"""Which blobs are too large to be kept: those larger than half of what the store may hold.

Laws: such a one is never put on the disk, since all else would have to go for it; it passes through, and
its client notices nothing. Where nobody tells the size it is found out as it comes.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from regproxy.errors import TooLargeToKeep
from regproxy.oci.digest import Digest
from regproxy.seldom import Seldom

_log = Logger()


def too_large(size_bytes: int | None, max_size_bytes: int | None) -> bool:
    """Whether a blob, as far as its size is known, is larger than half of what the store may hold."""
    return size_bytes is not None and max_size_bytes is not None and 2 * size_bytes > max_size_bytes


class SizeLimit:
    """What the store may hold in all, None: as much as there is; and how often that kept a blob out."""

    def __init__(self, max_size_bytes: int | None, clock: IReactorTime) -> None:
        self._max_size_bytes = max_size_bytes
        self._clock = clock
        self._saying = Seldom()
        self.passed = 0
        """How many transfers of such blobs there were."""

    def __repr__(self) -> str:
        return f"<SizeLimit {self._max_size_bytes} bytes, {self.passed} passed>"

    def allows(self, size_bytes: int | None) -> bool:
        """Whether a blob of that size, None: nobody tells, may be kept."""
        return not too_large(size_bytes, self._max_size_bytes)

    def refusal(self, digest: Digest, size_bytes: int | None) -> TooLargeToKeep | None:
        """Why a transfer that begins, or has come so far, is not kept; None where it may be. It is counted,
        and a line in the log says so, once a minute."""
        if self.allows(size_bytes):
            return None
        self.passed += 1
        error = TooLargeToKeep("it is larger than half of storage.max_size")
        if self._saying.may(self._clock.seconds()):
            _log.warn(
                "{digest}, {size} bytes or more, passes through and is not kept: {error}",
                digest=str(digest),
                size=size_bytes,
                error=error.message,
            )
        return error
