"""How many files this process may have open, and how many connections that is enough for."""

from __future__ import annotations

import resource


def raise_file_limit() -> int:
    """Make the hard limit the soft one, since every connection is a file; what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return soft
    return hard


def connections_that_fit(files: int) -> int:
    """How many connections ``files`` are enough for: each may be sent a file, or fill one."""
    if files == resource.RLIM_INFINITY:
        return 2**31
    return max(1, files // 2)
