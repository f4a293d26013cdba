"""What the program under test said, by any way out, for the look for secrets after each test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from twisted.logger import LogEvent, eventAsText

from regproxy import logs
from regproxy.testing.processes import Child
from regproxy.testing.secrets import find_secrets

MAX_FILE_BYTES = 8 << 20
HEARD: list[tuple[str, str]] = []
"""Who said it, and what: for processes that a test reads by itself, error bodies and pages."""


def overhear(source: str, text: str | bytes) -> None:
    """Keep what ``source`` said until the end of the test."""
    HEARD.append((source, text if isinstance(text, str) else text.decode("utf-8", "replace")))


class Overheard:
    """Everything that was said during one test."""

    def __init__(self) -> None:
        self._children: list[Child] = []
        HEARD.clear()

    def __call__(self, event: LogEvent) -> None:
        """A log observer: both forms that a log may have, with the traceback."""
        space = str(event.get("log_namespace", "-"))
        overhear(f"the log ({space})", f"{eventAsText(event)}\n{unescaped(logs.json_line(event))}")

    def child(self, child: Child) -> None:
        """A process was started; of other programs than ours nothing is looked at."""
        if any("regproxy" in word for word in child.argv):
            self._children.append(child)

    def leaks(self, folder: Path | None) -> list[str]:
        """What should not have been said; ``folder`` is where the test keeps its files."""
        return [f"{source}: {leak}" for source, text in self._all(folder) for leak in find_secrets(text)]

    def _all(self, folder: Path | None) -> Iterator[tuple[str, str]]:
        yield from HEARD
        for child in self._children:
            yield f"process {child.argv}", bytes(child.out + child.err).decode("utf-8", "replace")
        for path in () if folder is None else sorted(folder.rglob("*.log*")):
            if path.is_file() and path.stat().st_size <= MAX_FILE_BYTES:
                yield str(path), path.read_text("utf-8", "replace")


def unescaped(line: str) -> str:
    """The values of a line of JSON, a line each, as they are read by whoever reads it."""
    return "\n".join(f"{name}: {value}" for name, value in json.loads(line).items())
