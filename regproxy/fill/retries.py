"""What becomes of a transfer when a connection to an upstream fails: pure.

Every upstream is asked again a bounded number of times, later each time; and never by all at once who
failed together.
"""

from __future__ import annotations

from regproxy.errors import ContentMismatch, Throttled, UpstreamDown, UpstreamError, UpstreamTrouble

MAX_FAILURES = 5
"""In a row, without a byte between them."""
BACK_OFF_S = 0.25
LONGEST_WAIT_S = 30
"""An upstream that wants to be left alone for longer has failed for now."""
LONGER = 1.1
"""A 429 is held to for up to so much of what it said, so that not all who wait come at once."""


def retry_after_s(failures: int, chance: float) -> float | None:
    """How long to wait after so many failures in a row; ``chance`` in [0, 1) spreads those who failed
    together. None: enough."""
    if failures > MAX_FAILURES:
        return None
    return float(BACK_OFF_S * 2 ** (failures - 1) * (0.5 + chance))


def piece_again_after_s(error: UpstreamError, brought: bool, failures: int, chance: float) -> float | None:
    """When a connection beside the first asks on that broke, for the ``failures``-th time in a row, having
    ``brought`` something; None: it was one too many."""
    if isinstance(error, ContentMismatch) or not brought:
        return None
    return 0.0 if failures == 1 else retry_after_s(failures - 1, chance)


def ask_again_after_s(error: UpstreamError, failures: int, chance: float) -> float | None:
    """How long to leave the upstream alone; None: it has failed for good. One that has answered once and
    allows no more requests for now, or is not asked for now, may allow them soon."""
    wait_s = retry_after_s(failures, chance)
    if wait_s is None or isinstance(error, ContentMismatch):
        return None
    if isinstance(error, UpstreamDown) and error.retry_after_s is None:
        return None
    if isinstance(error, Throttled | UpstreamDown):
        wish_s = float(error.retry_after_s or 0)
        return max(wait_s, wish_s * LONGER) if wish_s <= LONGEST_WAIT_S else None
    return wait_s if isinstance(error, UpstreamTrouble) else None
