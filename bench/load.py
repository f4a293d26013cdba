"""Load from a process of its own: each path on its own connection; see ``Load``.

``python -m bench.load NETLOC SECONDS PATH...``; SECONDS 0: each path once.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.processes import Child
from bench.reader import Reader, Request

ROOT = Path(__file__).resolve().parent.parent


class Load:
    """Transfers that run beside what is measured; ended by :meth:`stop`."""

    def __init__(self, netloc: str, paths: Sequence[str], seconds: float, log: Path) -> None:
        argv = [sys.executable, "-m", "bench.load", netloc, str(seconds), *paths]
        self._child = Child(argv, log, cwd=ROOT)

    @property
    def running(self) -> bool:
        """Whether some transfer still runs."""
        return self._child.alive

    @property
    def begun(self) -> bool:
        """Whether it has connected; True too when it has ended."""
        return not self.running or b"begun" in self._child.log.read_bytes()

    @property
    def complete(self) -> bool:
        """Whether it said that all was read."""
        return b"complete" in self._child.log.read_bytes()

    def last_words(self) -> str:
        """What it printed."""
        return self._child.last_words()

    def stop(self) -> None:
        """End it. Idempotent."""
        self._child.stop()


def _requests(paths: Sequence[str], for_ever: bool) -> Iterator[Request]:
    requests = [Request(path) for path in paths]
    return itertools.cycle(requests) if for_ever else iter(requests)


def main(arguments: Sequence[str]) -> None:
    """Read until the end, saying when it begins and that it was complete."""
    netloc, seconds_text, *paths = arguments
    seconds = float(seconds_text)
    print("begun", flush=True)
    reading = Reader(netloc, _requests(paths, seconds > 0), len(paths)).run(seconds or None)
    print(f"complete: {reading.body_bytes} bytes in {reading.wall_s:.3f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
