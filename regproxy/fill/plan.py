"""What a fill decides, as pure functions: how far a reader may go, whom an error concerns."""

from __future__ import annotations

import enum

from regproxy.errors import (
    ContentMismatch,
    Denied,
    InvalidManifest,
    NotFound,
    TransferStopped,
    UpstreamAnswered,
    UpstreamError,
)

HOLD_BACK_BYTES = 64 * 1024
"""What an answer that covers the whole blob keeps back until the hash is right (R38)."""

VERIFY_FIRST_BYTES = 256 * 1024 * 1024
"""A file of ours that was touched is given out after it was hashed, up to here: that takes a second at
most, and a wrong one costs no client its pull. A larger one goes out while it is hashed."""

BATCH_BYTES = 1024 * 1024
BATCHES_AHEAD = 4
"""So many batches at most are handed to the disk's thread, so that it need not wait for the next."""
LINGER_S = 0.010
"""A batch goes to the disk when it has BATCH_BYTES, or LINGER_S after its first byte."""


KEEP_BYTES = 1024 * 1024
"""Less is fetched again as fast as it is asked for by Range."""


def covers_whole(start: int, stop: int | None, size_bytes: int | None) -> bool:
    """Whether a span is the whole blob, so that its receiver would take it for verified."""
    return start == 0 and (stop is None or stop == size_bytes)


def readable_limit(front: int, size_bytes: int | None, whole: bool, verified: bool) -> int:
    """The offset up to which a reader may be served while ``front`` bytes have landed.

    Verified bytes all go out. Before that a partial answer gets what is there, since its client
    verifies the assembled blob; one of the whole is held back from its end (invariant 3). With
    no size known the end may be anywhere, so the hold-back moves with the front.
    """
    if verified or not whole:
        return front
    end = front if size_bytes is None else size_bytes
    return max(0, min(front, end - HOLD_BACK_BYTES))


def is_worth_keeping(failure: BaseException | None, there_bytes: int, resumed: bool) -> bool:
    """Whether a later fill may go on from what one has left that ended so: nothing says that it is wrong, or
    that the blob is gone, and it is more than a connection costs."""
    if isinstance(failure, ContentMismatch | NotFound | Denied) or failure is None:
        return False
    broke_off = isinstance(failure, UpstreamError | TransferStopped)
    return broke_off and (resumed or there_bytes >= KEEP_BYTES)


class Concerns(enum.Enum):
    """Whom the failure of a source at its first answer concerns."""

    ITS_REPOSITORY = "only those who wait for this source's repository"
    NOBODY_YET = "its waiters may still be served from another source"


def concerns(error: BaseException, proven: bool) -> Concerns:
    """An answer belongs to its repository; so does trouble, unless the repository's right is proven.

    ``proven``: the repository's upstream has already shown that it holds the blob, so bytes from
    anywhere else will do for its readers.
    """
    if isinstance(error, UpstreamAnswered | InvalidManifest) or not proven:
        return Concerns.ITS_REPOSITORY
    return Concerns.NOBODY_YET
