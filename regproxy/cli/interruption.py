"""What a signal means to a verb: it clears away, and its exit code tells of it. Without a reactor."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

INTERRUPTED = 128 + signal.SIGINT
"""The exit code, whichever signal it was."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM is KeyboardInterrupt as well, for work without a reactor that has to clear away."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
