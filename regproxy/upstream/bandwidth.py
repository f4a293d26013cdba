"""So many bytes a second for all blobs that come from one upstream, shared by their connections.

Law: over any time no more bytes are taken than the rate allows, but for one read of each connection
and BURST_S. Nobody is refused: who has taken bytes waits until they are paid for, in the order of
the taking.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

BURST_S = 0.1
"""So much of the rate may be taken at once after a pause."""
SMALLEST_READ_BYTES = 4096


class Bandwidth:
    """``bytes_s`` None: as fast as it comes."""

    def __init__(self, bytes_s: int | None, clock: IReactorTime) -> None:
        self._bytes_s = bytes_s
        self._clock = clock
        self._paid_s = float("-inf")

    def __repr__(self) -> str:
        return f"<Bandwidth {self._bytes_s} bytes/s>"

    def spent(self, size_bytes: int) -> float:
        """Somebody has taken so many bytes; for how many seconds to take no more."""
        if self._bytes_s is None:
            return 0.0
        now_s = self._clock.seconds()
        self._paid_s = max(self._paid_s, now_s - BURST_S) + size_bytes / self._bytes_s
        return max(0.0, self._paid_s - now_s)


def read_size(usual_bytes: int, bytes_s: int | None) -> int:
    """How much a connection takes in one read: no more than BURST_S of the rate."""
    if bytes_s is None:
        return usual_bytes
    return max(SMALLEST_READ_BYTES, min(usual_bytes, int(bytes_s * BURST_S)))
