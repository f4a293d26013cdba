"""What is done to a storage folder without its daemon stands in the log of the system."""

from __future__ import annotations

import os
import syslog
from collections.abc import Callable

from regproxy.cli.lines import harmless

MAX_LINE = 2000


def note(operation: str, what: str, outcome: str, write: Callable[[str], object] = syslog.syslog) -> None:
    """One line: who, what, and what came of it. Where there is no such log it goes nowhere."""
    line = f"regproxy: Operation {operation} for uid {os.getuid()}, without a daemon: {what}: {outcome}"
    write(harmless(line)[:MAX_LINE])
