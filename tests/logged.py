"""What was logged during a block, as lines by level."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.logger import LogEvent, capturedLogs, formatEvent


class Logged:
    """The events of a block."""

    def __init__(self, events: list[LogEvent]) -> None:
        self._events = events

    def lines(self, *levels: str) -> list[str]:
        """The messages of these levels, all without one."""
        return [
            formatEvent(event) for event in self._events if not levels or event["log_level"].name in levels
        ]


@contextmanager
def logging() -> Iterator[Logged]:
    """Keep what is logged within the block."""
    with capturedLogs() as events:
        yield Logged(events)  # type: ignore[arg-type]
